"""Bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

#: minimum number of independent units (cases or patients) for an interval
MIN_UNITS = 3
NO_INTERVAL = (math.nan, math.nan)


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Compute the mean of independent values and its percentile bootstrap interval (Efron, 1979).

    Args:
        values: values of independent units, for example of cases.
        level: confidence level.
        resamples: number of bootstrap samples.
        seed: random seed.

    Returns:
        Mean, lower and upper end; the ends are NaN for fewer than `MIN_UNITS` values.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < MIN_UNITS:
        return float(array.mean()), *NO_INTERVAL
    options = {"n_resamples": resamples, "confidence_level": level, "method": "percentile", "random_state": seed}
    low, high = bootstrap((array,), np.mean, **options).confidence_interval
    return float(array.mean()), float(low), float(high)


def bootstrap_scores(
    scores: Callable[[torch.Tensor], dict[str, float]],
    groups: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    needs: Mapping[str, Sequence[torch.Tensor]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Compute scores with 95 % bootstrap intervals; groups are resampled.

    Args:
        scores: function from item indices to scores by name.
        groups: group of each item, for example its patient.
        resamples: number of bootstrap samples; those in which a score is NaN are ignored for that score.
        seed: random seed.
        needs: masks (items,) by name of a score that is only defined with an item of each mask, for example of a class.

    Returns:
        Names to ``{"value": …, "interval_95": [low, high], "n": groups}``. n is the smallest number of groups with
        items of a mask. The ends of the interval are NaN if n is below `MIN_UNITS`.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    units = list(members.values())
    samples: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = torch.tensor([i for group in rng.integers(len(units), size=len(units)) for i in units[group]])
        for name, value in scores(chosen).items():
            samples.setdefault(name, []).append(value)
    report = {}
    for name, value in scores(torch.arange(len(groups))).items():
        count = count_units(groups, (needs or {}).get(name, []))
        report[name] = {"value": value, "interval_95": list(percentiles(samples[name], count)), "n": count}
    return report


def count_units(groups: Sequence[str], needs: Sequence[Any] = ()) -> int:
    """Return the number of groups, or the smallest number of groups with items of a mask.

    Args:
        groups: group of each item.
        needs: masks (items,).
    """
    masks = needs or [[True] * len(groups)]
    return min(len({group for group, one in zip(groups, mask, strict=True) if one}) for mask in masks)


def percentiles(samples: Sequence[float], units: int, **method: str) -> tuple[float, float]:
    """Return the ends of the 95 % percentile bootstrap interval; NaN for fewer than `MIN_UNITS` units.

    Args:
        samples: score in every bootstrap sample; NaN values are ignored.
        units: number of independent units.
        method: keyword arguments of `numpy.quantile`.
    """
    values = np.asarray(samples, dtype=float)
    values = values[~np.isnan(values)]
    if units < MIN_UNITS or not len(values):
        return NO_INTERVAL
    low, high = np.quantile(values, (0.025, 0.975), **method)
    return float(low), float(high)


def describe_interval(interval: Sequence[float], units: int, form: str) -> str:
    """Format an interval, for example "0.512 to 0.733" or "n = 2, no interval".

    Args:
        interval: lower and upper end.
        units: number of independent units.
        form: number format, such as ".3f".
    """
    if math.isnan(interval[0]):
        return f"n = {units}, no interval"
    return " to ".join(format(end, form) for end in interval)
