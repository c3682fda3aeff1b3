"""Pretext task of rotation: the rotation of an image.

Gidaris et al., ICLR 2018; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from tools.pretext.classification import Classification
from tools.pretext.rotation.figure import draw_turns
from tools.pretext.rotations import apply_turn, right_angle_rotations
from tools.pretext.task import Params
from tools.utils.errors import InputError


class Rotation(Classification):
    """Rotate an image by right angles; the target is the rotation.

    Voxels are moved, never interpolated. Of a crop that is not a cube (square), the largest cube in its middle is used.

    Args:
        roi_size: edge lengths of the images, in voxels.
        num_rotations: 10 (three axes by 90, 180 and 270 degrees, and none: the paper's) or 24 (all) in 3D, 4 in 2D.
        views_per_volume: rotations V per image.
        seed: seed of all random parameters.

    Raises:
        InputError: another number of rotations, or more views than rotations.
    """

    harder = "a smaller --roi_size, in 3D also --num_rotations 24"

    def __init__(
        self, roi_size: Sequence[int], num_rotations: int = 10, views_per_volume: int = 10, seed: int = 0
    ) -> None:
        turns = right_angle_rotations(len(roi_size))
        choices = {2: (4,), 3: (10, 24)}[len(roi_size)]
        if num_rotations not in choices:
            expected = " or ".join(map(str, choices))
            raise InputError(f"num_rotations: expected {expected} in {len(roi_size)}D, found {num_rotations}")
        self.num_rotations = num_rotations
        self.turns = turns[:num_rotations]
        super().__init__(roi_size, [turn.name for turn in self.turns], views_per_volume, seed)
        self.patch_size = (min(self.roi_size),) * len(self.roi_size)

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the rotations (B, V) of a global batch, different ones for each image."""
        return {"label": self.class_orders(batch_size, generator)[:, : self.views_per_volume]}

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate the images.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Rotated images (B, V, C, *cube) and rotations (B, V).
        """
        cubes, labels = self._cubes(images), params["label"]
        views = cubes.new_empty(*labels.shape, *cubes.shape[1:])
        for index, row in enumerate(labels.tolist()):
            for view, label in zip(views[index], row, strict=True):
                view.copy_(apply_turn(cubes[index], self.turns[label]))
        return views, labels.to(images.device, non_blocking=True, copy=True)

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw images, their rotations, and the rotation undone as predicted; `prediction` is (B, V, classes)."""
        views, labels = self.apply(images, params)
        return draw_turns(self._cubes(images), views, labels, prediction.float().softmax(-1), self.turns)

    def _cubes(self, images: torch.Tensor) -> torch.Tensor:
        for axis, (size, edge) in enumerate(zip(self.roi_size, self.patch_size, strict=True), 2):
            images = images.narrow(axis, (size - edge) // 2, edge)
        return images
