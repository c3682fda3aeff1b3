"""Detection metrics: FROC, average precision and sensitivity by lesion type and size, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from monai.handlers import from_engine

from tools.detection.froc import MEAN_RATES, RATES, Matches, PooledMatches, concatenate, match_detections, pool_matches
from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_scores
from tools.utils.errors import InputError

#: coarse lesion types of DeepLesion
LESION_TYPES = {
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
    -1: "unknown",
}


class RankedDetections(NamedTuple):
    """Detections matched one to one with lesions, sorted once; bootstrap samples are weights of images.

    Attributes:
        true_positive: boolean mask (D,) of the true positives, by decreasing score.
        detection_images: image index (D,) of each detection.
        num_lesions: number of lesions (num_images,) of each image.
    """

    true_positive: np.ndarray
    detection_images: np.ndarray
    num_lesions: np.ndarray

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Return the mean interpolated precision at recalls 0, 0.01, … 1; NaN without lesions.

        Equal to MONAI's ``COCOMetric``, whose Python loop over detections is slow for a bootstrap.

        Args:
            weights: weight (num_images,) of each image, 1 by default.
        """
        weights = np.ones(len(self.num_lesions)) if weights is None else weights
        total = weights @ self.num_lesions
        if not total:
            return float("nan")
        positives = weights[self.detection_images].cumsum()[self.true_positive]
        true_positives = weights[self.detection_images[self.true_positive]].cumsum()
        best = np.maximum.accumulate((true_positives / np.maximum(positives, 1))[::-1])[::-1]
        return float(np.append(best, 0)[np.searchsorted(true_positives / total, np.linspace(0, 1, 101))].mean())


def rank_detections(
    detections: Sequence[Mapping[str, torch.Tensor]],
    gt_boxes: Sequence[torch.Tensor],
    iou_thresh: float = 0.5,
    gt_ignore: Sequence[torch.Tensor] | None = None,
) -> RankedDetections:
    """Match the hundred best detections of each image with its lesions as COCO does (MONAI's ``matching_batch``).

    In order of decreasing scores, a detection is matched with the lesion of highest overlap that is not matched yet.
    Detections without a match, also repeated ones, are false positives.

    Args:
        detections: ``boxes`` (N, 4) and ``scores`` (N,) of each image.
        gt_boxes: ground truth boxes (T, 4) of each image.
        iou_thresh: minimum intersection over union of a match.
        gt_ignore: boolean mask (T,) of each image with lesions to exclude, together with matching detections.
    """
    boxes = [one["boxes"].detach().cpu().float().reshape(-1, 4).numpy() for one in detections]
    scores = [one["scores"].detach().cpu().double().numpy() for one in detections]
    gt_arrays = [one.detach().cpu().float().reshape(-1, 4).numpy() for one in gt_boxes]
    results = matching_batch(
        iou_fn=box_iou,
        iou_thresholds=[iou_thresh],
        pred_boxes=boxes,
        pred_classes=[np.zeros(len(one), int) for one in scores],
        pred_scores=scores,
        gt_boxes=gt_arrays,
        gt_classes=[np.zeros(len(one), int) for one in gt_arrays],
        gt_ignore=None if gt_ignore is None else [one.cpu().bool().numpy() for one in gt_ignore],
    )
    empty = {"dtScores": np.empty(0), "dtMatches": np.empty((1, 0)), "dtIgnore": np.empty((1, 0)), "gtIgnore": []}
    images = [one.get(0, empty) for one in results]  # images without boxes and detections have no class
    kept = [one["dtIgnore"][0] == 0 for one in images]
    all_scores, owners = concatenate([one["dtScores"][keep] for one, keep in zip(images, kept, strict=True)])
    true_positive, _ = concatenate([one["dtMatches"][0][keep] for one, keep in zip(images, kept, strict=True)])
    order = np.argsort(-all_scores, kind="stable")
    num_lesions = np.array([np.sum(np.equal(one["gtIgnore"], 0)) for one in images])
    return RankedDetections(true_positive[order] > 0, owners[order], num_lesions)


def average_precision(
    detections: Sequence[Mapping[str, torch.Tensor]], gt_boxes: Sequence[torch.Tensor], iou_thresh: float = 0.5
) -> float:
    """Compute the COCO average precision over all images, see `rank_detections`; NaN without lesions."""
    return rank_detections(detections, gt_boxes, iou_thresh).average_precision()


def size_class(box: Sequence[float] | torch.Tensor, spacing: float) -> str:
    """Return the size class of a box by its longer edge; boxes of DeepLesion have a margin of 5 pixels.

    Args:
        box: (x1, y1, x2, y2) in pixels.
        spacing: pixel size in mm.
    """
    x1, y1, x2, y2 = (float(edge) for edge in box)
    size = max(x2 - x1, y2 - y1) * spacing
    return "< 10 mm" if size < 10 else "10 to 30 mm" if size <= 30 else "> 30 mm"


