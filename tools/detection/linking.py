"""From boxes in slices to lesions in space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.data.box_utils import box_iou


class Lesion(NamedTuple):
    """Boxes of neighbouring slices that belong together.

    Attributes:
        box: (x1, y1, x2, y2) around all of them, in pixels.
        first: first slice.
        last: last slice.
        key: slice of the highest score.
        score: that score.
    """

    box: tuple[float, float, float, float]
    first: int
    last: int
    key: int
    score: float


def link_slices(
    boxes: torch.Tensor, scores: torch.Tensor, slices: torch.Tensor, overlap: float = 0.3, gap: int = 1
) -> list[Lesion]:
    """Link the boxes of neighbouring slices that overlap, best score first.

    Slice by slice, a box goes on with the lesion whose latest box it overlaps most, if nothing of a higher score does;
    a lesion ends when it was not gone on with for more than `gap` slices.

    Args:
        boxes: (N, 4), in pixels.
        scores: (N,).
        slices: (N,), the slice of each.
        overlap: intersection over union from which on boxes belong together.
        gap: slices in a row that a lesion may be missed in.

    Returns:
        Lesions by falling score.
    """
    order = sorted(range(len(boxes)), key=lambda one: (int(slices[one]), -float(scores[one])))
    groups: list[list[int]] = []
    for one in order:
        here = int(slices[one])
        near = [group for group in groups if 0 < here - int(slices[group[-1]]) <= gap + 1]
        overlaps = [float(box_iou(boxes[one][None], boxes[group[-1]][None])) for group in near]
        if overlaps and max(overlaps) >= overlap:
            near[overlaps.index(max(overlaps))].append(one)
        else:
            groups.append([one])
    lesions = [_lesion(boxes[group], scores[group], slices[group]) for group in groups]
    return sorted(lesions, key=lambda lesion: -lesion.score)


def _lesion(boxes: torch.Tensor, scores: torch.Tensor, slices: torch.Tensor) -> Lesion:
    low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
    best = int(scores.argmax())
    around = tuple(float(edge) for edge in (*low, *high))
    return Lesion(around, int(slices.min()), int(slices.max()), int(slices[best]), float(scores[best]))
