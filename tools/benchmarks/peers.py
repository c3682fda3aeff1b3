"""Our trainers beside other ways to the same work: ``python -m tools.benchmarks.peers [--output peers.json]``.

For each task training steps per second of the bundle's own trainer, and of loops that make the batches with a numpy
statement of the public code, with MONAI's transforms (`Dataset`, `DataLoader`), and by hand in torch: the same images
in memory, the same network, loss, optimizer and batch size, as many crops, questions and voxels. The ways take turns
step by step in one run; ratios are medians of those of each turn. Then the making of batches alone, which the network
hides.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import fire
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from tools.benchmarks.peer_batches import WAYS, Batch
from tools.benchmarks.report import table
from tools.benchmarks.runs import chosen_bundles, now, workflow
from tools.data.loader import build_loader
from tools.pretext.task import PretextTask
from tools.utils.errors import install_excepthook
from tools.utils.memory import tune_malloc

BUNDLES = ("rotation3d", "rpl3d", "jigsaw3d", "exemplar3d", "cpc3d", "rotation2d")


class Loop:
    """A training loop as it is written by hand, around copies of a run's network, loss and optimizer.

    Args:
        made: the bundle's run.
        batches: what it trains on.
    """

    def __init__(self, made: ConfigWorkflow, batches: Iterator[Batch]) -> None:
        content = made.parser.get_parsed_content
        self.batches = batches
        self.device = torch.device(content("device"))
        self.network, self.loss, self.optimizer = copy.deepcopy(
            (content("network"), content("loss_function"), content("optimizer"))  # together: it steps the copy
        )

    def step(self) -> None:
        """One step."""
        inputs, targets = next(self.batches)
        inputs = tuple(part.to(self.device) for part in inputs) if isinstance(inputs, tuple) else inputs.to(self.device)
        self.optimizer.zero_grad()
        self.loss(self.network(inputs), targets.to(self.device)).backward()
        self.optimizer.step()


class Turns:
    """Let other loops take a step after each of a trainer's, and time all.

    Args:
        loops: the others by name.
        device: whose work is timed.

    Attributes:
        times: seconds of each step, by name.
    """

    def __init__(self, loops: dict[str, Loop], device: torch.device) -> None:
        self.loops, self.device = loops, device
        self.times: dict[str, list[float]] = {name: [] for name in ("ours", *loops)}

    def attach(self, trainer: Engine) -> None:
        """Follow a trainer; call after all other handlers are attached."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self._resume)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._others)

    def _resume(self) -> None:
        self._begin = now(self.device)

    def _others(self) -> None:
        self.times["ours"].append(now(self.device) - self._begin)
        for name, loop in self.loops.items():
            self.times[name].append(spent(loop.step, self.device))
        self._resume()


def spent(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one piece of work."""
    begin = now(device)
    work()
    return now(device) - begin


def making(
    made: ConfigWorkflow, others: dict[str, Iterator[Batch]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each making of a batch, by name; ours from its loader on."""
    dataset, size = made.parser.get_parsed_content("train#dataset"), made.parser.get("batch_size")
    task: PretextTask = made.parser.get_parsed_content("train#task")
    loaded, step = iter(build_loader(dataset, size, rounds + 1)), count(1)
    works = {"ours": lambda: task.make_batch(next(loaded), next(step))}
    works |= {name: lambda batches=batches: next(batches) for name, batches in others.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(spent(work, device))
    return times


def row(what: str, task: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """How often a second each way does its work, and how many times as often we do: medians, all but the first."""
    speeds = {name: 1 / statistics.median(found[1:]) for name, found in times.items()}
    ratios = {
        f"of {name}": statistics.median(
            other / ours for ours, other in zip(times["ours"][1:], times[name][1:], strict=True)
        )
        for name in WAYS
    }
    return {"what": what, "task": task, **speeds, **ratios}


def measure(bundle: str, rounds: int, **overrides: Any) -> list[dict[str, Any]]:
    """Rows of the table for a bundle: training steps, and the making of batches, per second."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"validation_steps": 1, "cache": "memory", "amp": False, **overrides}
        made = workflow(bundle, folder, rounds + 1, **settings)
        content = made.parser.get_parsed_content
        device, size = torch.device(content("device")), content("batch_size")
        prepared = content("train#dataset").dataset
        images = [prepared[index]["image"] for index in range(len(prepared))]
        batches = {name: way(content("train#task")).batches(images, size) for name, way in WAYS.items()}
        turns = Turns({name: Loop(made, made_by) for name, made_by in batches.items()}, device)
        turns.attach(content("train#trainer"))  # built last: its handlers hook the network that was copied
        made.run()
        made_alone = making(made, batches, 4 * rounds, device)
    return [row("steps/s", bundle, turns.times), row("batches/s", bundle, made_alone)]


def main(bundles: Sequence[str] | str = BUNDLES, rounds: int = 8, output: str | None = None, **overrides: Any) -> None:
    """Print the table; ``of numpy`` and so on is how many times as fast ours is.

    Args:
        bundles: names of pretext bundles.
        rounds: steps timed of each way; batches alone are made four times as often.
        output: JSON file.
        overrides: keys of the bundles, such as ``dataset_dir``.
    """
    install_excepthook()
    tune_malloc()
    rows = []
    for bundle in chosen_bundles(bundles):
        rows += measure(bundle, rounds, **overrides)
    table(rows, output)


if __name__ == "__main__":
    fire.Fire(main)
