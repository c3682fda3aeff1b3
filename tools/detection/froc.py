"""Free-response ROC (FROC) of detections: sensitivity against false positives per image.

A detection is a false positive if it overlaps no lesion of its image by at least the threshold. Otherwise it detects
every lesion that it overlaps by that much; further detections of a lesion are neither true nor false positives. The
curve therefore follows from the scores of the false positives and the best score on each lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.data.box_utils import box_iou

from tools.utils.errors import InputError, check_choice

#: false positives per image at which sensitivities are reported
RATES = (0.5, 1, 2, 4, 8, 16)
#: rates whose mean sensitivity is reported in the literature on DeepLesion
MEAN_RATES = RATES[:4]


def box_overlap(
    boxes1: torch.Tensor, boxes2: torch.Tensor, match_metric: str = "iou", pixel_offset: float = 0
) -> torch.Tensor:
    """Compute the pairwise overlap of boxes; 0 for boxes without an area.

    Args:
        boxes1: detected boxes (N, 4) as x1, y1, x2, y2.
        boxes2: ground truth boxes (M, 4).
        match_metric: "iou", intersection over union, or "iobb", intersection over the area of the detected box.
        pixel_offset: added to widths and heights; 1 if x2 and y2 are the last pixels inside the box.

    Returns:
        Overlaps (N, M) float32.

    Raises:
        InputError: if `match_metric` is unknown.
    """
    check_choice(match_metric, ("iou", "iobb"), "match_metric")
    offset = torch.tensor([0, 0, pixel_offset, pixel_offset], dtype=torch.float32, device=boxes1.device)
    boxes1, boxes2 = boxes1.float() + offset, boxes2.float() + offset
    if match_metric == "iou":
        return box_iou(boxes1, boxes2)
    low, high = torch.maximum(boxes1[:, None, :2], boxes2[:, :2]), torch.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
    area = (boxes1[:, 2:] - boxes1[:, :2]).prod(1, keepdim=True)
    return torch.where(area > 0, (high - low).clamp(min=0).prod(2) / area, torch.zeros_like(area))


class Matches(NamedTuple):
    """Matches between the detections and the lesions of one image, independent of any score threshold.

    Attributes:
        scores: scores (N,) of the detections in their original order.
        false_positive: boolean mask (N,) of the false positives.
        matched: index (T,) of the highest-scoring detection of each lesion, -1 for a missed lesion.
        evaluated: boolean mask (T,) of the lesions that are not excluded as noisy.
    """

    scores: np.ndarray
    false_positive: np.ndarray
    matched: np.ndarray
    evaluated: np.ndarray

    @property
    def fp_scores(self) -> np.ndarray:
        """Scores (F,) of the false positives."""
        return self.scores[self.false_positive]

    @property
    def lesion_scores(self) -> np.ndarray:
        """Best score on each evaluated lesion, -inf for missed ones."""
        return np.append(self.scores, -np.inf)[self.matched[self.evaluated]]


def match_detections(
    detections: Mapping[str, torch.Tensor],
    gt_boxes: torch.Tensor,
    match_metric: str = "iou",
    match_thresh: float = 0.5,
    pixel_offset: float = 0,
    gt_ignore: torch.Tensor | None = None,
) -> Matches:
    """Match the detections of an image with its lesions.

    Args:
        detections: ``boxes`` (N, 4) and ``scores`` (N,).
        gt_boxes: ground truth boxes (T, 4).
        match_metric: overlap measure, see `box_overlap`.
        match_thresh: minimum overlap of a match.
        pixel_offset: see `box_overlap`.
        gt_ignore: boolean mask (T,) of lesions to exclude; detections that match them are not false positives.

    Raises:
        InputError: if a box or a score is missing, infinite or NaN, or if a box has a negative size.
    """
    boxes, scores = detections["boxes"].detach().cpu().reshape(-1, 4), detections["scores"].detach().cpu().double()
    valid = boxes.isfinite().all(1) & (boxes[:, :2] <= boxes[:, 2:]).all(1)
    invalid = int((~valid).sum() + (~scores.isfinite()).sum())
    if invalid or len(scores) != len(boxes):
        raise InputError(
            "detections: expected finite boxes with x1 <= x2 and y1 <= y2 and a finite score for each, found "
            f"{len(boxes)} boxes, {len(scores)} scores, {invalid} of them invalid"
        )
    gt_boxes = gt_boxes.detach().cpu().reshape(-1, 4)
    matches = (box_overlap(boxes, gt_boxes, match_metric, pixel_offset) >= match_thresh).numpy()
    best = np.where(matches, scores.numpy()[:, None], -np.inf)
    matched = np.vstack([np.full((1, len(gt_boxes)), -np.inf), best]).argmax(0) - 1  # row 0: no detection
    evaluated = np.ones(len(gt_boxes), bool) if gt_ignore is None else ~gt_ignore.cpu().bool().numpy()
    return Matches(scores.numpy(), ~matches.any(1), matched, evaluated)


class PooledMatches(NamedTuple):
    """False positives and evaluated lesions of many images, sorted once; bootstrap samples are weights of images.

    Attributes:
        fp_scores: scores (F,) of the false positives, decreasing.
        fp_images: image index (F,) of each false positive.
        lesion_scores: best score (T,) on each lesion, -inf for missed ones.
        lesion_images: image index (T,) of each lesion.
        num_images: number of images.
    """

    fp_scores: np.ndarray
    fp_images: np.ndarray
    lesion_scores: np.ndarray
    lesion_images: np.ndarray
    num_images: int

    def score_thresholds(self, rates: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
        """Return the lowest score thresholds with at most the given numbers of false positives per image.

        Detections with scores above the threshold are counted.

        Args:
            rates: false positives per image (R,).
            weights: weight (num_images,) of each image, 1 by default.

        Returns:
            Thresholds (R,); -inf if all detections together have no more false positives.
        """
        weights = np.ones(self.num_images) if weights is None else weights
        rate = weights[self.fp_images].cumsum() / max(weights.sum(), 1)
        return np.append(self.fp_scores, -np.inf)[np.searchsorted(rate, rates, side="right")]

    def sensitivity(self, rates: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
        """Return the sensitivity (R,) at rates (R,), see `sensitivity_at`; NaN without lesions."""
        lesion_weights = np.ones(len(self.lesion_scores)) if weights is None else weights[self.lesion_images]
        detected = (self.lesion_scores > self.score_thresholds(rates, weights)[:, None]) @ lesion_weights
        return detected / (lesion_weights.sum() or np.nan)


def concatenate(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate the values of all images; returns the values and the image index of each."""
    lengths = np.array([len(part) for part in parts], int)
    return np.concatenate([np.empty(0), *parts]), np.arange(len(parts)).repeat(lengths)


