"""Linking of 2D detections in neighbouring slices to 3D lesions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.data.box_utils import box_iou


class Lesion(NamedTuple):
    """Lesion linked from boxes in neighbouring slices.

    Attributes:
        box: bounding box (x1, y1, x2, y2) of all boxes, in pixels.
        first: first slice.
        last: last slice.
        key: slice with the highest score.
        score: the highest score.
    """

    box: tuple[float, float, float, float]
    first: int
    last: int
    key: int
    score: float


def link_slices(
    boxes: torch.Tensor, scores: torch.Tensor, slices: torch.Tensor, iou_thresh: float = 0.3, max_gap: int = 1
) -> list[Lesion]:
    """Link overlapping boxes of neighbouring slices.

    The boxes of each slice, in order of decreasing scores, are assigned to the lesion whose latest box has the highest
    IoU. A lesion ends after more than `max_gap` slices without a box.

    Args:
        boxes: boxes (N, 4) in pixels.
        scores: scores (N,).
        slices: slice index (N,) of each box.
        iou_thresh: minimum intersection over union of linked boxes.
        max_gap: maximum number of consecutive slices without a box.

    Returns:
        Lesions by decreasing score.
    """
    order = sorted(range(len(boxes)), key=lambda i: (int(slices[i]), -float(scores[i])))
    groups: list[list[int]] = []
    for i in order:
        index = int(slices[i])
        near = [group for group in groups if 0 < index - int(slices[group[-1]]) <= max_gap + 1]
        ious = [float(box_iou(boxes[i][None], boxes[group[-1]][None])) for group in near]
        if ious and max(ious) >= iou_thresh:
            near[ious.index(max(ious))].append(i)
        else:
            groups.append([i])
    lesions = [_lesion(boxes[group], scores[group], slices[group]) for group in groups]
    return sorted(lesions, key=lambda lesion: -lesion.score)


def _lesion(boxes: torch.Tensor, scores: torch.Tensor, slices: torch.Tensor) -> Lesion:
    low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
    best = int(scores.argmax())
    bounds = tuple(float(edge) for edge in (*low, *high))
    return Lesion(bounds, int(slices.min()), int(slices.max()), int(slices[best]), float(scores[best]))
