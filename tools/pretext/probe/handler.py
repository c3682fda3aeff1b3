"""Linear probe handler: a linear classifier on the encoder's features, fitted at every validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from monai.transforms import Compose
from torch import nn

from tools.data.cache.dataset import CachedDataset
from tools.pretext.probe.cases import find_probe_cases, split_probe_cases
from tools.pretext.probe.metric import linear_probe_accuracy
from tools.pretext.probe.transforms import build_probe_preprocessing
from tools.training.metrics_table import MetricsTable
from tools.utils.errors import InputError

logger = logging.getLogger(__name__)

#: maximum number of crops of volumes, or of images, to limit the time of the probe
MAX_CROPS, MAX_IMAGES = 16, 120


class LinearProbe:
    """Handler that records the balanced accuracy of a linear classifier as the validation metric ``probe``.

    In volumes, voxels are classified by the features of all levels at their position. Images are classified by the
    global average of each feature map. The classifier is fitted on one half of the patients and tested on the other.
    The labels never train the encoder, whose weights are bitwise the same with and without a probe.

    Args:
        probe_dir: folder of labelled cases, see `find_probe_cases`.
        preprocessing: preprocessing of the run.
        roi_size: crop size of the run, in voxels.
        patch_size: size of the encoder's input in the run, in voxels; crops are at most twice as large.
        channels: channel names and file name patterns of volumes.
        slice_axis: spatial axis along which a 2D encoder processes volumes slice by slice.
        seed: seed of random crops and voxels.
        skip_bad: exclude unusable cases instead of raising an error.

    Attributes:
        labels: labels that occur in both halves.
        chance: balanced accuracy of random guessing.
        initial_score: score before the first step; None for a resumed run that was started without a probe.
    """

    def __init__(
        self,
        probe_dir: str,
        preprocessing: Compose,
        roi_size: Sequence[int],
        patch_size: Sequence[int],
        channels: Mapping[str, str] | None = None,
        slice_axis: int | None = None,
        seed: int = 0,
        skip_bad: bool = False,
    ) -> None:
        self.probe_dir = probe_dir
        self.volumes = len(roi_size) == 3 or slice_axis is not None
        edges = [min(edge, 2 * patch) for edge, patch in zip(roi_size, patch_size, strict=True)]
        self.preprocessing = build_probe_preprocessing(preprocessing, edges, slice_axis, seed=seed)
        self.channels = channels
        self.skip_bad = skip_bad
        self.initial_score: float | None = None

    def attach(self, engine: Engine, evaluator: Engine, encoder: nn.Module, table: MetricsTable) -> None:
        """Attach to trainer and evaluator on rank 0, without communication; `table` must be attached before."""
        self.encoder = encoder
        self.table = table
        engine.add_event_handler(Events.STARTED, self._start)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._measure)

    def load_cases(self) -> None:
        """Find, load and preprocess the cases.

        Raises:
            InputError: if there are too few cases, a case cannot be used, or the halves have fewer than two labels in
                common.
        """
        cases = find_probe_cases(self.probe_dir, self.volumes, self.channels)
        if self.volumes:
            crops = max(MAX_CROPS // len(cases), 1)
            halves = [
                [case | {"crop": crop} for case in half for crop in range(crops)]
                for half in split_probe_cases(cases, MAX_CROPS)
            ]
        else:
            halves = split_probe_cases(cases, MAX_IMAGES, "label")
        options = {"skip_bad": self.skip_bad, "desc": "probe"}
        self.halves = [list(CachedDataset(half, self.preprocessing, **options)) for half in halves]
        found = [{value for sample in half for value in _labels(sample).tolist()} for half in self.halves]
        self.labels = sorted(found[0] & found[1])
        if len(self.labels) < 2:
            train, test = (", ".join(map(str, sorted(values))) for values in found)
            raise InputError(
                f"probe_dir {self.probe_dir}: expected at least 2 labels in both halves of its cases, found {train} in "
                f"the first and {test} in the second"
            )
        if excluded := sorted(found[0] ^ found[1]):
            logger.info(f"probe: labels {', '.join(map(str, excluded))} are excluded: they occur in one half only")
        self.chance = 1 / len(self.labels)

    def score(self, encoder: nn.Module) -> float:
        """Fit a classifier on the features of an encoder, which is not changed, and return its balanced accuracy."""
        with eval_mode(encoder):
            train, test = (self._collect(encoder, half) for half in self.halves)
        return linear_probe_accuracy(*train, *test, classes=len(self.labels))

    def _collect(self, encoder: nn.Module, half: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features (N, d) and classes (N,) of one half of the cases."""
        features = torch.cat([extract_features(encoder, sample) for sample in half])
        labels = torch.cat([_labels(sample) for sample in half])
        common = torch.tensor(self.labels)
        mask = torch.isin(labels, common)
        classes = torch.searchsorted(common, labels[mask])
        return features[mask.to(features.device)], classes.to(features.device)

    def _start(self, engine: Engine) -> None:
        self.load_cases()
        if engine.state.epoch == 0:
            self.initial_score = self.score(self.encoder)
            logger.info(f"probe before training {self.initial_score:.1%} (chance {self.chance:.1%})")
        elif self.table.rows:
            self.initial_score = self.table.rows[0].get("probe_start")
        self.table.constants |= {"probe_chance": self.chance}
        self.table.constants |= {} if self.initial_score is None else {"probe_start": self.initial_score}

    def _measure(self, evaluator: Engine) -> None:
        evaluator.state.metrics["probe"] = self.score(self.encoder)


def extract_features(encoder: nn.Module, sample: Mapping[str, Any]) -> torch.Tensor:
    """Compute the concatenated features of all levels: (N, channels).

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        sample: "image" (C, *spatial), and optionally "points" (N, dims) in the coordinates of
            `torch.nn.functional.grid_sample`; without points, the global average of each map is computed (N = 1).
    """
    device = next(encoder.parameters()).device
    maps = [level.float() for level in encoder.features(sample["image"][None].to(device))]
    if "points" not in sample:
        return torch.cat([level.flatten(2).mean(-1) for level in maps], 1)
    points = sample["points"].to(device)
    grid = points.reshape(1, len(points), *[1] * (points.shape[1] - 1), points.shape[1])
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    return torch.cat([F.grid_sample(level, grid, **options).flatten(2)[0].T for level in maps], 1)


def _labels(sample: Mapping[str, Any]) -> torch.Tensor:
    return torch.as_tensor(sample["label"]).reshape(-1)
