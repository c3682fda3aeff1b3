"""What does making a pretext batch cost? ``python -m tools.benchmarks.generation``

Every task beside a plain copy of what it makes, and beside a numpy statement of what the public code of Taleb et al.
does (HealthML/self-supervised-3d-tasks, commit ecc86ef, restated from its description), in one run. All of them deliver
a batch in one array, and all are timed alike: the shortest of three runs for each of some draws, averaged over the
draws. That code leaves patches as they are; "same work" is beside a statement that standardises them as our tasks do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import fire
import torch

from tools.benchmarks import reference
from tools.benchmarks.runs import now
from tools.pretext.cpc.task import CPC
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.jigsaw.task import Jigsaw
from tools.pretext.mae.task import MaskedAutoencoding
from tools.pretext.rotation.task import Rotation
from tools.pretext.rpl.task import RelativePatchLocation
from tools.pretext.task import PretextTask
from tools.utils.errors import install_excepthook
from tools.utils.files import write_json
from tools.utils.memory import tune_malloc

HEADER = f"{'task':12} {'threads':>7}  {'images/s':>9}  {'of a copy':>9}  {'times numpy':>11}  {'same work':>9}"


def tasks(dims: int, edge: int) -> dict[str, PretextTask]:
    """The tasks, the first five as the public code poses them: one question per image where it has one."""
    roi, cells = (edge,) * dims, {"gap": 1, "jitter": 3, "views_per_volume": 1}
    return {
        "cpc": CPC(roi, grid=4, jitter=edge // 32, negatives_same_volume=3, negatives_other_volumes=4),
        "rpl": RelativePatchLocation(roi, **cells),
        "jigsaw": Jigsaw(roi, **cells),
        "rotation": Rotation(roi, 10 if dims == 3 else 4, views_per_volume=1),
        "exemplar": Exemplar(roi),
        "mae": MaskedAutoencoding(roi, 16),
    }


def seconds(works: Sequence[Callable[[], Any]]) -> float:
    """Mean over some works of the shortest of three runs of each."""
    shortest = []
    for work in works:
        times = []
        for _ in range(3):
            begin = now()
            work()
            times.append(now() - begin)
        shortest.append(min(times))
    return sum(shortest) / len(shortest)


def measure(name: str, task: PretextTask, images: torch.Tensor, repeats: int) -> dict[str, Any]:
    """Time a task over as many draws as it has repeats, and a copy of its output."""
    draws = [task.draw(len(images), step) for step in range(1, repeats + 1)]
    made, _ = task.apply(images, draws[0])
    source = (made[0] if isinstance(made, tuple) else made).clone()
    target = torch.empty_like(source)
    spent = seconds([partial(task.apply, images, params) for params in draws])
    copied = seconds([partial(target.copy_, source)] * repeats)
    return {
        "task": f"{name}{len(task.roi_size)}d",
        "device": images.device.type,
        "threads": torch.get_num_threads(),
        "images_per_second": len(images) / spent,
        "of_a_copy": copied / spent,
    }


def numpy_seconds(name: str, images: torch.Tensor, repeats: int) -> dict[str, float | None]:
    """Seconds per volume of both statements of a task; None in 2D, of masks, which it has not, and without scipy."""
    statement = reference.STATEMENTS.get(name)
    statements = {"times_numpy": statement, "times_same_work": reference.SAME_WORK.get(name, statement)}
    if images.ndim == 4 or statement is None or (name == "exemplar" and find_spec("scipy") is None):
        return dict.fromkeys(statements)
    spent = {
        one: seconds([partial(reference.batch, one, images, seed) for seed in range(repeats)]) / len(images)
        for one in set(statements.values())
    }
    return {column: spent[one] for column, one in statements.items()}


def main(
    edge: int = 128, batch: int = 4, edge2d: int = 224, batch2d: int = 16, repeats: int = 25, output: str | None = None
) -> None:
    """Print the table, for one thread and two, and for CUDA where there is one.

    Args:
        edge: edge of the volumes, in voxels.
        batch: volumes per batch.
        edge2d: edge of the pictures, in pixels.
        batch2d: pictures per batch.
        repeats: draws timed per task; what a rotation or a distortion costs depends on what is drawn.
        output: JSON file for the figures.
    """
    install_excepthook()
    tune_malloc()
    threads_before = torch.get_num_threads()
    rows = []
    print(HEADER)
    for dims, size, count, channels in ((3, edge, batch, 1), (2, edge2d, batch2d, 3)):
        images = torch.randn(count, channels, *[size] * dims, generator=torch.Generator().manual_seed(0))
        for name, task in tasks(dims, size).items():
            numpy_times = numpy_seconds(name, images, repeats)
            for device, threads in (("cpu", 1), ("cpu", 2), ("cuda", 1)):
                if device == "cuda" and not torch.cuda.is_available():
                    continue
                torch.set_num_threads(threads)
                row = measure(name, task, images.to(device), repeats)
                for column, spent in numpy_times.items():
                    row[column] = None if spent is None else spent * row["images_per_second"]
                rows.append(row)
                print(line(row), flush=True)
    torch.set_num_threads(threads_before)
    if output is not None:
        write_json(output, rows)


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
    where = str(row["threads"]) if row["device"] == "cpu" else row["device"]
    times, same = (
        "-" if row[column] is None else f"{row[column]:.1f}" for column in ("times_numpy", "times_same_work")
    )
    speed = f"{row['images_per_second']:9.1f}  {row['of_a_copy']:9.2f}"
    return f"{row['task']:12} {where:>7}  {speed}  {times:>11}  {same:>9}"


if __name__ == "__main__":
    fire.Fire(main)
