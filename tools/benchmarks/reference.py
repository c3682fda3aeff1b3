"""What the public code of Taleb et al. does to one volume, stated in numpy from its description, for comparison only.

Volumes are (D, H, W), as there without the channel axis.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch

Statement = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def crop_grid(volume: np.ndarray, cells: int, jitter: int, rng: np.random.Generator) -> np.ndarray:
    """All patches of a grid, each at a random place in its cell: (cells³, patch, patch, patch)."""
    cell = volume.shape[0] // cells
    patch = cell - jitter
    cut = []
    for corner in product(range(cells), repeat=3):
        start = np.array(corner) * cell + rng.integers(0, jitter + 1, 3)
        cut.append(volume[tuple(slice(s, s + patch) for s in start)])
    return np.stack(cut)


def standardise(patches: np.ndarray) -> np.ndarray:
    """Bring every patch to mean 0 and standard deviation 1, as our tasks do and the public code does not."""
    axes = tuple(range(1, patches.ndim))
    return (patches - patches.mean(axes, keepdims=True)) / patches.std(axes, keepdims=True)


def cpc(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crop and pad, cut a 4³ grid, crop and pad every patch, gather 12 patches for each of 32 samples."""
    edge = volume.shape[0]
    inner = int(0.95 * edge)
    start = rng.integers(0, edge - inner + 1, 3)
    framed = np.zeros_like(volume)
    framed[:inner, :inner, :inner] = volume[tuple(slice(s, s + inner) for s in start)]
    patches = crop_grid(framed, 4, 0, rng)
    size = patches.shape[1]
    small = size * 7 // 8
    padded = np.zeros_like(patches)
    for patch, target in zip(patches, padded, strict=True):
        start = rng.integers(0, size - small + 1, 3)
        target[:small, :small, :small] = patch[tuple(slice(s, s + small) for s in start)]
        if rng.random() < 0.5:
            target[:] = target[::-1].copy()
    return padded[rng.integers(0, len(padded), (32, 12))]


def rpl(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut all 27 patches, keep the centre and a random other one."""
    patches = crop_grid(volume, 3, 3, rng)
    other = rng.integers(0, 26)
    return np.stack([patches[13], patches[other if other < 13 else other + 1]])


def jigsaw(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut all 27 patches and shuffle them."""
    return crop_grid(volume, 3, 3, rng)[rng.permutation(27)]


def rotation(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of ten rotations, a view; it is copied into the batch."""
    return turned(volume, rng.integers(0, 10))


def turned(volume: np.ndarray, label: int) -> np.ndarray:
    """The rotation of a number, a view."""
    plane = ((0, 1), (1, 2), (0, 2))[(label - 1) // 3]
    return np.rot90(volume, (label - 1) % 3 + 1, plane) if label else volume


def exemplar(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One view, in a triplet of float64; the scan itself stands in for the other scan, which costs no more to copy.

    Raises:
        ImportError: scipy is missing.
    """
    return np.stack([distorted(volume, rng), volume, volume])


def distorted(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flips, rotations by cubic splines, colour, zoom by cubic splines, in float64."""
    from scipy.ndimage import rotate, zoom

    view = volume.astype(np.float64)
    for axis in range(3):
        if rng.random() < 0.5:
            view = np.flip(view, axis)
    for plane in ((0, 1), (1, 2), (0, 2)):
        if rng.random() < 0.5:
            if rng.random() < 0.5:
                view = np.rot90(view, rng.integers(0, 4), plane)
            else:
                view = rotate(view, rng.uniform(0, 360), plane, reshape=False)
    if rng.random() < 0.5:
        view = view + rng.uniform(-0.125, 0.125)
        view = (view - view.mean()) * rng.uniform(0.5, 1.5) + view.mean()
    if rng.random() < 0.15:
        larger = zoom(view, rng.uniform(0.8, 1.2, 3))
        pads = [(max(0, want - have + 1) // 2,) * 2 for want, have in zip(view.shape, larger.shape, strict=True)]
        larger = np.pad(larger, pads)
        starts = [rng.integers(0, have - want + 1) for want, have in zip(view.shape, larger.shape, strict=True)]
        view = larger[tuple(slice(s, s + want) for s, want in zip(starts, view.shape, strict=True))]
    return view


STATEMENTS: dict[str, Statement] = {
    "cpc": cpc,
    "rpl": rpl,
    "jigsaw": jigsaw,
    "rotation": rotation,
    "exemplar": exemplar,
}

#: where our tasks standardise and the public code does not
SAME_WORK: dict[str, Statement] = {
    "rpl": lambda volume, rng: standardise(rpl(volume, rng)),
    "jigsaw": lambda volume, rng: standardise(jigsaw(volume, rng)),
}


def batch(statement: Statement, images: torch.Tensor, seed: int) -> np.ndarray:
    """What a statement makes of a batch (B, 1, *spatial), in one array, as our tasks give it."""
    rng = np.random.default_rng(seed)
    return np.stack([statement(image[0].numpy(), rng) for image in images])
