"""What the tasks with a fixed set of answers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.pretext.accuracy import top1_correct
from tools.pretext.task import PretextTask
from tools.utils.errors import InputError


class Classification(PretextTask):
    """A pretext task whose answer is one of a few classes.

    One image may be asked about several times in a batch, each time with another right answer: its voxels are read and
    prepared once, and the network cannot answer from what the image is instead of from what was done to it.

    Args:
        roi_size: edge lengths of the images, in voxels.
        classes: names of the answers.
        views_per_volume: questions V about each image, with different answers.
        seed: seed of all draws.

    Raises:
        InputError: more views than classes.
    """

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

    def credit(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Was the class right? `prediction` is (B, V, classes); a negative target is not asked."""
        return top1_correct(prediction, targets.clamp(min=0)), targets >= 0
