"""Base class of classification pretext tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.pretext.accuracy import top1_correct
from tools.pretext.task import PretextTask
from tools.utils.errors import InputError


class ClassificationTask(PretextTask):
    """Base class of pretext tasks with a fixed set of classes.

    Each image yields one or more views per batch, each with a different class. The image is loaded and preprocessed
    once, and its content alone does not determine the class.

    Args:
        roi_size: edge lengths of the images, in voxels.
        classes: names of the classes.
        views_per_volume: number of views V per image, with different classes.
        seed: seed of all random parameters.

    Raises:
        InputError: if there are more views than classes.
    """

    controls = ("constant", "white noise")

    def __init__(
        self, roi_size: Sequence[int], classes: Sequence[str], views_per_volume: int = 1, seed: int = 0
    ) -> None:
        super().__init__(roi_size, seed)
        self.classes = list(classes)
        self.views_per_volume = views_per_volume
        self.chance = 1 / len(self.classes)
        if not 1 <= views_per_volume <= len(self.classes):
            raise InputError(
                f"views_per_volume: expected 1 to {len(self.classes)} (the classes), found {views_per_volume}"
            )

    def class_orders(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the classes in random order for each image: (B, classes), int64."""
        return torch.rand(batch_size, len(self.classes), generator=generator).argsort(1)

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute correctness and mask; `prediction` is (B, V, classes), targets (B, V) are valid unless negative."""
        return top1_correct(prediction, targets.clamp(min=0)), targets >= 0
