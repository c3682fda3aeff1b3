"""Exemplar pretext task: similarity of two augmented views of an image.

Dosovitskiy et al., TPAMI 2016; with triplets, in 3D for medical scans, by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from tools.pretext.exemplar.figure import draw_neighbours
from tools.pretext.exemplar.resampling import resample
from tools.pretext.task import Params, PretextTask
from tools.utils.errors import InputError


class Exemplar(PretextTask):
    """Pretext task with two augmented views of every image; the targets are case numbers.

    Both views are flipped, rotated and zoomed in one linear resampling with reflection padding, and changed in
    brightness and contrast. The accuracy is the fraction of negatives that are farther away than the positive, for any
    loss and batch size.

    Args:
        roi_size: edge lengths of the images, in voxels.
        max_zoom: the zoom factor of each axis is sampled from 1 ± `max_zoom`.
        zoom_prob: probability of a zoom.
        brightness: maximum intensity shift, as a fraction of the intensity range of the image.
        contrast: the factor of the contrast about the mean is sampled from 1 ± `contrast`.
        seed: seed of all random parameters.

    Raises:
        InputError: if `max_zoom` or `contrast` is not in [0, 1).
    """

    controls = ("constant", "one image")
    min_cases = 2
    chance = 0.5
    difficulty_advice = "a larger --zoom_prob, --max_zoom, --brightness or --contrast"

    def __init__(
        self,
        roi_size: Sequence[int],
        max_zoom: float = 0.2,
        zoom_prob: float = 0.15,
        brightness: float = 0.125,
        contrast: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, seed)
        self.max_zoom, self.zoom_prob = max_zoom, zoom_prob
        self.brightness, self.contrast = brightness, contrast
        for name in ("max_zoom", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: expected a number from 0 to below 1, found {getattr(self, name)}")

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw both views of a global batch.

        Returns:
            "matrix" (B, 2, dims, dims), which maps voxel coordinates of a view to the image, both from the
            centre; "brightness" and "contrast" (B, 2).
        """

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(batch_size, 2, *shape, generator=generator)

        dims = len(self.roi_size)
        flips = torch.where(uniform(dims) < 0.5, -1.0, 1.0)
        zoomed = uniform(1) < self.zoom_prob
        zoom = torch.where(zoomed, 1 + self.max_zoom * (2 * uniform(dims) - 1), 1.0)
        matrix = torch.diag_embed(flips / zoom)
        for plane in ((0, 1), (1, 2), (0, 2))[: 1 if dims == 2 else 3]:
            rotated, by_right_angle, angle = uniform(), uniform(), uniform()
            right = torch.floor(4 * angle) * (math.pi / 2)
            angle = torch.where(by_right_angle < 0.5, right, 2 * math.pi * angle) * (rotated < 0.5)
            matrix = matrix @ _plane_rotation(angle, plane, dims)
        return {
            "matrix": matrix,
            "brightness": self.brightness * (2 * uniform() - 1),
            "contrast": 1 + self.contrast * (2 * uniform() - 1),
        }

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PretextTask.make_batch`.

        Raises:
            InputError: if the batch of this process has fewer than two different cases.
        """
        if len(set(batch["case"])) < 2:
            raise InputError(
                f"batch_size: expected images of at least 2 different cases in a batch, found {len(batch['case'])} of "
                f"{batch['case'][0]}"
            )
        return super().make_batch(batch, step)

    def apply(self, images: torch.Tensor, params: Params) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment the images.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`, and case numbers "case" (B,); by default all are different.

        Returns:
            Views (B, 2, C, *roi_size), clipped to the intensity range of their image, and case numbers (B,).
        """
        views = resample(images, params["matrix"].to(images.device, non_blocking=True))
        brightness, contrast = (
            params[name].to(images.device, images.dtype, non_blocking=True)[(..., *[None] * (images.ndim - 1))]
            for name in ("brightness", "contrast")
        )
        flat = images.flatten(2)
        shape = (len(images), 1, images.shape[1], *[1] * len(self.roi_size))
        low, high, middle = (value.reshape(shape) for value in (flat.amin(-1), flat.amax(-1), flat.mean(-1)))
        views.mul_(contrast).add_(middle * (1 - contrast) + brightness * (high - low))
        views.clamp_min_(low).clamp_max_(high)  # on the CPU, clamp_ with tensors takes three times as long
        cases = params.get("case", torch.arange(len(images)))
        return views, cases.to(images.device, non_blocking=True)

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute whether the views of an image are closer to each other than to views of other cases.

        Args:
            prediction: (B, 2, channels).
            targets: case numbers, (B,).

        Returns:
            (B, B): whether the first view of image i is closer to the second view of i than to the one of j, and
            the mask of valid pairs.
        """
        first, second = prediction.detach().float().unbind(1)
        distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")  # exact for close points
        positive = distances.diagonal()[:, None]
        tie = (distances - positive).abs() <= 1e-5 * distances.amax()
        correct = torch.where(tie, 0.5, (positive < distances).float())
        return correct, targets[:, None] != targets

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot both views of each image and the nearest neighbours of the first; `prediction` is (B, 2, channels)."""
        views, _ = self.apply(images, params)
        return draw_neighbours(images, views, prediction.float())


def _plane_rotation(angle: torch.Tensor, plane: tuple[int, int], dims: int) -> torch.Tensor:
    """Return the rotation matrices (..., dims, dims) of angles (...) in radians in a plane of two axes."""
    matrix = torch.eye(dims).expand(*angle.shape, dims, dims).clone()
    a, b = plane
    matrix[..., a, a] = matrix[..., b, b] = angle.cos()
    matrix[..., a, b], matrix[..., b, a] = -angle.sin(), angle.sin()
    return matrix
