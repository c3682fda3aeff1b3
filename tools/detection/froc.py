"""Free-response ROC of detected boxes: the share of lesions found, against false positives per picture.

A detection is a false positive when it overlaps no true box of its picture by the threshold; otherwise it finds every
true box it overlaps by that much, and finding one again is neither right nor wrong. What is false does not depend on
any order, and a true box is found at a score threshold exactly when the best score among the detections on it reaches
that threshold: the scores of the false positives and the best score on each true box say all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.data.box_utils import box_iou

from tools.utils.errors import InputError, check_choice

#: false positives per picture at which sensitivities are given
RATES = (0.5, 1, 2, 4, 8, 16)
#: those whose mean the literature on DeepLesion compares
MEAN_RATES = RATES[:4]


def overlaps(boxes: torch.Tensor, others: torch.Tensor, match: str = "iou", pixel_offset: float = 0) -> torch.Tensor:
    """Overlap of every box with every other; 0 for a box without an area.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        others: (M, 4).
        match: "iou", intersection over union, or "iobb", intersection over the area of the first box, the detected one.
        pixel_offset: added to widths and heights; 1 where x2 and y2 are the last pixels inside.

    Returns:
        (N, M), float32.

    Raises:
        InputError: an unknown `match`.
    """
    check_choice(match, ("iou", "iobb"), "match")
    offset = torch.tensor([0, 0, pixel_offset, pixel_offset], dtype=torch.float32, device=boxes.device)
    boxes, others = boxes.float() + offset, others.float() + offset
    if match == "iou":
        return box_iou(boxes, others)
    low, high = torch.maximum(boxes[:, None, :2], others[:, :2]), torch.minimum(boxes[:, None, 2:], others[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
    return torch.where(area > 0, (high - low).clamp(min=0).prod(2) / area, torch.zeros_like(area))


class Matches(NamedTuple):
    """What the detections of one picture are, before any score threshold.

    Attributes:
        scores: (N,), of the detections in their given order.
        false: (N,), bool, the false positives.
        finders: (T,), of each true box the detection that finds it first as the threshold falls; -1 if none does.
        counted: (T,), bool, the true boxes that are not left out as noisy.
    """

    scores: np.ndarray
    false: np.ndarray
    finders: np.ndarray
    counted: np.ndarray

    @property
    def false_scores(self) -> np.ndarray:
        """Scores (F,) of the false positives."""
        return self.scores[self.false]

    @property
    def hit_scores(self) -> np.ndarray:
        """Best score on each counted true box, -inf without one."""
        return np.append(self.scores, -np.inf)[self.finders[self.counted]]


def match_detections(
    detections: Mapping[str, torch.Tensor],
    boxes: torch.Tensor,
    match: str = "iou",
    threshold: float = 0.5,
    pixel_offset: float = 0,
    noisy: torch.Tensor | None = None,
) -> Matches:
    """Tell the false positives of a picture, and what finds its true boxes.

    Args:
        detections: ``boxes`` (N, 4) and ``scores`` (N,).
        boxes: the true ones (T, 4).
        match: see `overlaps`.
        threshold: overlap from which on a detection finds a true box.
        pixel_offset: see `overlaps`.
        noisy: (T,), true boxes to leave out: neither found nor missed, and what is on them is no false positive.

    Raises:
        InputError: a box or a score is missing, infinite or NaN, or a box is inside out.
    """
    found, scores = detections["boxes"].detach().cpu().reshape(-1, 4), detections["scores"].detach().cpu().double()
    usable = found.isfinite().all(1) & (found[:, :2] <= found[:, 2:]).all(1)
    unusable = int((~usable).sum() + (~scores.isfinite()).sum())
    if unusable or len(scores) != len(found):
        raise InputError(
            "detections: expected finite boxes with x1 <= x2 and y1 <= y2 and a finite score for each, found "
            f"{len(found)} boxes, {len(scores)} scores, {unusable} of them unusable"
        )
    boxes = boxes.detach().cpu().reshape(-1, 4)
    on = (overlaps(found, boxes, match, pixel_offset) >= threshold).numpy()
    best = np.where(on, scores.numpy()[:, None], -np.inf)
    finders = np.vstack([np.full((1, len(boxes)), -np.inf), best]).argmax(0) - 1  # the first row stands for nothing
    counted = np.ones(len(boxes), bool) if noisy is None else ~noisy.cpu().bool().numpy()
    return Matches(scores.numpy(), ~on.any(1), finders, counted)


class Pool(NamedTuple):
    """False positives and counted true boxes of many pictures, sorted once; to resample is to weigh the pictures.

    Attributes:
        false_scores: (F,), falling.
        false_pictures: (F,), index of the picture of each.
        hit_scores: (T,), best score on each true box, -inf without one.
        hit_pictures: (T,).
        pictures: their number.
    """

    false_scores: np.ndarray
    false_pictures: np.ndarray
    hit_scores: np.ndarray
    hit_pictures: np.ndarray
    pictures: int

    def limits(self, rates: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
        """Score that a detection must exceed to count, of the lowest threshold with at most that many false positives.

        Args:
            rates: (R,), false positives per picture.
            weights: (pictures,), how often each picture is there; once each by default.

        Returns:
            (R,); -inf where all detections together make no more false positives.
        """
        weights = np.ones(self.pictures) if weights is None else weights
        rate = weights[self.false_pictures].cumsum() / max(weights.sum(), 1)
        return np.append(self.false_scores, -np.inf)[np.searchsorted(rate, rates, side="right")]

    def sensitivity(self, rates: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
        """Share of true boxes found (R,) at rates (R,), see `sensitivity_at`; NaN without any true box."""
        of_truth = np.ones(len(self.hit_scores)) if weights is None else weights[self.hit_pictures]
        found = (self.hit_scores > self.limits(rates, weights)[:, None]) @ of_truth
        return found / (of_truth.sum() or np.nan)


def join(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values of all pictures in one array, and of each value the index of its picture."""
    lengths = np.array([len(part) for part in parts], int)
    return np.concatenate([np.empty(0), *parts]), np.arange(len(parts)).repeat(lengths)