def subgroup_sensitivity(
    matches: Sequence[Matches], groups: Sequence[Sequence[str]], rate: float
) -> dict[str, tuple[int, int]]:
    """Count detected lesions and all lesions by group, at a common score threshold.

    Args:
        matches: matches of every image.
        groups: group names of the lesions of every image; excluded lesions are not counted.
        rate: false positives per image over all groups, which defines the threshold.

    Returns:
        Group names to (detected lesions, lesions).
    """
    names = [
        name for one, part in zip(matches, groups, strict=True) for name in np.asarray(part, object)[one.evaluated]
    ]
    pool = pool_matches(matches)
    counts: dict[str, tuple[int, int]] = {}
    for name, hit in zip(names, pool.lesion_scores > pool.score_thresholds([rate])[0], strict=True):
        detected, total = counts.get(name, (0, 0))
        counts[name] = detected + int(hit), total + 1
    return counts


def detection_scores(
    pool: PooledMatches, ranking: RankedDetections | None = None, chosen: torch.Tensor | None = None
) -> dict[str, float]:
    """Compute the metrics of a set of images; NaN without lesions.

    Args:
        pool: pooled matches of all images, see `pool_matches`.
        ranking: ranked detections of the same images, see `rank_detections`, for ``ap_50``.
        chosen: image indices of a bootstrap sample, possibly repeated; all images by default.
    """
    weights = None if chosen is None else np.bincount(chosen.numpy(), minlength=pool.num_images).astype(float)
    values = pool.sensitivity(RATES, weights).tolist()
    scores = {f"sensitivity_at_{rate:g}": value for rate, value in zip(RATES, values, strict=True)}
    scores["mean_sensitivity"] = sum(values[: len(MEAN_RATES)]) / len(MEAN_RATES)
    return scores if ranking is None else {**scores, "ap_50": ranking.average_precision(weights)}


def detection_report(
    matches: Sequence[Matches], ranking: RankedDetections, patients: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compute `detection_scores` with 95 % bootstrap intervals over patients, see `bootstrap_scores`."""
    pool = pool_matches(matches)
    with_lesions = [one.evaluated.any() for one in matches]
    needs = {name: [with_lesions] for name in detection_scores(pool, ranking)}
    return bootstrap_scores(lambda chosen: detection_scores(pool, ranking, chosen), patients, resamples, seed, needs)


class FROC(Metric):
    """Mean sensitivity at 0.5, 1, 2 and 4 false positives per image, over the images of all ranks.

    Also adds the metrics ``sensitivity_at_0.5``, ``sensitivity_at_2`` and ``threshold``, the score threshold with one
    false positive per image. Uses ``detections``, ``boxes`` (N, 4) and ``scores`` (N,) of each image, and ``gt_boxes``
    (T, 4) of each image of the engine's output.

    Args:
        match_metric: overlap measure, see `tools.detection.froc.box_overlap`.
        match_thresh: minimum overlap of a match.
        exclude_noisy: whether to exclude the lesions in ``gt_ignore`` (T,) of the engine's output.
    """

    def __init__(self, match_metric: str = "iou", match_thresh: float = 0.5, exclude_noisy: bool = False) -> None:
        self.match_metric = match_metric
        self.match_thresh = match_thresh
        super().__init__(output_transform=from_engine(["detections", "gt_boxes", *["gt_ignore"] * exclude_noisy]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Reset the collected matches."""
        self._matches: list[Matches] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Add a batch."""
        for detections, gt_boxes, *noisy in zip(*output, strict=True):
            matches = match_detections(
                detections, gt_boxes, self.match_metric, self.match_thresh, gt_ignore=noisy[0] if noisy else None
            )
            self._matches.append(matches)

    def scores(self) -> dict[str, float]:
        """Return the metrics over the images of all ranks, and the threshold.

        Raises:
            InputError: if no image has a lesion.
        """
        pool = pool_matches([one for part in distributed.gather_objects(self._matches) for one in part])
        if not len(pool.lesion_scores):
            raise InputError(
                f"validation data: expected at least one image with a box, found none among {pool.num_images}"
            )
        return {**detection_scores(pool), "threshold": max(0.0, float(pool.score_thresholds([1])[0]))}

    def compute(self) -> float:
        """Return the mean sensitivity."""
        return self.scores()["mean_sensitivity"]

    def completed(self, engine: Engine, name: str) -> None:
        """Set the mean sensitivity as metric `name`, and all other metrics by their names."""
        scores = self.scores()
        engine.state.metrics[name] = scores["mean_sensitivity"]
        further = ("sensitivity_at_0.5", "sensitivity_at_2", "threshold")
        engine.state.metrics.update({key: scores[key] for key in further})
