"""Scores of a study with bootstrap intervals, and paired comparisons with training from scratch.

The bootstrap resamples patients and seeds, with the same patients for all runs, so that comparisons are paired. The
permutation test swaps the predictions of two initialisations by patient. Both are weightings of test cases, see
`tools.study.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tools.study.outcome import Outcome, RunKey
from tools.study.scores import Scorer, build_scorer, required_groups, unweighted_score
from tools.utils.bootstrap import count_units, percentiles

RESAMPLES = 2000
PERMUTATIONS = 2000


class Resampling:
    """Bootstrap samples of patients and seeds, and permutations of patients.

    Args:
        patients: patient of each test case.
        resamples: number of bootstrap samples.
        permutations: maximum number of permutations; all possible permutations are used if there are no more.
        seed: random seed.

    Attributes:
        bootstrap: weight of each case in each bootstrap sample (resamples, cases).
        permutations: 0 for swapped and 1 for unchanged cases (permutations, cases); the identity is excluded.
    """

    def __init__(
        self, patients: Sequence[str], resamples: int = RESAMPLES, permutations: int = PERMUTATIONS, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        names, owners = np.unique(np.array(patients), return_inverse=True)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        self.bootstrap = counts[:, owners].astype(float)
        if count_permutations(len(names)) <= permutations:
            unchanged = np.array(list(product((0, 1), repeat=len(names))))[:-1]
        else:
            unchanged = rng.integers(2, size=(permutations, len(names)))
        self.permutations = unchanged[:, owners].astype(float)
        self.seed = seed

    def seed_weights(self, count: int) -> np.ndarray:
        """Return the weights (resamples, count) of seeds in each bootstrap sample, equal for equal counts."""
        rng = np.random.default_rng((self.seed, count))
        return rng.multinomial(count, np.full(count, 1 / count), size=len(self.bootstrap)) / count


def count_permutations(patients: int) -> int:
    """Return the number of permutations of a number of patients, without the identity."""
    return 2**patients - 1


@dataclass(frozen=True)
class Estimate:
    """Score of an initialisation at a label fraction, over seeds.

    Attributes:
        value: mean over seeds; NaN without seeds.
        low: lower end of the 95 % interval; NaN with fewer than `MIN_UNITS` test patients.
        high: upper end of the interval.
        std: standard deviation over seeds; NaN with fewer than two.
        seeds: number of seeds.
        patients: number of test patients, or of patients of the rarer class if the score needs two classes.
        samples: value in each bootstrap sample (resamples,).
    """

    value: float
    low: float
    high: float
    std: float
    seeds: int
    patients: int
    samples: np.ndarray


@dataclass(frozen=True)
class Difference:
    """Paired difference between an initialisation and scratch at a label fraction.

    Attributes:
        estimate: estimate of the difference.
        p: p value of the permutation test; NaN without common seeds.
        holm: p value with Holm correction for all comparisons of the study.
    """

    estimate: Estimate
    p: float
    holm: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is above or below zero, otherwise 0."""
        return int(self.estimate.low > 0) - int(self.estimate.high < 0)


#: initialisation and label fraction
Condition = tuple[str, float]


@dataclass(frozen=True)
class Comparison:
    """Scores of all initialisations and label fractions, and differences to scratch; NaN without finished runs.

    Attributes:
        scores: score by initialisation and fraction.
        differences: difference to scratch by initialisation and fraction.
    """

    scores: dict[Condition, Estimate]
    differences: dict[Condition, Difference]


def compare(outcome: Outcome, resampling: Resampling | None = None) -> Comparison:
    """Compute all scores and comparisons of a study; deterministic.

    Args:
        outcome: results of the study.
        resampling: bootstrap samples and permutations; by default of its test patients.
    """
    resampling = resampling or Resampling(outcome.patients)
    count = len(outcome.cases)
    rows = next(iter(outcome.runs.values())).rows
    patients = count_units(outcome.patients, required_groups(outcome.score, rows))
    values, samples = {}, {}
    for key, run in outcome.runs.items():
        scorer = build_scorer(outcome.score, run.rows)
        values[key] = unweighted_score(scorer, count)
        samples[key] = scorer(resampling.bootstrap)
    scores, found = {}, {}
    for initialisation in outcome.names:
        for fraction in outcome.fractions:
            keys = [RunKey(initialisation, fraction, seed) for seed in outcome.seeds_of(initialisation, fraction)]
            scores[initialisation, fraction] = _estimate(
                [values[key] for key in keys], [samples[key] for key in keys], resampling, patients
            )
            if initialisation != outcome.scratch:
                pairs = [
                    (RunKey(initialisation, fraction, seed), RunKey(outcome.scratch, fraction, seed))
                    for seed in outcome.common_seeds(initialisation, fraction)
                ]
                gains = ([of[a] - of[b] for a, b in pairs] for of in (values, samples))
                found[initialisation, fraction] = (
                    _estimate(*gains, resampling, patients),
                    paired_permutation_test(outcome, pairs, resampling),
                )
    corrected = holm([p for _, p in found.values()])
    differences = {condition: Difference(*one, p) for (condition, one), p in zip(found.items(), corrected, strict=True)}
    return Comparison(scores, differences)


def _estimate(
    values: Sequence[float], samples: Sequence[np.ndarray], resampling: Resampling, patients: int
) -> Estimate:
    if not values:
        return Estimate(*(np.nan,) * 4, 0, patients, np.full(len(resampling.bootstrap), np.nan))
    # NaN if the sample lacks a class that the score needs
    means = (np.stack(samples, 1) * resampling.seed_weights(len(values))).sum(1)
    std = np.std(values, ddof=1) if len(values) > 1 else np.nan
    interval = percentiles(means, patients)
    return Estimate(float(np.mean(values)), *interval, float(std), len(values), patients, means)


def paired_permutation_test(outcome: Outcome, pairs: Sequence[tuple[RunKey, RunKey]], resampling: Resampling) -> float:
    """Compute the p value of a two-sided permutation test of the score difference between two initialisations.

    Under the null hypothesis the predictions for a patient are exchangeable between the initialisations. All seeds of a
    patient are swapped together, and the mean difference over seeds is recomputed. The observed difference counts as
    one of the permutations (Phipson and Smyth, 2010), so that p is never 0. The test is conditional on the trained
    networks; the variance between seeds is only included in the intervals.

    Args:
        outcome: results of the study.
        pairs: runs of the two initialisations with the same fraction and seed.
        resampling: permutations.
    """
    if not pairs:
        return float("nan")
    unchanged = np.vstack([np.ones(len(outcome.cases)), resampling.permutations])  # the first row is the identity
    swapped = 1 - unchanged
    differences = np.zeros(len(unchanged))
    for pair in pairs:
        scorer: Scorer = build_scorer(outcome.score, [row for key in pair for row in outcome.runs[key].rows])
        differences += scorer(np.hstack([unchanged, swapped])) - scorer(np.hstack([swapped, unchanged]))
    sizes = np.abs(differences)
    if np.isnan(sizes[0]):
        return float("nan")
    as_large = np.sum(sizes[1:] >= sizes[0] - 1e-12 * len(pairs))  # tolerance for rounding
    return float((1 + as_large) / (1 + len(resampling.permutations)))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values with Holm's correction (Holm, 1979); NaN values are ignored and stay NaN."""
    p = np.asarray(values, dtype=float)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN come last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()
