"""Benchmark of training steps: ``python -m tools.benchmarks.step [--bundles cpc3d,rpl2d] [--output figures.json]``.

Compares the complete step of a bundle (loader, task, handlers, metrics) with the step of its bare network (forward
pass, backward pass, update) on the same batches. Each speed-related key is measured with the bare network.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import fire
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from tools.benchmarks.runs import build_workflow, print_table, select_bundles, timestamp
from tools.networks.preparation import prepare_network
from tools.utils.excepthook import install_excepthook
from tools.utils.memory import tune_malloc

#: speed-related keys, all off; ``amp`` is measured on GPUs only, ``compile`` on request
SPEED_KEYS = {"amp": False, "channels_last": False, "fused": False, "compile": False}
WARM_UP = 2


class BareStep:
    """Forward and backward pass and update of a copy of a bundle's network.

    Args:
        workflow: workflow of the bundle, before its trainer is built and adds hooks to the network.
        keys: speed-related keys, as in `SPEED_KEYS`.
    """

    def __init__(self, workflow: ConfigWorkflow, keys: dict[str, bool]) -> None:
        content = workflow.parser.get_parsed_content
        self.device, self.keys, self.dtype = torch.device(content("device")), keys, getattr(torch, content("amp_dtype"))
        self.loss_function = copy.deepcopy(content("loss_function"))
        # one call, since they share parameters
        network, self.optimizer = copy.deepcopy((content("network"), content("optimizer")))
        self.network = prepare_network(network, self.device, keys["channels_last"], keys["compile"]).train()
        for group in self.optimizer.param_groups:
            group["fused"] = keys["fused"]

    def __call__(self, inputs: Any, targets: Any) -> None:
        """Train on a batch."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.keys["amp"]):
            loss = self.loss_function(self.network(inputs), targets).mean()
        loss.backward()
        self.optimizer.step()


def time_steps(workflow: ConfigWorkflow, others: dict[str, Callable[[Any, Any], None]], steps: int) -> dict[str, float]:
    """Measure the median seconds of a step, of generating its batch, and of `others` on the same batch."""
    device = torch.device(workflow.parser.get_parsed_content("device"))
    trainer = workflow.parser.get_parsed_content("train#trainer")
    times: dict[str, list[float]] = {name: [] for name in ("step", "generation", *others)}
    begin = timestamp(device)

    def time_others(engine: Engine) -> None:
        nonlocal begin
        times["step"].append(timestamp(device) - begin)
        generation = {"generation": lambda *_: trainer.prepare_batch(engine.state.batch, device)}
        for name, other in {**generation, **others}.items():
            begin = timestamp(device)
            other(engine.state.output["image"], engine.state.output["label"])
            times[name].append(timestamp(device) - begin)
        if engine.state.iteration == steps + WARM_UP:
            engine.terminate()  # without validation
        begin = timestamp(device)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, time_others)
    workflow.run()
    return {name: median(values[WARM_UP:]) for name, values in times.items()}


def benchmark_bundle(bundle: str, steps: int, compiled: bool = False, **overrides: Any) -> dict[str, Any]:
    """Measure the step times of a bundle; returns a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        workflow = build_workflow(bundle, folder, steps + WARM_UP + 1, **overrides)
        content = workflow.parser.get_parsed_content
        on_gpu = torch.device(content("device")).type == "cuda"
        alone = ["channels_last", "fused", *(["amp"] if on_gpu else []), *(["compile"] if compiled else [])]
        bare = {key: BareStep(workflow, {**SPEED_KEYS, key: True}) for key in alone}
        bare["off"] = BareStep(workflow, SPEED_KEYS)
        bare["bare"] = BareStep(workflow, {key: content(key) for key in SPEED_KEYS})
        times = time_steps(workflow, bare, steps)
    return {
        "bundle": bundle,
        "step_ms": 1e3 * times["step"],
        "bare_step_ms": 1e3 * times["bare"],
        "overhead": times["step"] / times["bare"] - 1,
        "generation_share": times["generation"] / times["step"],
        **{f"speed_up_{key}": times["off"] / times[key] for key in alone},
    }


def main(
    bundles: str | Sequence[str] = ("cpc2d", "cpc3d", "rotation3d", "pancreas"),
    steps: int = 6,
    compiled: bool = False,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print a row per bundle.

    Args:
        bundles: bundle names.
        steps: timed steps, after two warm-up steps.
        compiled: also measure ``compile``.
        output: JSON file.
        overrides: keys of the bundles, such as ``dataset_dir`` or ``device``.
    """
    install_excepthook()
    tune_malloc()
    print_table([benchmark_bundle(name, steps, compiled, **overrides) for name in select_bundles(bundles)], output)


if __name__ == "__main__":
    fire.Fire(main)
