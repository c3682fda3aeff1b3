"""Bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of independent values and its percentile bootstrap interval (Efron, 1979).

    Args:
        values: one per independent unit, for example per case.
        level: coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Mean, lower and upper end.
    """
    array = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(len(array), size=(resamples, len(array)))
    tail = (1 - level) / 2
    low, high = np.quantile(array[draws].mean(1), (tail, 1 - tail))
    return float(array.mean()), float(low), float(high)
