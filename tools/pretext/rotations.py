"""Rotations by multiples of 90 degrees, without interpolation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations, product
from typing import NamedTuple

import torch


class Rotation90(NamedTuple):
    """Rotation by multiples of 90 degrees: flips of spatial axes followed by a permutation.

    Attributes:
        name: description of the rotation.
        flips: flipped spatial axes, before the permutation.
        order: permutation of the spatial axes, as in `torch.permute`.
    """

    name: str
    flips: tuple[int, ...]
    order: tuple[int, ...]


def rotate(image: torch.Tensor, rotation: Rotation90) -> torch.Tensor:
    """Rotate an image (..., *spatial); the result is not contiguous, and a view if no axis is flipped."""
    first = image.ndim - len(rotation.order)
    flipped = image.flip([first + axis for axis in rotation.flips]) if rotation.flips else image
    return flipped.permute(*range(first), *(first + axis for axis in rotation.order))


def inverse(rotation: Rotation90) -> Rotation90:
    """Compute the inverse of a rotation."""
    order = tuple(rotation.order.index(axis) for axis in range(len(rotation.order)))
    return Rotation90(
        f"inverse of {rotation.name}", tuple(rotation.order.index(axis) for axis in rotation.flips), order
    )


def right_angle_rotations(dims: int) -> list[Rotation90]:
    """List all rotations by multiples of 90 degrees: 4 in 2D, 24 in 3D.

    In 3D, the first ten are the identity and the rotations about one spatial axis, in the order of the public code of
    Taleb et al.
    """
    planes = {2: [(0, 1)], 3: [(0, 1), (1, 2), (0, 2)]}[dims]
    identity = Rotation90("none", (), tuple(range(dims)))
    in_plane = {plane: [_plane_rotation(plane, k, dims) for k in (1, 2, 3)] for plane in planes}
    first = [identity, *in_plane[0, 1]]
    if dims == 3:
        first += [*reversed(in_plane[1, 2]), *reversed(in_plane[0, 2])]
    known = {rotation[1:] for rotation in first}
    others = [
        Rotation90(name, flips, order) for name, flips, order in _proper_rotations(dims) if (flips, order) not in known
    ]
    return first + others


def _plane_rotation(plane: tuple[int, int], k: int, dims: int) -> Rotation90:
    """Return a rotation by k · 90 degrees in a plane of two axes, as `numpy.rot90`."""
    a, b = plane
    order = list(range(dims))
    if k % 2:
        order[a], order[b] = b, a
    flips = {1: (b,), 2: (a, b), 3: (a,)}[k]
    axis = f" about axis {3 - a - b}" if dims == 3 else ""
    return Rotation90(f"{90 * k}°{axis}", flips, tuple(order))


def _proper_rotations(dims: int) -> Iterator[Rotation90]:
    """Yield all combinations of permutation and flips with determinant 1."""
    for order in permutations(range(dims)):
        for chosen in product((False, True), repeat=dims):
            flips = tuple(axis for axis in range(dims) if chosen[axis])
            if (_inversions(order) + len(flips)) % 2 == 0:
                name = f"axes {' '.join(('-' if axis in flips else '+') + str(axis) for axis in order)}"
                yield Rotation90(name, flips, order)


def _inversions(order: Iterable[int]) -> int:
    return sum(first > second for first, second in combinations(order, 2))
