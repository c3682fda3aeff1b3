"""Permutation sets with a minimum Hamming distance."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import torch

from tools.utils.errors import InputError

#: more candidates do not increase the distance (24 for 27 cells, 6 for 9 cells, with 100 permutations)
NUM_CANDIDATES = 20_000


def permutation_set(num_cells: int, num_permutations: int, min_hamming_distance: int) -> torch.Tensor:
    """Select permutations greedily, each with the largest distance to the identity and to the selected ones.

    The candidates are all permutations, or `NUM_CANDIDATES` random ones with a fixed seed. The identity is excluded.

    Args:
        num_cells: number of cells n.
        num_permutations: number of permutations.
        min_hamming_distance: minimum Hamming distance, the number of positions in which two permutations differ.

    Returns:
        (num_permutations, n), int64.

    Raises:
        InputError: if too few permutations with this distance are found.
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
                f"num_permutations: expected at most {len(chosen)}, the number that the greedy selection finds for "
                f"{num_cells} cells and min_hamming_distance {min_hamming_distance}, found {num_permutations}"
            )
        chosen.append(best)
        distances = torch.minimum(distances, (candidates != candidates[best]).sum(1))
    return candidates[chosen].long()


def _candidates(num_cells: int) -> torch.Tensor:
    """Return all permutations, or random ones if there are too many: (candidates, cells), int16."""
    if factorial(num_cells) <= NUM_CANDIDATES:
        return torch.tensor(list(permutations(range(num_cells))), dtype=torch.int16)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(NUM_CANDIDATES, num_cells, generator=generator).argsort(1).to(torch.int16)


def hamming_distances(permutations: torch.Tensor) -> torch.Tensor:
    """Compute the Hamming distance of each pair of permutations (N, cells): (pairs,)."""
    pairs = torch.tensor(list(combinations(range(len(permutations)), 2)))
    return (permutations[pairs[:, 0]] != permutations[pairs[:, 1]]).sum(1)
