"""Dice and Hausdorff distance per case and class, without the background."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import from_engine
from monai.metrics import compute_dice, compute_hausdorff_distance

from tools.segmentation.labels import LabelManager
from tools.utils import distributed

#: treatment of empty masks, reported with every score (Maier-Hein et al., Nature Methods 2024)
POLICY = (
    "If label and prediction are both empty, Dice is 1 and the distance 0. If only one is empty, Dice is 0 and the "
    "distance the diagonal of the scan."
)


def dice_scores(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the Dice (B, classes) of masks (B, classes, *spatial)."""
    return compute_dice(y_pred.float(), y.float(), include_background=True, ignore_empty=False)


def hausdorff_95(y_pred: torch.Tensor, y: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """Compute the symmetric 95th percentile Hausdorff distance in mm; see `POLICY` for empty masks.

    Args:
        y_pred: predicted masks (B, classes, *spatial).
        y: label masks (B, classes, *spatial).
        spacing: voxel size along each axis, in mm.

    Returns:
        Distances (B, classes).
    """
    diagonal = math.hypot(*(size * step for size, step in zip(y.shape[2:], spacing, strict=True)))
    with warnings.catch_warnings():  # MONAI warns of empty masks, which are handled below
        warnings.simplefilter("ignore")
        distances = compute_hausdorff_distance(
            y_pred.float(), y.float(), include_background=True, percentile=95, spacing=list(spacing)
        )
    filled = [mask.flatten(2).any(-1) for mask in (y_pred, y)]
    distances = torch.where(filled[0] != filled[1], torch.full_like(distances, diagonal), distances)
    return torch.where(filled[0] | filled[1], distances, torch.zeros_like(distances))


class CaseDice(Metric):
    """Mean Dice over the cases of all ranks and over classes.

    The mean of each class is added to the engine's metrics as ``dice_<class>``.

    Args:
        label_manager: maps labels to channels of the network.
    """

    def __init__(self, label_manager: LabelManager) -> None:
        self.label_manager = label_manager
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Reset the collected scores."""
        self._scores: dict[str, list[float]] = defaultdict(list)

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Add a batch of logits (B, channels, *spatial) and labels (B, 1, *spatial)."""
        logits, labels = (torch.stack(list(part)) if isinstance(part, list) else part for part in output)
        y_pred = self.label_manager.masks(self.label_manager.decode(logits.detach()))
        dice = dice_scores(y_pred, self.label_manager.masks(labels))
        for class_name, values in zip(self.label_manager.classes, dice.T.tolist(), strict=True):
            self._scores[class_name] += values

    def class_means(self) -> dict[str, float]:
        """Return the mean of each class over the cases of all ranks."""
        parts = distributed.gather_objects(dict(self._scores))
        values = {name: [v for part in parts for v in part.get(name, [])] for name in self.label_manager.classes}
        return {name: sum(scores) / max(len(scores), 1) for name, scores in values.items()}

    def compute(self) -> float:
        """Return the mean over classes."""
        means = self.class_means()
        return sum(means.values()) / len(means)

    def completed(self, engine: Engine, name: str) -> None:
        """Set the mean as metric `name`, and the mean of each class."""
        means = self.class_means()
        engine.state.metrics[name] = sum(means.values()) / len(means)
        engine.state.metrics.update({f"dice_{class_name}": value for class_name, value in means.items()})
