"""What an initialisation saves: labels, and steps of training, until scratch's last word is reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tools.study.comparison import Comparison
from tools.study.outcome import Key, Outcome
from tools.utils.bootstrap import percentiles


@dataclass(frozen=True)
class Saving:
    """Labels an arm needs for the score that scratch has with the largest share of the grid.

    Attributes:
        share: smallest share of the labels that is enough, on straight lines between shares; infinite if none is, NaN
            if it is not known.
        low: lower end of its 95 % interval; NaN where there is none.
        high: upper end, infinite where the score need not be reached at all.
        whole: the largest share of the grid.
        patients: number of test patients that the interval is over, see `Estimate`.
    """

    share: float
    low: float
    high: float
    whole: float
    patients: int

    @property
    def saved(self) -> float:
        """Share of the labels that is not needed; NaN if the score is not reached."""
        return 1 - self.share / self.whole if math.isfinite(self.share) else float("nan")


@dataclass(frozen=True)
class Steps:
    """Steps of training after which an arm's validation score is what scratch ends with.

    Attributes:
        target: scratch's last validation score, mean over seeds; NaN if unknown.
        step: first validated step with at least that score, mean over seeds; infinite if there is none, NaN if unknown.
        whole: scratch's number of steps.
    """

    target: float
    step: float
    whole: float


def share_reaching(shares: Sequence[float], values: Sequence[float], target: float) -> float:
    """Smallest share at which the straight lines through (share, value) reach a target; infinite if they never do.

    Args:
        shares: rising.
        values: one for each; those that are NaN are passed over.
        target: to be reached.

    Returns:
        The share, the first one if its value is enough; NaN without a target or any value.
    """
    points = [(share, value) for share, value in zip(shares, values, strict=True) if not math.isnan(value)]
    if math.isnan(target) or not points:
        return float("nan")
    if points[0][1] >= target:
        return points[0][0]
    for (left, low), (right, high) in pairwise(points):
        if high >= target:
            return left + (right - left) * (target - low) / (high - low)
    return float("inf")


def annotation_saving(outcome: Outcome, comparison: Comparison) -> dict[str, Saving]:
    """Saving of every arm but scratch; its interval comes from the same bootstrap samples for all shares and arms."""
    shares, scores = outcome.fractions, comparison.scores
    aim = scores[outcome.scratch, shares[-1]]
    savings = {}
    for arm in outcome.names[1:]:
        curve = [scores[arm, share] for share in shares]
        share = share_reaching(shares, [one.value for one in curve], aim.value)
        samples = zip(np.stack([one.drawn for one in curve], 1).tolist(), aim.drawn.tolist(), strict=True)
        drawn = [share_reaching(shares, values, target) for values, target in samples]
        interval = percentiles(drawn, aim.patients, method="inverted_cdf")  # some are infinite
        savings[arm] = Saving(share, *interval, shares[-1], aim.patients)
    return savings


def mean_curve(outcome: Outcome, arm: str, fraction: float, seeds: Sequence[int]) -> list[tuple[int, float]]:
    """Step and mean validation score over seeds, at the steps where all of them were validated."""
    curves = [dict(outcome.cells[Key(arm, fraction, seed)].curve) for seed in seeds]
    steps = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    return [(step, float(np.mean([curve[step] for curve in curves]))) for step in steps]


def steps_to_scratch(outcome: Outcome) -> dict[tuple[str, float], Steps]:
    """Steps of every arm at every share, over the seeds it has in common with scratch; scratch's own come first."""
    found = {}
    for arm in outcome.names:
        for share in outcome.fractions:
            seeds = outcome.common_seeds(arm, share)
            theirs, ours = (mean_curve(outcome, name, share, seeds) for name in (outcome.scratch, arm))
            if not theirs or not ours:
                found[arm, share] = Steps(*(float("nan"),) * 3)
                continue
            whole, target = theirs[-1]
            reached = [step for step, value in ours if value >= target]
            found[arm, share] = Steps(target, reached[0] if reached else float("inf"), whole)
    return found
