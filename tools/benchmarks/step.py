"""Speed of training steps: ``python -m tools.benchmarks.step [--bundles cpc3d,rpl2d] [--output figures.json]``.

The whole step of a bundle (loader, task, handlers and metrics included) against the forward and backward pass and the
update of its bare network on the same batches, and the bare network with each key of speed alone, in one run.
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

from tools.benchmarks.runs import now, report, select_bundles, workflow
from tools.networks.preparation import prepare_network
from tools.utils.excepthook import install_excepthook
from tools.utils.memory import tune_malloc

#: keys of speed, all off; ``amp`` is measured on GPUs only, ``compile`` on request
OFF = {"amp": False, "channels_last": False, "fused": False, "compile": False}
WARM_UP = 2


class BareStep:
    """Forward and backward pass and update of a copy of a bundle's network.

    Args:
        made: the bundle's workflow, before its trainer is built and adds hooks to the network.
        keys: keys of speed, as in `OFF`.
    """

    def __init__(self, made: ConfigWorkflow, keys: dict[str, bool]) -> None:
        content = made.parser.get_parsed_content
        self.device, self.keys, self.dtype = torch.device(content("device")), keys, getattr(torch, content("amp_dtype"))
        self.loss_function = copy.deepcopy(content("loss_function"))
        network, self.optimizer = copy.deepcopy((content("network"), content("optimizer")))  # they share parameters
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


def time_steps(made: ConfigWorkflow, others: dict[str, Callable[[Any, Any], None]], steps: int) -> dict[str, float]:
    """Median seconds of a run's steps ("step"), of generating their batches, and of `others` on the same batches."""
    device = torch.device(made.parser.get_parsed_content("device"))
    trainer = made.parser.get_parsed_content("train#trainer")
    times: dict[str, list[float]] = {name: [] for name in ("step", "generation", *others)}
    begin = now(device)

    def time_others(engine: Engine) -> None:
        nonlocal begin
        times["step"].append(now(device) - begin)
        generation = {"generation": lambda *_: trainer.prepare_batch(engine.state.batch, device)}
        for name, other in {**generation, **others}.items():
            begin = now(device)
            other(engine.state.output["image"], engine.state.output["label"])
            times[name].append(now(device) - begin)
        if engine.state.iteration == steps + WARM_UP:
            engine.terminate()  # without validation
        begin = now(device)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, time_others)
    made.run()
    return {name: median(values[WARM_UP:]) for name, values in times.items()}


def measure(bundle: str, steps: int, compiled: bool = False, **overrides: Any) -> dict[str, Any]:
    """Row of one bundle."""
    with tempfile.TemporaryDirectory() as folder:
        made = workflow(bundle, folder, steps + WARM_UP + 1, **overrides)
        content = made.parser.get_parsed_content
        on_gpu = torch.device(content("device")).type == "cuda"
        alone = ["channels_last", "fused", *(["amp"] if on_gpu else []), *(["compile"] if compiled else [])]
        bare = {key: BareStep(made, {**OFF, key: True}) for key in alone}
        bare |= {"off": BareStep(made, OFF), "bare": BareStep(made, {key: content(key) for key in OFF})}
        times = time_steps(made, bare, steps)
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
        steps: steps timed, after two to warm up.
        compiled: measure ``compile`` as well.
        output: JSON file.
        overrides: keys of the bundles, such as ``dataset_dir`` or ``device``.
    """
    install_excepthook()
    tune_malloc()
    report([measure(name, steps, compiled, **overrides) for name in select_bundles(bundles)], output)


if __name__ == "__main__":
    fire.Fire(main)
