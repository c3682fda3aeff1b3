"""Permutation sets with a guaranteed Hamming distance."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import torch

from tools.utils.errors import InputError

CANDIDATES = 20_000  # more gain no distance: 24 of 27 cells, 6 of 9, for 100 permutations


def permutation_set(num_cells: int, num_permutations: int, min_hamming_distance: int) -> torch.Tensor:
    """Select permutations greedily, each as far as possible from the identity and from those selected before.

    The candidates are all permutations, or `CANDIDATES` random ones from a fixed seed. The identity is not in the set.

    Args:
        num_cells: number of cells n.
        num_permutations: number of permutations.
        min_hamming_distance: smallest number of places in which any two differ (Hamming distance).

    Returns:
        (num_permutations, n), int64.

    Raises:
        InputError: fewer permutations were found at this distance.
    """
    if num_permutations < 2:
        raise InputError(f"num_permutations: expected at least 2, found {num_permutations}")
    candidates = _candidates(num_cells)
    if num_permutations > len(candidates):
        raise InputError(
            f"num_permutations: expected at most {len(candidates)}, the number of candidates for {num_cells} cells, "
            f"found {num_permutations}"
        )
    distances = (candidates != torch.arange(num_cells)).sum(1)
    chosen: list[int] = []
    while len(chosen) < num_permutations:
        best = int(distances.argmax())
        if distances[best] < max(1, min_hamming_distance):
            raise InputError(
                f"num_permutations: expected at most {len(chosen)}, which is what a greedy selection finds for "
                f"{num_cells} cells and min_hamming_distance {min_hamming_distance}, found {num_permutations}"
            )
        chosen.append(best)
        distances = torch.minimum(distances, (candidates != candidates[best]).sum(1))
    return candidates[chosen].long()


def _candidates(num_cells: int) -> torch.Tensor:
    """All permutations or, where these are many, random ones: (candidates, cells), int16."""
    if factorial(num_cells) <= CANDIDATES:
        return torch.tensor(list(permutations(range(num_cells))), dtype=torch.int16)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(CANDIDATES, num_cells, generator=generator).argsort(1).to(torch.int16)


def hamming_distances(permutations: torch.Tensor) -> torch.Tensor:
    """Number of places in which each pair of permutations differs: (pairs,), from (permutations, cells)."""
    pairs = torch.tensor(list(combinations(range(len(permutations)), 2)))
    return (permutations[pairs[:, 0]] != permutations[pairs[:, 1]]).sum(1)
