"""Evaluation of a pretext checkpoint: accuracy with a confidence interval over cases, loss and figure."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import nn

from tools.pretext.preview import Preview
from tools.pretext.settings import pretext_settings
from tools.pretext.task import PretextTask
from tools.training.restore import load_extra_state, load_network, stateful_objects, unwrap_model
from tools.training.settings import TRAINING_ONLY, to_json_types
from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_interval, describe_interval
from tools.utils.errors import InputError
from tools.utils.files import write_json
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)


class EvaluationHandlers:
    """Handlers that load a checkpoint, evaluate the task, and write ``evaluation.json`` and ``preview.png``.

    Args:
        network: pretext network, including its heads.
        task: validation task, with fixed random parameters.
        cases: cases to evaluate; the run fails if the checkpoint was trained on one of them.
        checkpoint: ``checkpoint.pt`` of the training run.
        output_dir: output folder.
        card: encoder card entries of the training run, as in `PretrainingHandlers`.
        settings: settings as in `PretrainingHandlers`; those that only affect training may differ from the
            checkpoint's.
        loss_function: loss of the method; its state is restored.
        method_handlers: as in `PretrainingHandlers`; their state is restored.
    """

    def __init__(
        self,
        network: nn.Module,
        task: PretextTask,
        cases: Sequence[dict[str, Any]],
        checkpoint: str,
        output_dir: str,
        card: dict[str, Any],
        settings: dict[str, Any],
        loss_function: nn.Module,
        method_handlers: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.task = task
        self.cases = cases
        self.checkpoint = checkpoint
        self.path = output_path(output_dir, "evaluation.json")
        self.preview = Preview(output_path(output_dir, "preview.png"), task)
        current = pretext_settings(unwrap_model(network), task, card, settings)
        self.settings = to_json_types({key: value for key, value in current.items() if key not in TRAINING_ONLY})
        self.loss_function = loss_function
        self.extra_state = stateful_objects(method_handlers or {})
        self.scores: dict[str, list[float]] = defaultdict(list)

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        self.task.attach(engine)
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        if distributed.rank() == 0:
            self.preview.attach(engine, engine)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def _load(self, engine: Engine) -> None:
        content = load_network(self.network, self.checkpoint, self.settings, engine.state.device)
        load_extra_state(self.checkpoint, content, self.loss_function, self.extra_state)
        progress = content["progress"]
        if distributed.rank() == 0:
            self.preview.slice_axis = content["settings"].get("slice_axis")
        trained = sorted({case["case"] for case in self.cases} & set(content["cases"]))
        if trained:
            raise InputError(
                f"{self.checkpoint}: expected no training cases, found {len(trained)} of them, such as {trained[0]}; "
                "pass the run's split.json as --split_file"
            )
        logger.info(f"{self.checkpoint}: trained for {progress['epoch']} epochs, {progress['step']} steps")

    def _collect(self, engine: Engine) -> None:
        cases = engine.state.batch["case"]
        if self.task.chance is None:
            self.scores.update({case: [] for case in cases})
            return
        accuracy = self.task.accuracy(engine.state.output["pred"], engine.state.output["label"])
        for case, value in zip(cases, accuracy.tolist(), strict=True):
            if not math.isnan(value):  # a crop without a valid target
                self.scores[case].append(value)

    def report(self, engine: Engine) -> None:
        """Log and write the scores of all ranks, with a confidence interval over cases."""
        scores: dict[str, list[float]] = defaultdict(list)
        for of_rank in distributed.gather_objects(dict(self.scores)):
            for case, values in of_rank.items():
                scores[case] += values
        if distributed.rank() > 0:
            return
        if not scores:
            raise InputError("validation data: expected at least one crop with a valid target, found none")
        metrics = {name: float(value) for name, value in engine.state.metrics.items() if name != "accuracy"}
        if self.task.chance is None:
            write_json(self.path, {**metrics, "cases": sorted(scores)})
            logger.info(f"loss {metrics['loss']:.4g} over {len(scores)} cases; {self.path}")
            return
        cases = {case: float(np.mean(values)) for case, values in sorted(scores.items())}
        mean, low, high = bootstrap_interval(list(cases.values()))
        result = {"accuracy": mean, "interval_95": [low, high], "chance": self.task.chance, **metrics, "cases": cases}
        write_json(self.path, result)
        interval = describe_interval((low, high), len(cases), ".1%")
        logger.info(
            f"accuracy {mean:.1%} (95 % interval over {len(cases)} cases: {interval}), "
            f"chance {self.task.chance:.1%}; {self.path}"
        )
