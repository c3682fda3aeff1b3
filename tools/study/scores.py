"""Scores of a study for many weightings of the test cases at once.

A bootstrap sample of patients is a weighting of cases by their multiplicity. A permutation of two initialisations is a
weighting by 0 and 1 of the concatenated cases of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tools.detection.froc import MEAN_RATES, Matches, PooledMatches, pool_matches
from tools.utils.errors import InputError

Rows = Sequence[Mapping[str, str]]
#: function from weights (W, cases) to scores (W,), NaN where the score is not defined
Scorer = Callable[[np.ndarray], np.ndarray]

CHUNK = 2**17


def results_file(score: str) -> str:
    """Return the name of the table with the results per test case."""
    return "evaluation_cases.csv" if score == "mean_sensitivity" else "evaluation.csv"


def build_scorer(score: str, rows: Rows) -> Scorer:
    """Build the function that computes a score from weights of test cases.

    Args:
        score: "kappa" (quadratic weights, of ``truth`` and ``grade``), "auc" (of ``truth`` and the one column
            ``probability_…``), "mean_sensitivity" (FROC, of ``evaluation_cases.csv``), or a column, for its mean.
        rows: table rows of the test cases.

    Raises:
        InputError: if a column is missing, or if lower values are better (``hd95_…``).
    """
    if score.startswith("hd95"):
        raise InputError(f"score: expected a score where higher is better, found {score}")
    if score == "kappa":
        return _kappa(_column(rows, "truth"), _column(rows, "grade"))
    if score == "auc":
        names = [name for name in rows[0] if name.startswith("probability_")]
        return _auc(_column(rows, "truth") > 0, _column(rows, names[0] if names else "probability_…"))
    if score == "mean_sensitivity":
        return _mean_sensitivity(pool_matches([_matches(row) for row in rows]))
    return _mean(_column(rows, score))


def required_groups(score: str, rows: Rows) -> list[np.ndarray]:
    """Return boolean masks (cases,) of groups of cases; the score requires a case of each group.

    Args:
        score: see `build_scorer`.
        rows: table rows of the test cases.
    """
    if score == "auc":
        positive = _column(rows, "truth") > 0
        return [positive, ~positive]
    if score == "mean_sensitivity":
        return [_column(rows, "lesions") > 0]
    return []


def unweighted_score(scorer: Scorer, cases: int) -> float:
    """Return the score with equal weights."""
    return float(scorer(np.ones((1, cases)))[0])


def _column(rows: Rows, name: str) -> np.ndarray:
    if name not in rows[0]:
        raise InputError(f"score: expected a column {name} in the rows of test cases, found {', '.join(rows[0])}")
    return np.array([float(row[name]) for row in rows])


def _mean(values: np.ndarray) -> Scorer:
    return lambda weights: (weights @ values) / weights.sum(1)


def _kappa(y: np.ndarray, y_pred: np.ndarray) -> Scorer:
    """Compute the quadratic weighted kappa from sums, since the weights are squared distances."""
    columns = np.stack([y, y_pred, y**2 + y_pred**2, (y - y_pred) ** 2], 1)

    def score(weights: np.ndarray) -> np.ndarray:
        y_sum, y_pred_sum, squares, distance = (weights @ columns).T
        by_chance = squares - 2 * y_sum * y_pred_sum / weights.sum(1)
        constant = np.isclose(by_chance, 0, atol=1e-9)  # a single grade
        return np.where(constant, 1.0, 1 - distance / np.where(constant, 1, by_chance))

    return score


def _auc(y: np.ndarray, y_pred: np.ndarray) -> Scorer:
    """Return the area under the ROC curve: fraction of pairs in the right order; ties count as one half."""
    positives, negatives = y_pred[y, None], y_pred[~y]
    ordered = (positives > negatives) + 0.5 * (positives == negatives)

    def score(weights: np.ndarray) -> np.ndarray:
        positive, negative = weights[:, y], weights[:, ~y]
        pairs = positive.sum(1) * negative.sum(1)
        return np.where(pairs > 0, ((positive @ ordered) * negative).sum(1) / np.where(pairs > 0, pairs, 1), np.nan)

    return score


def _matches(row: Mapping[str, str]) -> Matches:
    """Build matches with the same FROC curve as a table row."""
    lesion, false = ([float(score) for score in row[f"{name}_scores"].split()] for name in ("found", "false"))
    matched = np.full(int(row["lesions"]), -1)
    matched[: len(lesion)] = range(len(lesion))
    false_positive = np.arange(len(lesion) + len(false)) >= len(lesion)
    return Matches(np.array(lesion + false), false_positive, matched, np.ones(len(matched), bool))


def _mean_sensitivity(pool: PooledMatches) -> Scorer:
    """Return the mean sensitivity at `MEAN_RATES`, see `tools.detection.froc.mean_sensitivity`."""
    order = np.argsort(-pool.lesion_scores)
    lesion_scores, lesion_images = pool.lesion_scores[order], pool.lesion_images[order]

    def score(weights: np.ndarray) -> np.ndarray:
        hits = np.pad(weights[:, lesion_images].cumsum(1), ((0, 0), (1, 0)))
        counts = np.searchsorted(-lesion_scores, -_score_thresholds(pool, weights))
        detected, total = np.take_along_axis(hits, counts, 1).mean(1), hits[:, -1]
        return np.where(total > 0, detected / np.where(total > 0, total, 1), np.nan)

    return score


def _score_thresholds(pool: PooledMatches, weights: np.ndarray) -> np.ndarray:
    """Return the thresholds (W, rates) of `PooledMatches.score_thresholds` for weights (W, images).

    Only the highest-scoring false positives are processed, as many as the rates allow.
    """
    count, allowed = len(pool.fp_scores), np.outer(weights.sum(1), MEAN_RATES)
    needed = min(count, int(3 * allowed.max(initial=0)) + 1)
    while needed < count and (weights[:, pool.fp_images[:needed]].sum(1) <= allowed.max(1)).any():
        needed = min(count, 2 * needed)
    scores = np.append(pool.fp_scores, -np.inf)
    thresholds = []
    step = max(1, CHUNK // max(1, needed))
    for first in range(0, len(weights), step):
        counts = weights[first : first + step, pool.fp_images[:needed]]
        starts = np.append(0, counts.sum(1).cumsum())[:-1, None]  # a single search in the concatenated rows
        indices = np.searchsorted(counts.cumsum(), starts + allowed[first : first + step], side="right")
        thresholds.append(scores[np.minimum(indices - needed * np.arange(len(counts))[:, None], needed)])
    return np.concatenate(thresholds)
