"""Bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

#: independent units (cases, patients) that an interval needs; resamples of fewer hardly differ
MIN_UNITS = 3
NO_INTERVAL = (math.nan, math.nan)


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
    """Every figure of a set with its 95 % bootstrap interval; groups are resampled whole.

    Args:
        scores: gives figures by name of the items with some indices.
        groups: of each item, for example its patient.
        resamples: number of bootstrap samples; those without a figure (NaN: a class not drawn) do not count for it.
        seed: of the resampling.
        needs: by name of the figure, masks (items,) of items that it cannot do without, for example those of a class;
            a figure that is not named needs no special ones.

    Returns:
        By name ``{"value": …, "interval_95": [low, high], "n": groups}``. Where a figure needs some items, n is the
        number of groups that have them. With n below `MIN_UNITS` the ends of the interval are NaN.
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
        count = count_units(groups, (needs or {}).get(name, []))
        report[name] = {"value": value, "interval_95": list(percentiles(drawn[name], count)), "n": count}
    return report


def count_units(groups: Sequence[str], needs: Sequence[Any] = ()) -> int:
    """Number of groups, or the smallest number of groups that have items of a mask.

    Args:
        groups: of each item.
        needs: masks (items,).
    """
    masks = needs or [[True] * len(groups)]
    return min(len({group for group, one in zip(groups, mask, strict=True) if one}) for mask in masks)


def percentiles(drawn: Sequence[float], units: int, **method: str) -> tuple[float, float]:
    """Ends of the 95 % percentile bootstrap interval; NaN for fewer than `MIN_UNITS` units.

    Args:
        drawn: the figure in every bootstrap sample; NaN where the sample has none.
        units: number of independent units.
        method: of `numpy.quantile`.
    """
    values = np.asarray(drawn, dtype=float)
    values = values[~np.isnan(values)]
    if units < MIN_UNITS or not len(values):
        return NO_INTERVAL
    low, high = np.quantile(values, (0.025, 0.975), **method)
    return float(low), float(high)


def describe_interval(interval: Sequence[float], units: int, form: str) -> str:
    """An interval in words, as in "0.512 to 0.733", or "n = 2, no interval".

    Args:
        interval: lower and upper end.
        units: number of independent units.
        form: format of a number, such as ".3f".
    """
    if math.isnan(interval[0]):
        return f"n = {units}, no interval"
    return " to ".join(format(end, form) for end in interval)
