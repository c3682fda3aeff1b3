"""Overlap and distance of segmented structures, case by case; the background is never one of them."""

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

#: to be stated with every figure (Maier-Hein et al., Nature Methods 2024)
POLICY = (
    "Where truth and answer are both empty Dice is 1 and the distance 0; where only one is, Dice is 0 and the distance "
    "the diagonal of the scan."
)


def dice_scores(answer: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice of masks (B, structures, *spatial): (B, structures)."""
    return compute_dice(answer.float(), truth.float(), include_background=True, ignore_empty=False)


def hausdorff_95(answer: torch.Tensor, truth: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """Larger of the two 95th percentiles of surface distances, in mm.

    Args:
        answer: masks (B, structures, *spatial).
        truth: likewise.
        spacing: voxel size along each axis, in mm.

    Returns:
        (B, structures).
    """
    diagonal = math.hypot(*(size * step for size, step in zip(truth.shape[2:], spacing, strict=True)))
    with warnings.catch_warnings():  # of masks without voxels, which are answered for here
        warnings.simplefilter("ignore")
        distances = compute_hausdorff_distance(
            answer.float(), truth.float(), include_background=True, percentile=95, spacing=list(spacing)
        )
    filled = [mask.flatten(2).any(-1) for mask in (answer, truth)]
    distances = torch.where(filled[0] != filled[1], torch.full_like(distances, diagonal), distances)
    return torch.where(filled[0] | filled[1], distances, torch.zeros_like(distances))


class CaseDice(Metric):
    """Mean over cases and structures of the Dice of each case, over all ranks.

    Also sets ``dice_<structure>`` among the engine's metrics, the means over cases.

    Args:
        coding: what the network's channels mean.
    """

    def __init__(self, coding: LabelManager) -> None:
        self.coding = coding
        super().__init__(output_transform=from_engine(["pred", "label"]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._scores: dict[str, list[float]] = defaultdict(list)

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Add a batch of scores (B, channels, *spatial) and labels (B, 1, *spatial)."""
        scores, labels = (torch.stack(list(part)) if isinstance(part, list) else part for part in output)
        found = self.coding.masks(self.coding.decode(scores.detach()))
        dice = dice_scores(found, self.coding.masks(labels))
        for structure, values in zip(self.coding.structures, dice.T.tolist(), strict=True):
            self._scores[structure] += values

    def structures(self) -> dict[str, float]:
        """Mean over the cases of all ranks, by structure."""
        parts = distributed.gather_objects(dict(self._scores))
        values = {name: [v for part in parts for v in part.get(name, [])] for name in self.coding.structures}
        return {name: sum(found) / max(len(found), 1) for name, found in values.items()}

    def compute(self) -> float:
        """Return the mean of the structures' means."""
        means = self.structures()
        return sum(means.values()) / len(means)

    def completed(self, engine: Engine, name: str) -> None:
        """Put the mean under `name`, and each structure's beside it."""
        means = self.structures()
        engine.state.metrics[name] = sum(means.values()) / len(means)
        engine.state.metrics.update({f"dice_{structure}": value for structure, value in means.items()})
