"""Variable dimension transform: supervised pretraining of 3D networks by classification of photographs.

The colour channels of a photograph become the slices of a volume (Zhang et al., arXiv 2201.01426). The labels are
the classes of the photographs; no medical labels are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from tools.pretext.accuracy import top1_correct
from tools.pretext.task import Params, PretextTask
from tools.pretext.vdt.figure import draw_predictions
from tools.pretext.vdt.transforms import RGB_CHANNELS, channels_to_depth, check_depth

#: ImageNet mean and standard deviation, averaged over channels, since the channels are shuffled
MEAN, STD = 114.495, 57.63


class VariableDimensionTransform(PretextTask):
    """Supervised task that converts images to volumes with shuffled colour channels; the target is the image class.

    Args:
        roi_size: height and width of the images, in pixels.
        classes: class names in the order of the labels.
        depth: odd number of slices D, see `tools.pretext.vdt.channels_to_depth`.
        shuffle_channels: shuffle the colour channels in training; the order in validation is red, green, blue.
        seed: seed of all random parameters.

    Raises:
        InputError: if `depth` is even or below 3.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        classes: Sequence[str],
        depth: int = RGB_CHANNELS,
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
        """Draw the channel order (B, 3) of each image of a global batch."""
        if not (self.shuffle_channels and self.training):
            return {"order": torch.arange(RGB_CHANNELS)[None].expand(batch_size, -1)}
        return {"order": torch.rand(batch_size, RGB_CHANNELS, generator=generator).argsort(1)}

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PretextTask.make_batch`; the batch also has the classes "label" (B,)."""
        volumes, _ = super().make_batch(batch, step)
        self.params["label"] = batch["label"]
        return volumes, batch["label"].to(volumes.device, non_blocking=True)

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Convert images to volumes.

        Args:
            images: (B, 3, *roi_size), from 0 to 255.
            params: from `sample_params`.

        Returns:
            Standardised volumes (B, 1, D, *roi_size), and the orders (B, 3).
        """
        standardised = (images.float() - MEAN) / STD
        return channels_to_depth(standardised, self.depth, params["order"]), params["order"]

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute correctness and mask, both (B, 1); `prediction` is (B, classes), `targets` (B,)."""
        correct = top1_correct(prediction, targets)[:, None]
        return correct, torch.ones_like(correct, dtype=torch.bool)

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot images, slices of their volumes, and predicted classes; `prediction` is (B, classes)."""
        volumes, _ = self.apply(images, params)
        return draw_predictions(images, volumes, params["label"], prediction.float().softmax(-1), self.classes)
