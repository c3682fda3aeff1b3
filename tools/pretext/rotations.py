"""Rotations by right angles: voxels are moved, never interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations, product
from typing import NamedTuple

import torch


class Rotation90(NamedTuple):
    """A rotation by right angles: flip some axes, then reorder all.

    Attributes:
        name: what people call it.
        flips: flipped spatial axes, of the image before reordering.
        order: as in `torch.permute`.
    """

    name: str
    flips: tuple[int, ...]
    order: tuple[int, ...]


def apply_turn(image: torch.Tensor, turn: Rotation90) -> torch.Tensor:
    """Turn an image (..., *spatial); not contiguous, and a view where nothing is flipped."""
    first = image.ndim - len(turn.order)
    flipped = image.flip([first + axis for axis in turn.flips]) if turn.flips else image
    return flipped.permute(*range(first), *(first + axis for axis in turn.order))


def undo(turn: Rotation90) -> Rotation90:
    """The rotation that takes `turn` back."""
    order = tuple(turn.order.index(axis) for axis in range(len(turn.order)))
    return Rotation90(f"{turn.name}, back", tuple(turn.order.index(axis) for axis in turn.flips), order)


def right_angle_rotations(dims: int) -> list[Rotation90]:
    """All rotations by right angles, those about one spatial axis first: 4 in 2D, 10 + 14 in 3D.

    The first ten have the numbers of the public code of Taleb et al.
    """
    planes = {2: [(0, 1)], 3: [(0, 1), (1, 2), (0, 2)]}[dims]
    none = Rotation90("none", (), tuple(range(dims)))
    quarters = {plane: [_quarter_turns(plane, k, dims) for k in (1, 2, 3)] for plane in planes}
    first = [none, *quarters[0, 1]]
    if dims == 3:
        first += [*reversed(quarters[1, 2]), *reversed(quarters[0, 2])]
    known = {turn[1:] for turn in first}
    others = [
        Rotation90(name, flips, order) for name, flips, order in _proper_turns(dims) if (flips, order) not in known
    ]
    return first + others


def _quarter_turns(plane: tuple[int, int], k: int, dims: int) -> Rotation90:
    """`numpy.rot90` k times in a plane of axes."""
    a, b = plane
    order = list(range(dims))
    if k % 2:
        order[a], order[b] = b, a
    flips = {1: (b,), 2: (a, b), 3: (a,)}[k]
    axis = f" about axis {3 - a - b}" if dims == 3 else ""
    return Rotation90(f"{90 * k}°{axis}", flips, tuple(order))


def _proper_turns(dims: int) -> Iterator[Rotation90]:
    """Every reordering with every set of flips that keeps handedness."""
    for order in permutations(range(dims)):
        for chosen in product((False, True), repeat=dims):
            flips = tuple(axis for axis in range(dims) if chosen[axis])
            if (_inversions(order) + len(flips)) % 2 == 0:
                name = f"axes {' '.join(('-' if axis in flips else '+') + str(axis) for axis in order)}"
                yield Rotation90(name, flips, order)


def _inversions(order: Iterable[int]) -> int:
    return sum(first > second for first, second in combinations(order, 2))
