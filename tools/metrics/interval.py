"""Bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch


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


def bootstrap_scores(
    scores: Callable[[torch.Tensor], dict[str, float]], groups: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Every figure of a set with its 95 % bootstrap interval; groups are resampled whole.

    Args:
        scores: gives figures by name of the items with some indices.
        groups: of each item, for example its patient.
        resamples: number of bootstrap samples; those without a figure (NaN: a class not drawn) do not count for it.
        seed: of the resampling.

    Returns:
        By name ``{"value": …, "interval_95": [low, high]}``.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    whole = list(members.values())
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = torch.tensor([i for group in rng.integers(len(whole), size=len(whole)) for i in whole[group]])
        for name, value in scores(chosen).items():
            drawn.setdefault(name, []).append(value)
    report = {}
    for name, value in scores(torch.arange(len(groups))).items():
        values = np.array(drawn[name])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, (0.025, 0.975)) if len(values) else (float("nan"),) * 2
        report[name] = {"value": value, "interval_95": [float(low), float(high)]}
    return report
