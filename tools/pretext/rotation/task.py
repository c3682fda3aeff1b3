"""Rotation pretext task: classification of the rotation of an image.

Gidaris et al., ICLR 2018; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from tools.pretext.classification import ClassificationTask
from tools.pretext.rotation.figure import draw_rotations
from tools.pretext.rotations import right_angle_rotations, rotate
from tools.pretext.task import Params
from tools.utils.errors import InputError


class Rotation(ClassificationTask):
    """Pretext task whose target is the rotation of an image by multiples of 90 degrees, without interpolation.

    The image is cropped to the largest central cube (2D: square) first.

    Args:
        roi_size: edge lengths of the images, in voxels.
        num_rotations: 4 in 2D; in 3D 10 (identity, and 90, 180 and 270 degrees about each axis, as in the paper) or
            24 (all).
        views_per_volume: number of rotations V per image.
        seed: seed of all random parameters.

    Raises:
        InputError: if `num_rotations` is not supported, or there are more views than rotations.
    """

    difficulty_advice = "a smaller --roi_size, in 3D also --num_rotations 24"

    def __init__(
        self, roi_size: Sequence[int], num_rotations: int = 10, views_per_volume: int = 10, seed: int = 0
    ) -> None:
        rotations = right_angle_rotations(len(roi_size))
        choices = {2: (4,), 3: (10, 24)}[len(roi_size)]
        if num_rotations not in choices:
            expected = " or ".join(map(str, choices))
            raise InputError(f"num_rotations: expected {expected} in {len(roi_size)}D, found {num_rotations}")
        self.num_rotations = num_rotations
        self.rotations = rotations[:num_rotations]
        super().__init__(roi_size, [rotation.name for rotation in self.rotations], views_per_volume, seed)
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
                view.copy_(rotate(cubes[index], self.rotations[label]))
        return views, labels.to(images.device, non_blocking=True, copy=True)

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot images, rotated images, and the inverse of predicted rotations; `prediction` is (B, V, classes)."""
        views, labels = self.apply(images, params)
        return draw_rotations(self._cubes(images), views, labels, prediction.float().softmax(-1), self.rotations)

    def _cubes(self, images: torch.Tensor) -> torch.Tensor:
        for axis, (size, edge) in enumerate(zip(self.roi_size, self.patch_size, strict=True), 2):
            images = images.narrow(axis, (size - edge) // 2, edge)
        return images
