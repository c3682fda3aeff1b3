"""What can be said of a study: scores with intervals, and every initialisation against training from scratch.

Intervals resample patients and seeds (the same patients for all cells, so that what is compared stays paired); the test
swaps two arms' answers patient by patient. Both weigh test cases, see `tools.study.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tools.study.outcome import Key, Outcome
from tools.study.scores import Scorer, build_scorer, rows_needed, whole_score
from tools.utils.bootstrap import count_units, percentiles

RESAMPLES = 2000
SWAPS = 2000


class Draws:
    """All that is random: patients and seeds drawn again, patients whose answers are swapped.

    Args:
        patients: of each test case.
        resamples: number of bootstrap samples.
        swaps: number of permutations; all there are, once each, if they are no more.
        seed: of everything.

    Attributes:
        again: (resamples, cases), how often each case is there.
        kept: (permutations, cases), 1 where answers stay, 0 where they are swapped; some are swapped in each.
    """

    def __init__(self, patients: Sequence[str], resamples: int = RESAMPLES, swaps: int = SWAPS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        names, owners = np.unique(np.array(patients), return_inverse=True)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        self.again = drawn[:, owners].astype(float)
        if all_swaps(len(names)) <= swaps:
            kept = np.array(list(product((0, 1), repeat=len(names))))[:-1]
        else:
            kept = rng.integers(2, size=(swaps, len(names)))
        self.kept = kept[:, owners].astype(float)
        self.seed = seed

    def of_seeds(self, count: int) -> np.ndarray:
        """Weights (resamples, count) of so many seeds drawn again; the same whenever asked."""
        rng = np.random.default_rng((self.seed, count))
        return rng.multinomial(count, np.full(count, 1 / count), size=len(self.again)) / count


def all_swaps(patients: int) -> int:
    """Number of ways to swap the answers of some patients."""
    return 2**patients - 1


@dataclass(frozen=True)
class Estimate:
    """A figure of an arm at a share, over seeds.

    Attributes:
        value: mean over seeds; NaN without any.
        low: lower end of the 95 % interval; NaN with fewer than `MIN_UNITS` test patients.
        high: upper end.
        spread: standard deviation over seeds; NaN with fewer than two.
        seeds: their number.
        patients: number of test patients, or of those of the rarer kind if the score needs two kinds.
        drawn: (resamples,), the figure in each bootstrap sample.
    """

    value: float
    low: float
    high: float
    spread: float
    seeds: int
    patients: int
    drawn: np.ndarray


@dataclass(frozen=True)
class Difference:
    """An arm less scratch at a share, seeds and test patients paired.

    Attributes:
        estimate: of the difference.
        p: of the permutation test; NaN without a common seed.
        holm: the same, corrected for all comparisons of the study.
    """

    estimate: Estimate
    p: float
    holm: float

    @property
    def beyond(self) -> int:
        """1 or -1 where the interval is wholly above or below zero, else 0."""
        return int(self.estimate.low > 0) - int(self.estimate.high < 0)


Place = tuple[str, float]


@dataclass(frozen=True)
class Comparison:
    """Every arm at every share, and its difference to scratch; places without a finished cell have NaN.

    Attributes:
        scores: by arm and share.
        differences: the same without scratch.
    """

    scores: dict[Place, Estimate]
    differences: dict[Place, Difference]


def compare(outcome: Outcome, draws: Draws | None = None) -> Comparison:
    """Work out all figures of a study; the same every time.

    Args:
        outcome: the study.
        draws: by default `Draws` of its test patients.
    """
    draws = draws or Draws(outcome.patients)
    count = len(outcome.cases)
    rows = next(iter(outcome.cells.values())).rows
    patients = count_units(outcome.patients, rows_needed(outcome.score, rows))
    values, drawn = {}, {}
    for key, cell in outcome.cells.items():
        scorer = build_scorer(outcome.score, cell.rows)
        values[key] = whole_score(scorer, count)
        drawn[key] = scorer(draws.again)
    scores, found = {}, {}
    for arm in outcome.names:
        for share in outcome.fractions:
            keys = [Key(arm, share, seed) for seed in outcome.seeds_of(arm, share)]
            scores[arm, share] = _estimate([values[key] for key in keys], [drawn[key] for key in keys], draws, patients)
            if arm != outcome.scratch:
                pairs = [
                    (Key(arm, share, seed), Key(outcome.scratch, share, seed))
                    for seed in outcome.common_seeds(arm, share)
                ]
                gains = ([of[a] - of[b] for a, b in pairs] for of in (values, drawn))
                found[arm, share] = _estimate(*gains, draws, patients), swap_test(outcome, pairs, draws)
    corrected = holm([p for _, p in found.values()])
    differences = {place: Difference(*one, p) for (place, one), p in zip(found.items(), corrected, strict=True)}
    return Comparison(scores, differences)


def _estimate(values: Sequence[float], drawn: Sequence[np.ndarray], draws: Draws, patients: int) -> Estimate:
    if not values:
        return Estimate(*(np.nan,) * 4, 0, patients, np.full(len(draws.again), np.nan))
    means = (np.stack(drawn, 1) * draws.of_seeds(len(values))).sum(
        1
    )  # NaN where a class that the score needs is missing
    spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
    interval = percentiles(means, patients)
    return Estimate(float(np.mean(values)), *interval, float(spread), len(values), patients, means)


def swap_test(outcome: Outcome, pairs: Sequence[tuple[Key, Key]], draws: Draws) -> float:
    """Permutation test that two arms answer alike: p of the difference of their scores, on both sides.

    Under that hypothesis a patient's answers are as likely to be the other arm's; all seeds of a patient are swapped
    together, and the mean over seeds of the difference is computed again. What was seen counts as one of the
    permutations (Phipson and Smyth, 2010), so that p is never 0. The test is about these trained networks; that other
    seeds train others is in the intervals only.

    Args:
        outcome: the study.
        pairs: cells of the two arms with the same share and seed.
        draws: what is swapped.
    """
    if not pairs:
        return float("nan")
    kept = np.vstack([np.ones(len(outcome.cases)), draws.kept])  # the first row is what was seen
    swapped = 1 - kept
    differences = np.zeros(len(kept))
    for pair in pairs:
        scorer: Scorer = build_scorer(outcome.score, [row for key in pair for row in outcome.cells[key].rows])
        differences += scorer(np.hstack([kept, swapped])) - scorer(np.hstack([swapped, kept]))
    sizes = np.abs(differences)
    if np.isnan(sizes[0]):
        return float("nan")
    as_large = np.sum(sizes[1:] >= sizes[0] - 1e-12 * len(pairs))  # equal but for rounding
    return float((1 + as_large) / (1 + len(draws.kept)))


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979); NaN stay and do not count."""
    p = np.asarray(values, dtype=float)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN come last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()