def pool_matches(matches: Sequence[Matches]) -> PooledMatches:
    """Pool the matches of all images."""
    fp_scores, fp_images = concatenate([one.fp_scores for one in matches])
    lesion_scores, lesion_images = concatenate([one.lesion_scores for one in matches])
    order = np.argsort(-fp_scores, kind="stable")
    return PooledMatches(fp_scores[order], fp_images[order], lesion_scores, lesion_images, len(matches))


def froc_curve(matches: Sequence[Matches]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the FROC curve.

    Args:
        matches: matches of every image.

    Returns:
        False positives per image, sensitivities, and decreasing score thresholds. Detections with a score of at least
        the threshold are counted, so equal scores give one point. The first threshold is infinite.
    """
    pool = pool_matches(matches)
    scores = np.concatenate([pool.fp_scores, pool.lesion_scores])
    thresholds = np.append(np.inf, np.unique(scores[np.isfinite(scores)])[::-1])
    false = np.searchsorted(-pool.fp_scores, -thresholds, side="right")
    hits = np.searchsorted(np.sort(-pool.lesion_scores), -thresholds, side="right")
    return false / max(pool.num_images, 1), hits / (len(pool.lesion_scores) or np.nan), thresholds


def sensitivity_at(matches: Sequence[Matches], rates: Sequence[float], mode: str = "step") -> np.ndarray:
    """Compute the sensitivity (R,) at given numbers of false positives per image.

    Args:
        matches: matches of every image.
        rates: false positives per image (R,).
        mode: "step" for the highest sensitivity among the points of `froc_curve` with at most that rate (0 if there is
            none); "reference" for the interpolation of the published evaluation code, see `interpolated_sensitivity`.

    Raises:
        InputError: if `mode` is unknown.
    """
    check_choice(mode, ("step", "reference"), "mode")
    return interpolated_sensitivity(matches, rates) if mode == "reference" else pool_matches(matches).sensitivity(rates)


def interpolated_sensitivity(matches: Sequence[Matches], rates: Sequence[float]) -> np.ndarray:
    """Compute the sensitivity (R,) at rates (R,) by linear interpolation, as in the published evaluation code.

    The curve has one point per detection, in order of decreasing scores; detections with equal scores keep their
    original order. Outside the curve the outermost segments are extrapolated, as by SciPy's ``interp1d``. Vertical
    segments give the lower end, an infinite value after a final jump, and NaN if the two outermost points coincide. The
    result is NaN with fewer than two detections or without lesions.
    """
    scores, _ = concatenate([one.scores for one in matches])
    false_positive, _ = concatenate([one.false_positive for one in matches])
    lesions = sum(int(one.evaluated.sum()) for one in matches)
    if len(scores) < 2 or not lesions:
        return np.full(len(rates), np.nan)
    order = np.argsort(-scores, kind="stable")
    detected = [np.bincount(m.matched[m.evaluated & (m.matched >= 0)], minlength=len(m.scores)) for m in matches]
    x, y = false_positive[order].cumsum() / len(matches), concatenate(detected)[0][order].cumsum() / lesions
    right = np.searchsorted(x, rates).clip(1, len(x) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
        return slope * (np.asarray(rates) - x[right - 1]) + y[right - 1]


def mean_sensitivity(matches: Sequence[Matches]) -> float:
    """Return the mean sensitivity at 0.5, 1, 2 and 4 false positives per image."""
    return float(sensitivity_at(matches, MEAN_RATES).mean())
