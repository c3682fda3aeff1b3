"""Linear probe: a linear classifier on the features of the encoder, fitted at every validation."""

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
from tools.pretext.probe.cases import find_probe_cases, halve_cases
from tools.pretext.probe.metric import linear_probe
from tools.pretext.probe.transforms import build_probe_preprocessing
from tools.training.metrics_table import MetricsTable
from tools.utils.errors import InputError

logger = logging.getLogger(__name__)

#: crops of volumes, or pictures, used at most, for the probe to cost little; of few volumes several crops are taken
MAX_CROPS, MAX_PICTURES = 16, 120


class LinearProbe:
    """Balanced accuracy of a linear classifier on the encoder's features, as the metric ``probe`` of the validation.

    Of volumes, voxels are classified by the features of all levels at their place; of pictures, whole pictures by the
    mean of each feature map. One half of the patients is fitted on, the other scored. Labels go to that classifier
    alone: the encoder is never trained by them, and the run's weights are the same without a probe, bit for bit.

    Args:
        probe_dir: the labelled cases, see `find_probe_cases`.
        preprocessing: that of the run.
        roi_size: edges of the run's crops.
        patch_size: edges of what the encoder is given in the run; the probe's crops are twice that at most.
        channels: channel names and file name patterns of volumes.
        slice_axis: axis of volumes that the slices of a 2D encoder lie across.
        seed: chooses crops and voxels.
        skip_bad: leave out unusable cases instead of stopping.

    Attributes:
        chance: balanced accuracy of guessing.
        start: the probe before the first step; None when a resumed run has begun without one.
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
        self.start: float | None = None

    def attach(self, engine: Engine, evaluator: Engine, encoder: nn.Module, table: MetricsTable) -> None:
        """Watch a run, on rank 0 alone: no other process is asked for anything. `table` must be attached before."""
        self.encoder = encoder
        self.table = table
        engine.add_event_handler(Events.STARTED, self._begin)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._measure)

    def read(self) -> None:
        """Prepare the cases.

        Raises:
            InputError: there are too few, they cannot be used, or the halves do not share two labels.
        """
        cases = find_probe_cases(self.probe_dir, self.volumes, self.channels)
        if self.volumes:
            crops = max(MAX_CROPS // len(cases), 1)
            halves = [
                [case | {"crop": crop} for case in half for crop in range(crops)]
                for half in halve_cases(cases, MAX_CROPS)
            ]
        else:
            halves = halve_cases(cases, MAX_PICTURES, "label")
        options = {"skip_bad": self.skip_bad, "desc": "probe"}
        self.halves = [list(CachedDataset(half, self.preprocessing, **options)) for half in halves]
        found = [{value for sample in half for value in _labels(sample).tolist()} for half in self.halves]
        self.values = sorted(found[0] & found[1])
        if len(self.values) < 2:
            one, other = (", ".join(map(str, sorted(values))) for values in found)
            raise InputError(
                f"probe_dir {self.probe_dir}: expected at least 2 labels in both halves of its cases, found {one} in "
                f"one and {other} in the other"
            )
        if left := sorted(found[0] ^ found[1]):
            logger.info(f"probe: labels {', '.join(map(str, left))} are left out, one half of the cases has none")
        self.chance = 1 / len(self.values)

    def score(self, encoder: nn.Module) -> float:
        """Balanced accuracy of a classifier fitted to an encoder, which is left as it was."""
        with eval_mode(encoder):
            fit, test = (self._collect(encoder, half) for half in self.halves)
        return linear_probe(*fit, *test, classes=len(self.values))

    def _collect(self, encoder: nn.Module, half: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, d) of half of the cases, and classes (N,)."""
        features = torch.cat([extract_features(encoder, sample) for sample in half])
        labels = torch.cat([_labels(sample) for sample in half])
        values = torch.tensor(self.values)
        known = torch.isin(labels, values)
        classes = torch.searchsorted(values, labels[known])
        return features[known.to(features.device)], classes.to(features.device)

    def _begin(self, engine: Engine) -> None:
        self.read()
        if engine.state.epoch == 0:
            self.start = self.score(self.encoder)
            logger.info(f"probe before training {self.start:.1%} (chance {self.chance:.1%})")
        elif self.table.rows:
            self.start = self.table.rows[0].get("probe_start")
        self.table.constants |= {"probe_chance": self.chance}
        self.table.constants |= {} if self.start is None else {"probe_start": self.start}

    def _measure(self, evaluator: Engine) -> None:
        evaluator.state.metrics["probe"] = self.score(self.encoder)


def extract_features(encoder: nn.Module, sample: Mapping[str, Any]) -> torch.Tensor:
    """Features of all levels, one beside the other: (N, channels).

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        sample: "image" (C, *spatial), and "points" (N, dims) in it as for `torch.nn.functional.grid_sample`; without
            them there is one row, the mean over the image.
    """
    device = next(encoder.parameters()).device
    maps = [one.float() for one in encoder.features(sample["image"][None].to(device))]
    if "points" not in sample:
        return torch.cat([one.flatten(2).mean(-1) for one in maps], 1)
    points = sample["points"].to(device)
    grid = points.reshape(1, len(points), *[1] * (points.shape[1] - 1), points.shape[1])
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    return torch.cat([F.grid_sample(one, grid, **options).flatten(2)[0].T for one in maps], 1)


def _labels(sample: Mapping[str, Any]) -> torch.Tensor:
    return torch.as_tensor(sample["label"]).reshape(-1)
