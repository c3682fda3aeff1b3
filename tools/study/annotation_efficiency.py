"""Annotation efficiency and convergence speed of initialisations, compared with training from scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tools.study.comparison import Comparison
from tools.study.outcome import Outcome, RunKey
from tools.utils.bootstrap import percentiles


@dataclass(frozen=True)
class AnnotationEfficiency:
    """Fraction of the labels with which an initialisation reaches the score of scratch with the largest fraction.

    Attributes:
        fraction: smallest sufficient fraction by linear interpolation; infinite if none is sufficient, NaN if unknown.
        low: lower end of its 95 % interval; NaN without an interval.
        high: upper end; infinite if the score may not be reached at all.
        largest: largest fraction of the study.
        patients: number of test patients of the interval, see `Estimate`.
    """

    fraction: float
    low: float
    high: float
    largest: float
    patients: int

    @property
    def saved(self) -> float:
        """Fraction of the labels that is saved; NaN if the score is not reached."""
        return 1 - self.fraction / self.largest if math.isfinite(self.fraction) else float("nan")


@dataclass(frozen=True)
class StepsToScratch:
    """Training steps until the validation score of an initialisation reaches the final score of scratch.

    Attributes:
        target: final validation score of scratch, mean over seeds; NaN if unknown.
        step: first validated step with at least that mean score; infinite if there is none, NaN if unknown.
        total: number of steps of scratch.
    """

    target: float
    step: float
    total: float


def fraction_reaching(fractions: Sequence[float], values: Sequence[float], target: float) -> float:
    """Return the smallest fraction at which the linear interpolation of values reaches a target.

    Args:
        fractions: label fractions, ascending.
        values: value at each fraction; NaN values are ignored.
        target: value to reach.

    Returns:
        The fraction; infinite if the target is not reached, NaN without a target or values.
    """
    points = [(fraction, value) for fraction, value in zip(fractions, values, strict=True) if not math.isnan(value)]
    if math.isnan(target) or not points:
        return float("nan")
    if points[0][1] >= target:
        return points[0][0]
    for (left, low), (right, high) in pairwise(points):
        if high >= target:
            return left + (right - left) * (target - low) / (high - low)
    return float("inf")


def annotation_efficiency(outcome: Outcome, comparison: Comparison) -> dict[str, AnnotationEfficiency]:
    """Compute the annotation efficiency of every initialisation except scratch, with common bootstrap samples."""
    fractions, scores = outcome.fractions, comparison.scores
    target = scores[outcome.scratch, fractions[-1]]
    efficiencies = {}
    for initialisation in outcome.names[1:]:
        curve = [scores[initialisation, fraction] for fraction in fractions]
        fraction = fraction_reaching(fractions, [one.value for one in curve], target.value)
        pairs = zip(np.stack([one.samples for one in curve], 1).tolist(), target.samples.tolist(), strict=True)
        samples = [fraction_reaching(fractions, values, aim) for values, aim in pairs]
        interval = percentiles(samples, target.patients, method="inverted_cdf")  # values may be infinite
        efficiencies[initialisation] = AnnotationEfficiency(fraction, *interval, fractions[-1], target.patients)
    return efficiencies


def mean_curve(outcome: Outcome, initialisation: str, fraction: float, seeds: Sequence[int]) -> list[tuple[int, float]]:
    """Return step and mean validation score over seeds, for steps with a validation of all seeds."""
    curves = [dict(outcome.runs[RunKey(initialisation, fraction, seed)].curve) for seed in seeds]
    steps = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    return [(step, float(np.mean([curve[step] for curve in curves]))) for step in steps]


def steps_to_scratch(outcome: Outcome) -> dict[tuple[str, float], StepsToScratch]:
    """Compute the steps to the final score of scratch for all initialisations and label fractions."""
    found = {}
    for initialisation in outcome.names:
        for fraction in outcome.fractions:
            seeds = outcome.common_seeds(initialisation, fraction)
            scratch, curve = (mean_curve(outcome, name, fraction, seeds) for name in (outcome.scratch, initialisation))
            if not scratch or not curve:
                found[initialisation, fraction] = StepsToScratch(*(float("nan"),) * 3)
                continue
            total, target = scratch[-1]
            reached = [step for step, value in curve if value >= target]
            found[initialisation, fraction] = StepsToScratch(target, reached[0] if reached else float("inf"), total)
    return found
