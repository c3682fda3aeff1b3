"""How does the cost grow? ``python -m tools.benchmarks.growth [--picture growth.png] [--output growth.json]``

Seconds of preparing cases against their number; of making a batch, and of whole training steps, against volumes,
voxels, patches and batch size; and resident memory after each epoch of a real run. Slopes are those of the logarithms:
1 is linear, 0 does not grow. What every call costs, however small, lets a slope begin below 1; ``last`` is the slope
between the two largest sizes.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import fire
import nibabel
import numpy as np
import torch
from ignite.engine import Events
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tools.benchmarks.generation import tasks
from tools.benchmarks.report import table
from tools.benchmarks.runs import seconds, workflow
from tools.data.cases import find_cases
from tools.data.loader import build_dataset, build_loader
from tools.networks.encoders import build_encoder
from tools.networks.preparation import prepare_network
from tools.pretext.cpc.loss import InfoNCE
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.cpc.task import CPC
from tools.pretext.rpl.task import RelativePatchLocation
from tools.pretext.task import PretextTask
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils import figures
from tools.utils.errors import install_excepthook
from tools.utils.files import write_json
from tools.utils.memory import tune_malloc

Row = dict[str, Any]
PATCH = 16  # voxels; the least an encoder takes
TINY_RUN = {
    "roi_size": [48, 48, 48],
    "grid": 3,
    "batch_size": 2,
    "validation_steps": 1,
    "negatives_same_volume": 3,
    "negatives_other_volumes": 4,
}
COLORS = {
    "step, cpc": figures.BLUE,
    "cpc": figures.ORANGE,
    "rpl": figures.GREEN,
    "jigsaw": figures.RED,
    "rotation": figures.GREY,
    "exemplar": "#8864a8",
    "mae": "#3a9aa0",
    "preparing": "#7a5a3a",
}


class Step:
    """A training step of contrastive predictive coding, batches without end from what is given."""

    def __init__(self, task: CPC, batches: Iterator[dict[str, Any]], encoder: str = "unet") -> None:
        self.task, self.batches, self.steps = task, batches, count(1)
        self.network = prepare_network(CPCNetwork(build_encoder(encoder), steps=task.steps), "cpu")
        self.loss = InfoNCE()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-4)

    def __call__(self) -> None:
        """One step."""
        inputs, targets = self.task.make_batch(next(self.batches), next(self.steps))
        self.optimizer.zero_grad()
        self.loss(self.network(inputs), targets).backward()
        self.optimizer.step()


def images(batch_size: int, edge: int) -> torch.Tensor:
    """Noise (B, 1, edge, edge, edge)."""
    return torch.randn(batch_size, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0))


def forever(batch: torch.Tensor) -> Iterator[dict[str, Any]]:
    """The same images again and again."""
    while True:
        yield {"image": batch, "case": [str(number) for number in range(len(batch))]}


def cells(grid: int, batch_size: int = 1, patch: int = PATCH) -> CPC:
    """A task of grid³ patches, without jitter."""
    return CPC((grid * patch,) * 3, grid, prediction_steps=1, negatives_same_volume=7, negatives_other_volumes=0)


def making(task: PretextTask, batch: torch.Tensor) -> float:
    """Seconds of making a batch."""
    return seconds(lambda: task.apply(batch, task.draw(len(batch), 1)), 5)


def over_voxels(edges: Sequence[int]) -> Iterator[Row]:
    """All tasks, of larger and larger volumes; of CPC also the step, of 2³ patches."""
    for edge in edges:
        batch = images(2, edge)
        for name, task in tasks(3, edge).items():
            yield {"against": "voxels", "what": name, "size": edge**3, "seconds": making(task, batch)}
        step = Step(cells(2, patch=edge // 2), forever(batch[:1]))
        yield {"against": "voxels", "what": "step, cpc", "size": edge**3, "seconds": seconds(step, 3)}


def over_patches(grids: Sequence[int]) -> Iterator[Row]:
    """Tasks of patches, of more and more of the same size."""
    for grid in grids:
        batch = images(1, grid * PATCH)
        made: dict[str, PretextTask] = {"cpc": cells(grid)}
        if grid >= 3:
            made["rpl"] = RelativePatchLocation((grid * PATCH,) * 3, grid, 0, 0, 26)
        for name, task in made.items():
            yield {"against": "patches", "what": name, "size": grid**3, "seconds": making(task, batch)}
        spent = seconds(Step(made["cpc"], forever(batch)), 3)
        yield {"against": "patches", "what": "step, cpc", "size": grid**3, "seconds": spent}


def over_batch(sizes: Sequence[int], edge: int) -> Iterator[Row]:
    """All tasks, of more and more volumes at once."""
    made = {**tasks(3, edge), "cpc": cells(edge // PATCH)}
    for size in sizes:
        batch = images(size, edge)
        for name, task in made.items():
            yield {"against": "batch", "what": name, "size": size, "seconds": making(task, batch)}
        spent = seconds(Step(made["cpc"], forever(batch)), 3)
        yield {"against": "batch", "what": "step, cpc", "size": size, "seconds": spent}


def over_volumes(counts: Sequence[int], edge: int = 2 * PATCH) -> Iterator[Row]:
    """Preparing scans from files, and steps on crops of the prepared ones."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(max(counts)):
            scan = images(1, edge + 4)[0, 0].numpy() + number
            nibabel.save(nibabel.Nifti1Image(scan, np.eye(4)), f"{folder}/scan_{number:04d}.nii.gz")
        cases, transform = find_cases(folder), build_preprocessing([edge] * 3, 1, 1.0)
        for number in counts:
            begin = time.perf_counter()
            crops = build_dataset(cases[:number], transform, build_random_crop([edge] * 3), 0)
            spent = {"preparing": time.perf_counter() - begin}
            task, loaded = cells(edge // PATCH), iter(build_loader(crops, 2, 100))
            spent["cpc"] = seconds(lambda task=task, loaded=loaded: task.make_batch(next(loaded), 1), 9)
            spent["step, cpc"] = seconds(Step(task, loaded), 9)
            yield from ({"against": "volumes", "what": w, "size": number, "seconds": s} for w, s in spent.items())


def memory(epochs: int, **overrides: Any) -> list[float]:
    """Resident memory in MiB after each epoch of a run of the bundle cpc3d."""
    resident = []

    def note() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        resident.append(pages * os.sysconf("SC_PAGESIZE") / 2**20)

    with tempfile.TemporaryDirectory() as folder:
        settings = {**TINY_RUN, "epochs": epochs, "cache": "memory", **overrides}
        made = workflow("cpc3d", folder, 1, **settings)
        made.parser.get_parsed_content("train#trainer").add_event_handler(Events.EPOCH_COMPLETED, note)
        made.run()
    return resident


def late_growth(resident: Sequence[float]) -> float:
    """By how much the memory of the second half of a run exceeds that of the first."""
    half = len(resident) // 2
    return max(resident[half:]) / max(resident[:half]) - 1


def slopes(rows: Sequence[Row]) -> list[Row]:
    """For each series of rows the slope over all sizes, and between the last two; none of a single size."""
    found = []
    for (against, what), series in series_of(rows):
        if len(series) < 2:
            continue
        points = [(math.log(row["size"]), math.log(row["seconds"])) for row in series]
        slope = float(np.polyfit(*zip(*points, strict=True), 1)[0])
        (x, y), (last_x, last_y) = list(pairwise(points))[-1]
        spent = f"{1e3 * series[0]['seconds']:.3g} to {1e3 * series[-1]['seconds']:.3g} ms"
        named = {"against": against, "what": what, "sizes": f"{series[0]['size']} to {series[-1]['size']}"}
        found.append({**named, "cost": spent, "slope": slope, "last": (last_y - y) / (last_x - x)})
    return found


def series_of(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """Rows by what they are of, in order."""
    key = itemgetter("against", "what")
    return [(name, list(series)) for name, series in groupby(sorted(rows, key=key), key)]


def draw(rows: Sequence[Row], resident: Sequence[float]) -> Figure:
    """Costs against sizes with lines of slope 1, and memory against epochs."""
    figure = Figure(figsize=(8.4, 4.8))
    panels = dict(
        zip(("volumes", "voxels", "patches", "batch", "epochs", "legend"), figure.subplots(2, 3).flat, strict=True)
    )
    for (against, what), series in series_of(rows):
        axes = panels[against]
        size, spent = ([row[name] for row in series] for name in ("size", "seconds"))
        axes.loglog(size, spent, "o-", color=COLORS[what], markersize=3, linewidth=1.2)
        axes.loglog(size, [spent[-1] * one / size[-1] for one in size], ":", color=COLORS[what], linewidth=0.8)
        axes.set_xticks(size, [f"{round(one ** (1 / 3))}³" if against == "voxels" else str(one) for one in size])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("seconds")
    panels["epochs"].plot(range(1, len(resident) + 1), resident, "o-", color=figures.BLUE, markersize=3)
    panels["epochs"].set_ylabel("resident memory, MiB")
    panels["epochs"].set_ylim(0, 1.2 * max(resident))
    for name, axes in panels.items():
        axes.set_xlabel(name)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels["legend"].set_axis_off()
    lines = {
        name if "," in name or name == "preparing" else f"making a batch, {name}": figures.line(color)
        for name, color in COLORS.items()
    }
    panels["legend"].legend(lines.values(), lines, frameon=False, loc="center", title="dotted: linear")
    figure.tight_layout()
    return figure


def main(
    volumes: Sequence[int] = (16, 64, 256),
    edges: Sequence[int] = (32, 64, 96, 128),
    grids: Sequence[int] = (2, 3, 4, 6),
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16),
    epochs: int = 20,
    picture: str | None = None,
    output: str | None = None,
    **overrides: Any,
) -> None:
    """Print the slopes and the growth of memory.

    Args:
        volumes: numbers of scans.
        edges: of volumes, in voxels; multiples of 16.
        grids: cells along each axis.
        batch_sizes: volumes at once.
        epochs: of the run whose memory is looked at.
        picture: PNG file.
        output: JSON file.
        overrides: keys of the bundle cpc3d for that run, such as ``dataset_dir``.
    """
    install_excepthook()
    tune_malloc()
    resident = memory(epochs, **overrides)  # first, while the process is small
    rows = [*over_volumes(volumes), *over_voxels(edges), *over_patches(grids), *over_batch(batch_sizes, 2 * PATCH)]
    found = slopes(rows)
    table(found)
    print(f"resident MiB after 1 and {epochs} epochs: {resident[0]:.0f} and {resident[-1]:.0f}")
    print(f"largest of the second half over that of the first: {late_growth(resident):+.1%}")
    if output is not None:
        write_json(
            output, {"costs": rows, "slopes": found, "resident_mib": resident, "late_growth": late_growth(resident)}
        )
    if picture is not None:
        figures.save(draw(rows, resident), picture)


if __name__ == "__main__":
    fire.Fire(main)
