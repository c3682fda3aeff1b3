"""Sets of permutations that differ from each other in (almost) every place, constructed from finite fields.

The affine maps x → ax + b over the field with n elements are n(n - 1) permutations of which any two agree in at most
one place. The maps x → (ax + b) / (cx + d) of the projective line over the field with n - 1 elements are
n(n - 1)(n - 2) permutations of which any two agree in at most two places. (See e.g. Cameron, Permutation Groups, 1999.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import torch

from tools.utils.errors import InputError


@dataclass(frozen=True)
class Field:
    """Finite field with q elements, numbered from 0 (zero) and 1 (one).

    Attributes:
        add: sums, (q, q).
        multiply: products, (q, q).
        inverse: (q,), that of zero is zero.
    """

    add: torch.Tensor
    multiply: torch.Tensor
    inverse: torch.Tensor


def permutation_set(num_cells: int, num_permutations: int, min_distance: int) -> torch.Tensor:
    """Permutations of `num_cells` cells, without the identity, no two alike in many places.

    The construction with the greatest distance that holds enough of them is taken, evenly spaced members of it.

    Args:
        num_cells: number of cells n.
        num_permutations: number of permutations.
        min_distance: places in which any two differ at least (Hamming distance).

    Returns:
        (num_permutations, n), int64.

    Raises:
        InputError: no construction for n cells holds as many permutations at this distance.
    """
    if num_permutations < 2:
        raise InputError(f"num_permutations: expected at least 2, found {num_permutations}")
    held = {}
    for distance, construct in ((num_cells - 1, affine_maps), (num_cells - 2, projective_maps)):
        maps = construct(num_cells)
        if maps is None:
            continue
        held[distance] = len(maps) - 1  # the identity is left out
        if distance >= min_distance and num_permutations <= held[distance]:
            others = maps[(maps != torch.arange(num_cells)).any(1)]
            return others[torch.arange(num_permutations) * len(others) // num_permutations]
    best = ", ".join(f"{count} at a distance of {distance}" for distance, count in held.items())
    raise InputError(
        f"num_permutations: a set for {num_cells} cells holds {best or 'none (the number is no prime power)'}; "
        f"found {num_permutations} asked for, at a distance of {min_distance}"
    )


def hamming_distances(permutations: torch.Tensor) -> torch.Tensor:
    """Number of places in which each pair of permutations differs: (pairs,), from (permutations, cells)."""
    pairs = torch.tensor(list(combinations(range(len(permutations)), 2)))
    return (permutations[pairs[:, 0]] != permutations[pairs[:, 1]]).sum(1)


@lru_cache
def affine_maps(n: int) -> torch.Tensor | None:
    """All x → ax + b over the field with n elements: (n(n - 1), n); None when there is no such field."""
    field = finite_field(n)
    if field is None:
        return None
    scaled = field.multiply[1:]  # (a, x)
    return field.add[scaled].permute(0, 2, 1).reshape(-1, n)  # (a, x, b) to (a, b, x)


@lru_cache
def projective_maps(n: int) -> torch.Tensor | None:
    """All x → (ax + b) / (cx + d) on the n points of a projective line; None when n - 1 is no field's size.

    The last point is infinity.
    """
    q = n - 1
    field = finite_field(q)
    if field is None:
        return None
    x = torch.arange(q)
    a, b = (grid.reshape(-1, 1) for grid in torch.meshgrid(torch.arange(1, q), x, indexing="ij"))
    affine = torch.cat([field.add[field.multiply[a, x], b], torch.full((len(a), 1), q)], 1)  # c = 0: infinity stays
    a, b, d = (grid.reshape(-1, 1) for grid in torch.meshgrid(x, x, x, indexing="ij"))  # c = 1
    regular = (field.multiply[a, d] != b).flatten()
    a, b, d = a[regular], b[regular], d[regular]
    above, below = field.add[field.multiply[a, x], b], field.add[x, d]
    values = torch.where(below == 0, q, field.multiply[above, field.inverse[below]])
    return torch.cat([affine, torch.cat([values, a], 1)])  # infinity goes to a / c


@lru_cache
def finite_field(q: int) -> Field | None:
    """The field with q elements, or None when q is no prime power.

    Its elements are polynomials over the integers modulo a prime p, their coefficients the digits of the number in base
    p; multiplication follows from the powers of x modulo the first polynomial for which x generates all but zero.
    """
    p = next((i for i in range(2, q + 1) if q % i == 0), 0)
    degree = next((k for k in range(1, q) if p and p**k == q), 0)
    if not degree:
        return None
    digits = torch.tensor(list(product(range(p), repeat=degree))).flip(1)  # lowest first
    place = p ** torch.arange(degree)
    powers = next(filter(None, (_powers(list(tail), p) for tail in product(range(p), repeat=degree))))
    numbers = torch.tensor([sum(c * p**i for i, c in enumerate(one)) for one in powers])
    logarithm = torch.zeros(q, dtype=torch.int64)
    logarithm[numbers] = torch.arange(q - 1)
    multiply = numbers[(logarithm[:, None] + logarithm) % (q - 1)]
    multiply[0], multiply[:, 0] = 0, 0
    inverse = numbers[-logarithm % (q - 1)]
    inverse[0] = 0
    return Field(((digits[:, None] + digits) % p * place).sum(-1), multiply, inverse)


def _powers(tail: list[int], p: int) -> list[list[int]] | None:
    """Powers of a generator modulo x^k - tail, from 1 on; None when they do not run through all but zero."""
    degree = len(tail)
    current, found = [1] + [0] * (degree - 1), []
    for _ in range(p**degree - 1):
        if current in found or not any(current):
            return None
        found.append(current)
        current = [(low + current[-1] * t) % p for low, t in zip([0, *current[:-1]], tail, strict=True)]
    return found
