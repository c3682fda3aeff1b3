"""Variable dimension transform: the class of an image that is given as a volume, its colours as slices.

Supervised pretraining of 3D networks on photographs by the variable dimension transform (Zhang et al., arXiv
2201.01426): the labels are those of the photographs, no medical ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from tools.pretext.accuracy import top1_correct
from tools.pretext.task import Params, PretextTask
from tools.pretext.vdt.figure import draw_answers
from tools.pretext.vdt.transforms import COLOURS, channels_to_depth, check_depth

#: means of ImageNet's means and deviations of red, green and blue: one of each, so that colours may change places
MEAN, DEVIATION = 114.495, 57.63


class VariableDimensionTransform(PretextTask):
    """Turn images into volumes, with the order of their colours shuffled; the target is the class of the image.

    Args:
        roi_size: height and width of the images, in pixels.
        classes: names of the classes in the order of their labels.
        depth: odd number of slices D, see `tools.pretext.vdt.channels_to_depth`.
        shuffle_channels: draw the order of the colours; in validation it is red, green, blue.
        seed: seed of all random parameters.

    Raises:
        InputError: another depth.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        classes: Sequence[str],
        depth: int = COLOURS,
        shuffle_channels: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, seed)
        check_depth(depth)
        self.classes = list(classes)
        self.depth = depth
        self.shuffle_channels = shuffle_channels
        self.chance = 1 / len(self.classes)
        self.patch_size = (depth, *self.roi_size)

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the order (B, 3) of the colours of each image of a global batch."""
        if not (self.shuffle_channels and self.training):
            return {"order": torch.arange(COLOURS)[None].expand(batch_size, -1)}
        return {"order": torch.rand(batch_size, COLOURS, generator=generator).argsort(1)}

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PretextTask.make_batch`; the batch has under "label" the classes (B,)."""
        volumes, _ = super().make_batch(batch, step)
        self.params["label"] = batch["label"]
        return volumes, batch["label"].to(volumes.device, non_blocking=True)

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn images into volumes.

        Args:
            images: (B, 3, *roi_size), grey values from 0 to 255.
            params: from `sample_params`.

        Returns:
            Standardised volumes (B, 1, D, *roi_size), and the orders (B, 3).
        """
        standard = (images.float() - MEAN) / DEVIATION
        return channels_to_depth(standard, self.depth, params["order"]), params["order"]

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether the class is right; `prediction` is (B, classes), `targets` (B,)."""
        correct = top1_correct(prediction, targets)[:, None]
        return correct, torch.ones_like(correct, dtype=torch.bool)

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw images, their volumes slice by slice, and the predicted classes; `prediction` is (B, classes)."""
        volumes, _ = self.apply(images, params)
        return draw_answers(images, volumes, params["label"], prediction.float().softmax(-1), self.classes)
