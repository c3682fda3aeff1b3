"""Content-free images: constant images, noise and ramps, on which a pretext task must not be solvable."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.transforms import Transform

from tools.transforms.geometry import check_spacing

ImageGenerator = Callable[[Sequence[int], torch.Generator], torch.Tensor]


def _constant(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.full(tuple(size), 100 * float(torch.rand((), generator=generator)))


def _white(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tuple(size), generator=generator)


def _anisotropic(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return white noise averaged over five voxels along the last axis, like thick slices."""
    noise = _white([*size[:-1], size[-1] + 4], generator)
    return noise.unfold(-1, 5, 1).mean(-1)


def _correlated(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return smooth isotropic noise with a correlation length of 8 voxels, continuous across neighbouring patches."""
    coarse = _white([s // 8 + 2 for s in size], generator)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    smooth = F.interpolate(coarse[None, None], scale_factor=8, mode=mode, align_corners=False)[0, 0]
    return smooth[tuple(slice(s) for s in size)].contiguous()


def _position(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Sum of linear ramps along all axes, which encodes the absolute position only."""
    ramps = [torch.linspace(0, weight, s) for s, weight in zip(size, (1.0, 2.0, 4.0), strict=False)]
    return sum(torch.meshgrid(*ramps, indexing="ij"))


#: content-free images by name
SOURCES: dict[str, ImageGenerator] = {
    "constant": _constant,
    "white noise": _white,
    "anisotropic noise": _anisotropic,
    "correlated noise": _correlated,
    "absolute position": _position,
}
#: all cases are the same image, so that positives and negatives are equally similar
ONE_IMAGE = "one image"
#: sources without differences between images
IDENTICAL_IMAGES = ("constant", ONE_IMAGE)


class ContentFreeImaged(Transform):
    """Generate a content-free image instead of loading one.

    The ``image`` entry of a case is ``"<source>/<number>"``. The number seeds the image and its size, 1 to 1.5 times
    `roi_size`. For `ONE_IMAGE` all numbers give the same smooth noise of size `roi_size`.

    Args:
        roi_size: crop size of the bundle in voxels.
        spacing: voxel size in mm, equal to the target spacing of the bundle.
    """

    def __init__(self, roi_size: Sequence[int], spacing: float | Sequence[float]) -> None:
        self.roi_size = tuple(roi_size)
        self.spacing = check_spacing(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with its image (1, *spatial)."""
        source, number = str(data["image"]).rsplit("/", 1)
        if source == ONE_IMAGE:
            image = _correlated(self.roi_size, torch.Generator().manual_seed(0))
        else:
            generator = torch.Generator().manual_seed(int(number))
            factor = 1 + torch.rand(len(self.roi_size), generator=generator) / 2
            image = SOURCES[source]([int(g * s) for g, s in zip(factor, self.roi_size, strict=True)], generator)
        return {**data, "image": MetaTensor(image[None], affine=np.diag([*self.spacing, 1.0]))}
