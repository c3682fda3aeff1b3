"""Shortcut test: accuracy of a pretext task on content-free images or with handcrafted features."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from monai.utils import ensure_tuple
from torch.utils.data import DataLoader
from tqdm import tqdm

from tools.data.loader import build_dataset, build_loader
from tools.pretext.classification import ClassificationTask
from tools.pretext.task import PretextTask
from tools.shortcuts.confusion import ConfusionMatrix
from tools.shortcuts.sources import IDENTICAL_IMAGES, ONE_IMAGE, SOURCES, ContentFreeImaged
from tools.transforms.image2d import CheckImage2Dd, LoadImage2Dd, ResizeShorterEdged
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.bootstrap import MIN_UNITS, bootstrap_interval, describe_interval
from tools.utils.errors import InputError

#: encoders used instead of the bundle's encoder
SOLVERS: dict[str, dict[str, Any]] = {
    "handcrafted features": {"_target_": "tools.shortcuts.features.HandcraftedFeatures", "_requires_": "@code"},
    "small network": {
        "_target_": "tools.networks.build_encoder",
        "_requires_": "@code",
        "features": [8, 8, 16, 16, 32],
    },
}
#: transforms that are not applied to content-free images
LOADING_TRANSFORMS = (LoadVolumed, CheckVolumed, LoadImage2Dd, CheckImage2Dd, ResizeShorterEdged)
#: number of images that solvers are trained on
NUM_TRAINING_IMAGES = 16
#: maximum accuracy above chance of a control, unless the standard error is larger
MARGIN = 0.05


@dataclass
class Result:
    """Accuracy of a solver on a source of images.

    Attributes:
        source: source of the images.
        solver: encoder of the solver.
        accuracy: mean accuracy over the draws; the chance level without draws.
        low: lower end of its 95 % interval; NaN with fewer than `MIN_UNITS` draws.
        high: upper end of the interval.
        chance: accuracy of random guessing.
        draws: number of test images with at least one valid target.
        is_control: whether the accuracy must be at chance level.
        confusion: confusion matrix, for classification tasks.
    """

    source: str
    solver: str
    accuracy: float
    low: float
    high: float
    chance: float
    draws: int
    is_control: bool
    confusion: ConfusionMatrix | None = None

    @property
    def margin(self) -> float:
        """Maximum accuracy above chance of a passed control.

        It is half the chance level, at most `MARGIN`, and at least 1.96 standard errors of the chance level for this
        number of draws.
        """
        error = math.sqrt(self.chance * (1 - self.chance) / max(1, self.draws))
        return max(min(self.chance / 2, MARGIN), 1.96 * error)

    @property
    def passed(self) -> bool:
        """False when a control is solved by more than the margin, or with fewer than `MIN_UNITS` draws."""
        return not self.is_control or (self.draws >= MIN_UNITS and self.accuracy <= self.chance + self.margin)

    def __str__(self) -> str:
        """Return the row of the printed table."""
        verdict = ("pass" if self.passed else "FAIL") if self.is_control else "-"
        interval = describe_interval((self.low, self.high), self.draws, ".1%")
        found = f"{self.accuracy:8.1%}  {interval:18}  {self.chance:6.1%}  {self.margin:6.1%}  {self.draws:5}"
        return f"{self.source:18}  {self.solver:20}  {found}  {verdict}"


HEADER = f"{'source':18}  {'solver':20}  accuracy  {'95 % interval':18}  chance  margin  draws  control"


def pretext_config(config_file: str | Path) -> dict[str, Any]:
    """Read the ``train.json`` of a pretext bundle.

    Args:
        config_file: path of the file.

    Raises:
        InputError: if the file is missing, cannot be read or has no ``train#task``.
    """
    try:
        content = ConfigParser.load_config_file(str(config_file))
    except FileNotFoundError:
        raise InputError(f"config_file {config_file}: expected a bundle's train.json, found nothing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"config_file {config_file}: expected a bundle's train.json, found {error}") from error
    if ConfigParser(content).get("train#task") is None:
        raise InputError(f"config_file {config_file}: expected a pretext bundle with train#task, found none")
    return content


def pretext_task(config_file: str | Path, **overrides: Any) -> PretextTask:
    """Return the training task of a pretext bundle with overridden keys."""
    pretext_config(config_file)
    return _parser(str(config_file), "", "handcrafted features", overrides).get_parsed_content("train#task")


def shortcut_test(
    config_file: str | Path,
    sources: str | Sequence[str] = (*SOURCES, ONE_IMAGE, "dataset"),
    solvers: str | Sequence[str] = tuple(SOLVERS),
    steps: int = 60,
    draws: int = 500,
    learning_rate: float = 1e-3,
    **overrides: Any,
) -> list[Result]:
    """Run the shortcut test of a pretext bundle.

    The data set is tested with the handcrafted features only, and `ONE_IMAGE` only if it is a control of the task.

    Args:
        config_file: the bundle's ``train.json``.
        sources: one or more keys of `SOURCES`, `ONE_IMAGE`, or ``dataset`` for the bundle's ``dataset_dir``.
        solvers: one or more keys of `SOLVERS`.
        steps: training steps of a solver.
        draws: minimum number of test images; images without a valid target are excluded from the result.
        learning_rate: learning rate of a solver.
        overrides: keys of the bundle, such as ``dataset_dir`` or ``roi_size``.

    Raises:
        InputError: if the bundle is not a pretext bundle, the task has no accuracy, or a source or solver is unknown.
    """
    sources = _chosen("sources", sources, (*SOURCES, ONE_IMAGE, "dataset"))
    solvers = _chosen("solvers", solvers, SOLVERS)
    task = pretext_task(config_file, **overrides)
    if task.chance is None:
        raise InputError(f"{config_file}: expected a task with an accuracy, found {type(task).__name__} without one")
    results = []
    for source in sources:
        for solver in solvers:
            skipped = source == ONE_IMAGE and source not in task.controls
            if skipped or (source == "dataset" and solver != "handcrafted features"):
                continue
            results.append(_solve(str(config_file), source, solver, steps, draws, learning_rate, overrides))
            tqdm.write(str(results[-1]))
    return results


def _chosen(key: str, names: str | Sequence[str], choices: Collection[str]) -> tuple[str, ...]:
    unknown = [name for name in ensure_tuple(names) if name not in choices]
    if unknown or not names:
        raise InputError(f"{key}: expected some of {', '.join(map(repr, choices))}, found {names!r}")
    return ensure_tuple(names)


def _parser(config_file: str, source: str, solver: str, overrides: dict[str, Any]) -> ConfigParser:
    root = Path(config_file).resolve().parents[1]
    sys.path.extend(path for path in (str(root), str(root.parents[1])) if path not in sys.path)
    parser = ConfigParser()
    parser.read_config(config_file)
    content_free = {} if source == "dataset" else {"in_channels": 1}
    settings = {"bundle_root": str(root), "device": torch.device("cpu"), **content_free, **overrides}
    for key, value in settings.items():
        parser[key] = value
    shape = {k: parser["network_def"][k] for k in ("spatial_dims", "in_channels")}
    parser["network_def"] = {**SOLVERS[solver], **shape}
    return parser


def _loaders(parser: ConfigParser, source: str, steps: int, test_steps: int) -> tuple[DataLoader, DataLoader]:
    """Build the loaders of training and test batches from different images.

    Each test image is new unless all images of the source are equal. Crops of the same noise are not independent and
    would give too narrow intervals.
    """
    preprocessing, fresh = parser.get_parsed_content("preprocessing"), source not in (*IDENTICAL_IMAGES, "dataset")
    batch, crop = parser.get_parsed_content("batch_size"), parser.get_parsed_content("random_crop")
    if source == "dataset":
        splits = parser.get_parsed_content("split").values()
    else:
        generate = ContentFreeImaged(parser.get_parsed_content("roi_size"), parser.get_parsed_content("spacing"))
        remaining = [t for t in preprocessing.transforms if not isinstance(t, LOADING_TRANSFORMS)]
        preprocessing = Compose([generate, *remaining])
        numbers = (
            range(NUM_TRAINING_IMAGES),
            range(NUM_TRAINING_IMAGES, NUM_TRAINING_IMAGES + (test_steps * batch if fresh else NUM_TRAINING_IMAGES)),
        )
        splits = [[{"case": f"{source} {i}", "image": f"{source}/{i}"} for i in split] for split in numbers]
    caches = ("memory", "none" if fresh else "memory")
    datasets = [
        build_dataset(split, preprocessing, crop, seed, cache, desc=f"{source} ({name})")
        for seed, (split, cache, name) in enumerate(zip(splits, caches, ("training", "test"), strict=True))
    ]
    training, test = (build_loader(d, batch, n) for d, n in zip(datasets, (steps, test_steps), strict=True))
    return training, test


def _solve(
    config_file: str, source: str, solver: str, steps: int, draws: int, learning_rate: float, overrides: dict[str, Any]
) -> Result:
    torch.manual_seed(0)
    parser = _parser(config_file, source, solver, overrides)
    batch = parser.get_parsed_content("batch_size")
    training, test = _loaders(parser, source, steps, -(-draws // batch))
    task, network = parser.get_parsed_content("train#task"), parser.get_parsed_content("network")
    loss_function = parser.get_parsed_content("loss_function")
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for step, images in enumerate(tqdm(training, desc=f"{source}, {solver}: training", leave=False), 1):
        inputs, targets = task.make_batch(images, step)
        optimizer.zero_grad()
        loss_function(network(inputs), targets).backward()
        optimizer.step()
    accuracy: list[float] = []
    confusion = ConfusionMatrix(task.classes) if isinstance(task, ClassificationTask) else None
    network.eval()
    with torch.no_grad():
        for step, images in enumerate(tqdm(test, desc=f"{source}, {solver}: test", leave=False), steps + 1):
            inputs, targets = task.make_batch(images, step)
            prediction = network(inputs)
            accuracy += task.accuracy(prediction, targets).tolist()
            if confusion is not None:
                confusion.add(prediction, targets)
    valid = [a for a in accuracy if not math.isnan(a)]
    mean, low, high = bootstrap_interval(valid or [task.chance])
    is_control = source in task.controls
    return Result(source, solver, mean, low, high, task.chance, len(valid), is_control, confusion)
