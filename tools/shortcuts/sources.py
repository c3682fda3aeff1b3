"""Images without content: what a network can still tell from them, it tells from the making of the task."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.transforms import Transform

from tools.transforms.geometry import voxel_edges

Maker = Callable[[Sequence[int], torch.Generator], torch.Tensor]


def _constant(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.full(tuple(size), 100 * float(torch.rand((), generator=generator)))


def _white(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tuple(size), generator=generator)


def _anisotropic(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """White noise averaged over five voxels along the last axis, as thick slices do."""
    noise = _white([*size[:-1], size[-1] + 4], generator)
    return noise.unfold(-1, 5, 1).mean(-1)


def _correlated(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Smooth isotropic noise with a grain of eight voxels, so that neighbouring patches continue each other."""
    coarse = _white([s // 8 + 2 for s in size], generator)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    smooth = F.interpolate(coarse[None, None], scale_factor=8, mode=mode, align_corners=False)[0, 0]
    return smooth[tuple(slice(s) for s in size)].contiguous()


def _position(size: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """A ramp along every axis: the absolute position in the scan is all there is to see."""
    ramps = [torch.linspace(0, weight, s) for s, weight in zip(size, (1.0, 2.0, 4.0), strict=False)]
    return sum(torch.meshgrid(*ramps, indexing="ij"))


#: content-free images by name
SOURCES: dict[str, Maker] = {
    "constant": _constant,
    "white noise": _white,
    "anisotropic noise": _anisotropic,
    "correlated noise": _correlated,
    "absolute position": _position,
}
#: every case the same image, so that no view is nearer to its twin than to a stranger
ONE_IMAGE = "one image"
#: sources of which one image tells as little as another
PLAIN = ("constant", ONE_IMAGE)


class ContentFreeImaged(Transform):
    """Make an image where a bundle's preprocessing would load one.

    The case's ``image`` entry is ``"<source>/<number>"``; the number seeds the image and its size, between one and one
    and a half times `roi_size`. Of `ONE_IMAGE` all numbers are the same smooth noise of exactly that size.

    Args:
        roi_size: the bundle's crop, in voxels.
        spacing: voxel size in mm, so that resampling has nothing to do.
    """

    def __init__(self, roi_size: Sequence[int], spacing: float | Sequence[float]) -> None:
        self.roi_size = tuple(roi_size)
        self.spacing = voxel_edges(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with its image (1, *spatial)."""
        source, number = str(data["image"]).rsplit("/", 1)
        if source == ONE_IMAGE:
            image = _correlated(self.roi_size, torch.Generator().manual_seed(0))
        else:
            generator = torch.Generator().manual_seed(int(number))
            grow = 1 + torch.rand(len(self.roi_size), generator=generator) / 2
            image = SOURCES[source]([int(g * s) for g, s in zip(grow, self.roi_size, strict=True)], generator)
        return {**data, "image": MetaTensor(image[None], affine=np.diag([*self.spacing, 1.0]))}
