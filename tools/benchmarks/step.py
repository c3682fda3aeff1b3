"""Speed of training steps: ``python -m tools.benchmarks.step [--bundle bundles/cpc3d] [--output figures.json]``.

A bundle's whole step, its loader, task, handlers and metrics included, against the bare network's forward and backward
pass and update on the same batch; against the same bundle with all keys of speed off; and the bare network with each
key alone, side by side in one run.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc import locate
from statistics import median
from typing import Any

import fire
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from tools.benchmarks.report import report
from tools.benchmarks.runs import BUNDLES, chosen_bundles, machine, now, workflow
from tools.networks.preparation import prepare_network
from tools.utils.errors import install_excepthook
from tools.utils.files import write_json
from tools.utils.memory import tune_malloc

DOWNSTREAM = "pancreas"
#: keys of speed, all off; ``amp`` and ``compile`` are switched on where they can be
OFF = {"amp": False, "channels_last": False, "fused": False, "compile": False}
WARM_UP = 2


class BareStep:
    """Forward and backward pass and update of a copy of a bundle's network, and nothing else.

    Args:
        made: the bundle's workflow, before its trainer is built and hooks itself to the network.
        keys: of speed, as in `OFF`.
    """

    def __init__(self, made: ConfigWorkflow, keys: dict[str, bool]) -> None:
        content = made.parser.get_parsed_content
        network, self.device, self.amp = copy.deepcopy(content("network")), torch.device(content("device")), keys["amp"]
        self.network = prepare_network(network, self.device, keys["channels_last"], keys["compile"]).train()
        self.loss_function = copy.deepcopy(content("loss_function"))
        self.dtype = getattr(torch, content("amp_dtype"))
        arguments = [name for name in made.parser["optimizer"] if name not in ("_target_", "params", "fused")]
        self.optimizer = locate(made.parser["optimizer"]["_target_"])(
            self.network.parameters(),
            fused=keys["fused"],
            **{name: content(f"optimizer::{name}") for name in arguments},
        )

    def __call__(self, inputs: Any, targets: Any) -> None:
        """Train on a batch."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.amp):
            loss = self.loss_function(self.network(inputs), targets).mean()
        loss.backward()
        self.optimizer.step()


def train(made: ConfigWorkflow, others: dict[str, Callable[[Any, Any], None]], steps: int) -> dict[str, float]:
    """Median seconds of a run's steps ("step"), of making their batches ("generate"), and of others on each batch."""
    device = torch.device(made.parser.get_parsed_content("device"))
    trainer = made.parser.get_parsed_content("train#trainer")
    times: dict[str, list[float]] = {name: [] for name in ("step", "generate", *others)}
    begin = 0.0

    def compare(engine: Engine) -> None:
        nonlocal begin
        end = now(device)
        times["step"].append(end - begin)
        made_again = {"generate": lambda *_: trainer.prepare_batch(engine.state.batch, device)}
        for name, other in {**made_again, **others}.items():
            begin = now(device)
            other(engine.state.output["image"], engine.state.output["label"])
            times[name].append(now(device) - begin)
        if engine.state.iteration == steps:
            engine.terminate()  # no validation
        begin = now(device)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, compare)
    made.run()
    return {name: median(values[WARM_UP:]) for name, values in times.items()}


def measure(bundle: str, steps: int, compiled: bool, **overrides: Any) -> dict[str, float]:
    """Figures of one bundle."""
    total = steps + WARM_UP
    with tempfile.TemporaryDirectory() as folder:
        made = workflow(bundle, folder, total + 1, **overrides)
        content = made.parser.get_parsed_content
        on_cuda = torch.device(content("device")).type == "cuda"
        alone = ["channels_last", "fused", *(["amp"] if on_cuda else []), *(["compile"] if compiled else [])]
        bare = {key: BareStep(made, {**OFF, key: True}) for key in alone}
        bare |= {"off": BareStep(made, OFF), "bare": BareStep(made, {key: content(key) for key in OFF})}
        spent = train(made, bare, total)
        slow = train(workflow(bundle, folder, total + 1, **{**overrides, **OFF}), {}, total)
    return {
        "step_ms": 1e3 * spent["step"],
        "bare_step_ms": 1e3 * spent["bare"],
        "share_of_generation": spent["generate"] / spent["step"],
        "overhead": spent["step"] / spent["bare"] - 1,
        "all_keys_off_ms": 1e3 * slow["step"],
        "times_faster_than_off": slow["step"] / spent["step"],
        **{f"times_faster_by_{key}": spent["off"] / spent[key] for key in alone},
    }


def default_bundles() -> list[str]:
    """All that pretrain, and one that is fine-tuned."""
    configs = sorted(BUNDLES.glob("*/configs/train.json"))
    pretrains = [
        path.parents[1].name for path in configs if "protocol" not in json.loads(path.read_text(encoding="utf-8"))
    ]
    return [*pretrains, DOWNSTREAM]


def main(
    bundle: str | Sequence[str] | None = None,
    steps: int = 6,
    compiled: bool = False,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Measure everything; print a table and, with `output`, write it as JSON.

    Args:
        bundle: folders or names of bundles; default all that pretrain, and one that is fine-tuned.
        steps: steps timed, after two to warm up.
        compiled: measure ``compile`` as well.
        output: JSON file.
        overrides: keys of the bundle, such as ``dataset_dir`` or ``device``.
    """
    install_excepthook()
    tune_malloc()
    figures: dict[str, dict[str, Any]] = {
        "machine": machine(overrides.get("device")),
    }
    chosen = [bundle] if isinstance(bundle, str) else bundle or default_bundles()
    for name in chosen_bundles([Path(path).name for path in chosen]):
        figures[name] = measure(name, steps, compiled, **overrides)
        report({name: figures[name]})  # each at once: all of them take minutes
    if output is not None:
        write_json(output, figures)


if __name__ == "__main__":
    fire.Fire(main)
