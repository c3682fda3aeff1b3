"""Figures of detected boxes: FROC, average precision, lesion by lesion type and size, with bootstrap intervals."""

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

from tools.detection.froc import MEAN_RATES, RATES, Matches, Pool, join, match_detections, pool_matches
from tools.utils import distributed
from tools.utils.bootstrap import bootstrap_scores
from tools.utils.errors import InputError

#: what DeepLesion's coarse lesion types stand for
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


class Ranking(NamedTuple):
    """Detections matched one to one with true boxes, sorted once; to resample is to weigh the pictures.

    Attributes:
        true: (D,), bool, whether a detection has a true box to itself; scores fall.
        detection_pictures: (D,), index of the picture of each.
        truths: (pictures,), number of true boxes of each.
    """

    true: np.ndarray
    detection_pictures: np.ndarray
    truths: np.ndarray

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Mean over recalls 0, 0.01 to 1 of the best precision at that recall or above; NaN without any true box.

        As MONAI's ``COCOMetric``, which takes a Python step per detection, too many for a bootstrap.

        Args:
            weights: (pictures,), how often each picture is there; once each by default.
        """
        weights = np.ones(len(self.truths)) if weights is None else weights
        total = weights @ self.truths
        if not total:
            return float("nan")
        said = weights[self.detection_pictures].cumsum()[self.true]  # precision only rises with a true one
        found = weights[self.detection_pictures[self.true]].cumsum()
        best = np.maximum.accumulate((found / np.maximum(said, 1))[::-1])[::-1]
        return float(np.append(best, 0)[np.searchsorted(found / total, np.linspace(0, 1, 101))].mean())


def rank_detections(
    detections: Sequence[Mapping[str, torch.Tensor]],
    truths: Sequence[torch.Tensor],
    threshold: float = 0.5,
    noisy: Sequence[torch.Tensor] | None = None,
) -> Ranking:
    """Match each picture's best hundred detections to its true boxes as COCO does (MONAI's ``matching_batch``).

    As scores fall, a detection takes the true box it overlaps most among those not taken; if it overlaps none of them
    by the threshold it is false, so finding a box again is.

    Args:
        detections: of each picture, ``boxes`` (N, 4) and ``scores`` (N,).
        truths: of each picture (T, 4).
        threshold: intersection over union from which on boxes match.
        noisy: of each picture (T,), true boxes to leave out with the detections that take them.
    """
    boxes = [one["boxes"].detach().cpu().float().reshape(-1, 4).numpy() for one in detections]
    scores = [one["scores"].detach().cpu().double().numpy() for one in detections]
    true_boxes = [one.detach().cpu().float().reshape(-1, 4).numpy() for one in truths]
    results = matching_batch(
        iou_fn=box_iou,
        iou_thresholds=[threshold],
        pred_boxes=boxes,
        pred_classes=[np.zeros(len(one), int) for one in scores],
        pred_scores=scores,
        gt_boxes=true_boxes,
        gt_classes=[np.zeros(len(one), int) for one in true_boxes],
        gt_ignore=None if noisy is None else [one.cpu().bool().numpy() for one in noisy],
    )
    empty = {"dtScores": np.empty(0), "dtMatches": np.empty((1, 0)), "dtIgnore": np.empty((1, 0)), "gtIgnore": []}
    pictures = [one.get(0, empty) for one in results]  # one without boxes and without detections has no class
    kept = [one["dtIgnore"][0] == 0 for one in pictures]
    all_scores, owners = join([one["dtScores"][keep] for one, keep in zip(pictures, kept, strict=True)])
    true, _ = join([one["dtMatches"][0][keep] for one, keep in zip(pictures, kept, strict=True)])
    order = np.argsort(-all_scores, kind="stable")
    return Ranking(true[order] > 0, owners[order], np.array([np.sum(np.equal(one["gtIgnore"], 0)) for one in pictures]))


def average_precision(
    detections: Sequence[Mapping[str, torch.Tensor]], truths: Sequence[torch.Tensor], threshold: float = 0.5
) -> float:
    """Average precision of all pictures as COCO has it, see `rank_detections`; NaN without any true box."""
    return rank_detections(detections, truths, threshold).average_precision()


def size_class(box: Sequence[float] | torch.Tensor, spacing: float) -> str:
    """Class of a box (x1, y1, x2, y2) by its longer edge in mm; DeepLesion's boxes reach 5 pixels beyond the lesion.

    Args:
        box: (4,), in pixels.
        spacing: mm per pixel.
    """
    x1, y1, x2, y2 = (float(edge) for edge in box)
    size = max(x2 - x1, y2 - y1) * spacing
    return "< 10 mm" if size < 10 else "10 to 30 mm" if size <= 30 else "> 30 mm"


def subgroup_sensitivity(
    matches: Sequence[Matches], groups: Sequence[Sequence[str]], rate: float
) -> dict[str, tuple[int, int]]:
    """True boxes found and true boxes by group, at the score threshold that gives all pictures together `rate`.

    Args:
        matches: of every picture.
        groups: of every picture, a name for each of its true boxes; names of those left out as noisy do not count.
        rate: false positives per picture.
    """
    names = [name for one, part in zip(matches, groups, strict=True) for name in np.asarray(part, object)[one.counted]]
    pool = pool_matches(matches)
    counts: dict[str, tuple[int, int]] = {}
    for name, hit in zip(names, pool.hit_scores > pool.limits([rate])[0], strict=True):
        found, total = counts.get(name, (0, 0))
        counts[name] = found + int(hit), total + 1
    return counts


def detection_scores(
    pool: Pool, ranking: Ranking | None = None, chosen: torch.Tensor | None = None
) -> dict[str, float]:
    """All figures of a set of pictures; NaN without any true box.

    Args:
        pool: of all pictures, see `pool_matches`.
        ranking: of the same pictures, see `rank_detections`; ``ap_50`` is given only with it.
        chosen: indices of the pictures to judge, repeats count; all of them by default.
    """
    weights = None if chosen is None else np.bincount(chosen.numpy(), minlength=pool.pictures).astype(float)
    values = pool.sensitivity(RATES, weights).tolist()
    scores = {f"sensitivity_at_{rate:g}": value for rate, value in zip(RATES, values, strict=True)}
    scores["mean_sensitivity"] = sum(values[: len(MEAN_RATES)]) / len(MEAN_RATES)
    return scores if ranking is None else {**scores, "ap_50": ranking.average_precision(weights)}


def detection_report(
    matches: Sequence[Matches], ranking: Ranking, patients: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures of `detection_scores` with 95 % bootstrap intervals over patients, see `bootstrap_scores`."""
    pool = pool_matches(matches)
    with_lesions = [one.counted.any() for one in matches]
    needs = {name: [with_lesions] for name in detection_scores(pool, ranking)}
    return bootstrap_scores(lambda chosen: detection_scores(pool, ranking, chosen), patients, resamples, seed, needs)