def pool_matches(matches: Sequence[Matches]) -> Pool:
    """Put the matches of pictures together."""
    false_scores, false_pictures = join([one.false_scores for one in matches])
    hit_scores, hit_pictures = join([one.hit_scores for one in matches])
    order = np.argsort(-false_scores, kind="stable")
    return Pool(false_scores[order], false_pictures[order], hit_scores, hit_pictures, len(matches))


def froc_curve(matches: Sequence[Matches]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positives per picture and sensitivity at every score threshold, and the thresholds, falling.

    At a threshold t the detections that score t or more count, so equal scores make one point; the first is infinite.
    """
    pool = pool_matches(matches)
    scores = np.concatenate([pool.false_scores, pool.hit_scores])
    thresholds = np.append(np.inf, np.unique(scores[np.isfinite(scores)])[::-1])
    false = np.searchsorted(-pool.false_scores, -thresholds, side="right")
    hits = np.searchsorted(np.sort(-pool.hit_scores), -thresholds, side="right")
    return false / max(pool.pictures, 1), hits / (len(pool.hit_scores) or np.nan), thresholds


def sensitivity_at(matches: Sequence[Matches], rates: Sequence[float], mode: str = "step") -> np.ndarray:
    """Sensitivity (R,) at rates (R,) of false positives per picture.

    Args:
        matches: of every picture.
        rates: (R,).
        mode: "step": the highest sensitivity among the points of `froc_curve` with at most that rate; 0 if nothing is
            found so early, and the last one beyond the curve's end. "reference": what the code that published figures
            come from gives, see `interpolated_sensitivity`.

    Raises:
        InputError: an unknown `mode`.
    """
    check_choice(mode, ("step", "reference"), "mode")
    return interpolated_sensitivity(matches, rates) if mode == "reference" else pool_matches(matches).sensitivity(rates)


def interpolated_sensitivity(matches: Sequence[Matches], rates: Sequence[float]) -> np.ndarray:
    """Sensitivity (R,) at rates (R,) on a line through a point per detection, as published figures are read.

    Detections are taken one by one as scores fall, those with equal scores in their given order, and each makes a
    point, one that changes nothing too. Between points the line is straight; at a rate where the curve jumps it has the
    lower end of the jump; beyond either end the line through the two outermost points goes on, which is infinite after
    a final jump and NaN where the two coincide (SciPy's ``interp1d`` with extrapolation). NaN below two detections or
    without any true box.
    """
    scores, _ = join([one.scores for one in matches])
    false, _ = join([one.false for one in matches])
    truths = sum(int(one.counted.sum()) for one in matches)
    if len(scores) < 2 or not truths:
        return np.full(len(rates), np.nan)
    order = np.argsort(-scores, kind="stable")
    found = [np.bincount(m.finders[m.counted & (m.finders >= 0)], minlength=len(m.scores)) for m in matches]
    x, y = false[order].cumsum() / len(matches), join(found)[0][order].cumsum() / truths
    right = np.searchsorted(x, rates).clip(1, len(x) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
        return slope * (np.asarray(rates) - x[right - 1]) + y[right - 1]


def mean_sensitivity(matches: Sequence[Matches]) -> float:
    """Mean of the sensitivities at 0.5, 1, 2 and 4 false positives per picture."""
    return float(sensitivity_at(matches, MEAN_RATES).mean())
