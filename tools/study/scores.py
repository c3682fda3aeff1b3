"""A study's score from rows of test cases, for many weightings of the cases at once.

To resample patients is to weigh their cases by how often they were drawn. To swap two arms' answers about some
patients is to weigh the cases of both arms, one after the other, by 0 and 1. One function of weights serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tools.detection.froc import MEAN_RATES, Matches, PooledMatches, pool_matches
from tools.utils.errors import InputError

Rows = Sequence[Mapping[str, str]]
#: takes how often each case is there (W, cases), gives the scores (W,); NaN where one is not defined
Scorer = Callable[[np.ndarray], np.ndarray]

CHUNK = 2**17


def answers_file(score: str) -> str:
    """Name of the table with a row per test case."""
    return "evaluation_cases.csv" if score == "mean_sensitivity" else "evaluation.csv"


def build_scorer(score: str, rows: Rows) -> Scorer:
    """Prepare rows for scoring.

    Args:
        score: "kappa" (quadratic weights, of ``truth`` and ``grade``), "auc" (of ``truth`` and the one column
            ``probability_…``), "mean_sensitivity" (FROC, of ``evaluation_cases.csv``), or a column, for its mean.
        rows: of the test cases.

    Raises:
        InputError: a column is missing, or it is a distance (``hd95_…``), of which less is better.
    """
    if score.startswith("hd95"):
        raise InputError(f"score: expected one of which more is better, found {score}")
    if score == "kappa":
        return _kappa(_column(rows, "truth"), _column(rows, "grade"))
    if score == "auc":
        names = [name for name in rows[0] if name.startswith("probability_")]
        return _auc(_column(rows, "truth") > 0, _column(rows, names[0] if names else "probability_…"))
    if score == "mean_sensitivity":
        return _mean_sensitivity(pool_matches([_matches(row) for row in rows]))
    return _mean(_column(rows, score))


def rows_needed(score: str, rows: Rows) -> list[np.ndarray]:
    """Rows that a score cannot do without: masks (cases,), each with True where a row is of one kind needed.

    Args:
        score: see `build_scorer`.
        rows: of the test cases.
    """
    if score == "auc":
        positive = _column(rows, "truth") > 0
        return [positive, ~positive]
    if score == "mean_sensitivity":
        return [_column(rows, "lesions") > 0]
    return []


def whole_score(scorer: Scorer, cases: int) -> float:
    """The score of every case once."""
    return float(scorer(np.ones((1, cases)))[0])


def _column(rows: Rows, name: str) -> np.ndarray:
    if name not in rows[0]:
        raise InputError(f"score: expected a column {name} in the rows of test cases, found {', '.join(rows[0])}")
    return np.array([float(row[name]) for row in rows])


def _mean(values: np.ndarray) -> Scorer:
    return lambda weights: (weights @ values) / weights.sum(1)


def _kappa(truth: np.ndarray, grade: np.ndarray) -> Scorer:
    """As `tools.classification.quadratic_weighted_kappa`; squared distances follow from sums, without a table."""
    columns = np.stack([truth, grade, truth**2 + grade**2, (truth - grade) ** 2], 1)

    def score(weights: np.ndarray) -> np.ndarray:
        truths, grades, squares, distance = (weights @ columns).T
        chance = squares - 2 * truths * grades / weights.sum(1)
        flawless = np.isclose(chance, 0, atol=1e-9)  # one and the same grade throughout
        return np.where(flawless, 1.0, 1 - distance / np.where(flawless, 1, chance))

    return score


def _auc(positive: np.ndarray, chances: np.ndarray) -> Scorer:
    """As `tools.classification.auc`: the share of pairs that are in order, ties half."""
    ours, others = chances[positive, None], chances[~positive]
    ordered = (ours > others) + 0.5 * (ours == others)

    def score(weights: np.ndarray) -> np.ndarray:
        yes, no = weights[:, positive], weights[:, ~positive]
        pairs = yes.sum(1) * no.sum(1)
        return np.where(pairs > 0, ((yes @ ordered) * no).sum(1) / np.where(pairs > 0, pairs, 1), np.nan)

    return score


def _matches(row: Mapping[str, str]) -> Matches:
    """Matches that make the same part of the FROC curve; which boxes they were does not matter to it."""
    found, false = ([float(score) for score in row[f"{name}_scores"].split()] for name in ("found", "false"))
    matched = np.full(int(row["lesions"]), -1)
    matched[: len(found)] = range(len(found))
    is_false = np.arange(len(found) + len(false)) >= len(found)
    return Matches(np.array(found + false), is_false, matched, np.ones(len(matched), bool))


def _mean_sensitivity(pool: PooledMatches) -> Scorer:
    """As `tools.detection.mean_sensitivity`, for all weightings together."""
    order = np.argsort(-pool.lesion_scores)
    lesion_scores, lesion_images = pool.lesion_scores[order], pool.lesion_images[order]

    def score(weights: np.ndarray) -> np.ndarray:
        hits = np.pad(weights[:, lesion_images].cumsum(1), ((0, 0), (1, 0)))
        above = np.searchsorted(-lesion_scores, -_limits(pool, weights))
        found, total = np.take_along_axis(hits, above, 1).mean(1), hits[:, -1]
        return np.where(total > 0, found / np.where(total > 0, total, 1), np.nan)

    return score


def _limits(pool: PooledMatches, weights: np.ndarray) -> np.ndarray:
    """As `PooledMatches.score_thresholds`, of weights (W, pictures): (W, rates).

    False positives that score less than all these limits are left out, most of them as a rule.
    """
    count, allowed = len(pool.fp_scores), np.outer(weights.sum(1), MEAN_RATES)
    needed = min(count, int(3 * allowed.max(initial=0)) + 1)
    while needed < count and (weights[:, pool.fp_images[:needed]].sum(1) <= allowed.max(1)).any():
        needed = min(count, 2 * needed)
    scores = np.append(pool.fp_scores, -np.inf)
    limits = []
    step = max(1, CHUNK // max(1, needed))
    for first in range(0, len(weights), step):
        made = weights[first : first + step, pool.fp_images[:needed]]
        starts = np.append(0, made.sum(1).cumsum())[:-1, None]  # one rising line of all rows: one search for all
        places = np.searchsorted(made.cumsum(), starts + allowed[first : first + step], side="right")
        limits.append(scores[np.minimum(places - needed * np.arange(len(made))[:, None], needed)])
    return np.concatenate(limits)