class Froc(Metric):
    """Mean sensitivity at 0.5, 1, 2 and 4 false positives per picture of everything seen, over all ranks.

    Sets ``sensitivity_at_0.5`` and ``sensitivity_at_2`` beside it, and ``threshold``, the score that a detection must
    exceed for there to be one false positive per picture. Takes ``detections``, for each picture ``boxes`` (N, 4) and
    ``scores`` (N,), and ``truths``, for each picture (T, 4), from the engine's output.

    Args:
        match: see `tools.detection.overlaps`.
        threshold: overlap from which on a detection finds a true box.
        exclude_noisy: take also ``flagged``, for each picture (T,), true boxes to leave out.
    """

    def __init__(self, match: str = "iou", threshold: float = 0.5, exclude_noisy: bool = False) -> None:
        self.match = match
        self.threshold = threshold
        super().__init__(output_transform=from_engine(["detections", "truths", *["flagged"] * exclude_noisy]))

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._matches: list[Matches] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        """Add a batch."""
        for detections, boxes, *noisy in zip(*output, strict=True):
            flagged = noisy[0] if noisy else None
            self._matches.append(match_detections(detections, boxes, self.match, self.threshold, noisy=flagged))

    def scores(self) -> dict[str, float]:
        """Return the figures of all ranks' pictures by name, and the threshold.

        Raises:
            InputError: no picture has a true box.
        """
        pool = pool_matches([one for part in distributed.gather_objects(self._matches) for one in part])
        if not len(pool.hit_scores):
            raise InputError(
                f"validation data: expected at least one picture with a box, found none among {pool.pictures}"
            )
        return {**detection_scores(pool), "threshold": max(0.0, float(pool.limits([1])[0]))}

    def compute(self) -> float:
        """Return the mean sensitivity."""
        return self.scores()["mean_sensitivity"]

    def completed(self, engine: Engine, name: str) -> None:
        """Put the mean sensitivity under `name`, and what else is set beside it."""
        scores = self.scores()
        engine.state.metrics[name] = scores["mean_sensitivity"]
        beside = ("sensitivity_at_0.5", "sensitivity_at_2", "threshold")
        engine.state.metrics.update({key: scores[key] for key in beside})
