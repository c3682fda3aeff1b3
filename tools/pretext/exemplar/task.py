"""Pretext task of exemplar training: two augmented views of a scan are closer than views of different scans.

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
    """Make two augmented views of every image; the targets are the numbers of the cases.

    Both views are flipped, rotated and zoomed in one linear resampling, and changed in brightness and contrast.
    Outside the image they are reflected, never zero. The accuracy is the fraction of pairs of a positive and a negative
    in the right order, whatever the loss and the size of the batch.

    Args:
        roi_size: edge lengths of the images, in voxels.
        max_zoom: zoom factors of each axis lie within 1 ± this.
        zoom_prob: probability of a zoom.
        brightness: largest shift, as a fraction of the image's range.
        contrast: factors about the mean lie within 1 ± this.
        seed: seed of all random parameters.

    Raises:
        InputError: `max_zoom` or `contrast` not below 1; later, a batch without two different cases.
    """

    controls = ("constant", "one image")
    min_cases = 2
    chance = 0.5
    harder = "a larger --zoom_prob, --max_zoom, --brightness or --contrast"

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
            "matrix" (B, 2, dims, dims), which maps voxels of a view, counted from its middle, to those of the image;
            "brightness" and "contrast" (B, 2).
        """

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(batch_size, 2, *shape, generator=generator)

        dims = len(self.roi_size)
        flips = torch.where(uniform(dims) < 0.5, -1.0, 1.0)
        zoomed = uniform(1) < self.zoom_prob
        zoom = torch.where(zoomed, 1 + self.max_zoom * (2 * uniform(dims) - 1), 1.0)
        matrix = torch.diag_embed(flips / zoom)
        for plane in ((0, 1), (1, 2), (0, 2))[: 1 if dims == 2 else 3]:
            turned, quarter, angle = uniform(), uniform(), uniform()
            right = torch.floor(4 * angle) * (math.pi / 2)
            angle = torch.where(quarter < 0.5, right, 2 * math.pi * angle) * (turned < 0.5)
            matrix = matrix @ _plane_rotation(angle, plane, dims)
        return {
            "matrix": matrix,
            "brightness": self.brightness * (2 * uniform() - 1),
            "contrast": 1 + self.contrast * (2 * uniform() - 1),
        }

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PretextTask.make_batch`; the batch of a process must have two different cases."""
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
            params: from `sample_params`, and case numbers (B,) under "case"; by default all are different.

        Returns:
            Views (B, 2, C, *roi_size) within the range of their image, and case numbers (B,).
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
        """Whether the second view of an image is closer to the first than that of another case of this batch.

        Args:
            prediction: (B, 2, channels).
            targets: case numbers, (B,).

        Returns:
            (B, B): in row i, whether the second view of i is closer to the first than the second view of j is.
        """
        first, second = prediction.detach().float().unbind(1)
        distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")  # exact for near points
        own = distances.diagonal()[:, None]
        tie = (distances - own).abs() <= 1e-5 * distances.amax()
        correct = torch.where(tie, 0.5, (own < distances).float())
        return correct, targets[:, None] != targets

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw both views of each image and the nearest neighbours of the first; `prediction` is (B, 2, channels)."""
        views, _ = self.apply(images, params)
        return draw_neighbours(images, views, prediction.float())


def _plane_rotation(angle: torch.Tensor, plane: tuple[int, int], dims: int) -> torch.Tensor:
    """Rotation matrices (..., dims, dims) by an angle (radians) in a plane of two axes."""
    matrix = torch.eye(dims).expand(*angle.shape, dims, dims).clone()
    a, b = plane
    matrix[..., a, a] = matrix[..., b, b] = angle.cos()
    matrix[..., a, b], matrix[..., b, a] = -angle.sin(), angle.sin()
    return matrix
