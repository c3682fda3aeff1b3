"""Which of overlapping boxes stay."""

from __future__ import annotations

import torch
from monai.apps.detection.utils.box_selector import BoxSelector
from monai.data.box_utils import box_iou, clip_boxes_to_image


def nms(boxes: torch.Tensor, scores: torch.Tensor, overlap: float, keep: int = -1) -> torch.Tensor:
    """Non-maximum suppression: a box stays unless one of a higher score that stays overlaps it.

    Gives what MONAI's `non_max_suppression` gives, which measures overlaps anew for every box that stays: all overlaps
    are measured at once here, and the rest is a walk over rows of bits.

    Args:
        boxes: (N, 4), any order of the axes.
        scores: (N,).
        overlap: intersection over union above which two boxes are one.
        keep: number of boxes that stay at most; -1 for all.

    Returns:
        Indices of the boxes that stay, by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order]
    beaten = (box_iou(ranked, ranked) > overlap).triu(1).cpu().numpy()
    alive = torch.ones(len(boxes), dtype=torch.bool).numpy()
    stays: list[int] = []
    for index in range(len(boxes)):
        if len(stays) == keep:
            break
        if alive[index]:
            stays.append(index)
            alive &= ~beaten[index]
    return order[torch.tensor(stays, dtype=torch.long, device=order.device)]


class FastBoxSelector(BoxSelector):
    """MONAI's choice of boxes, of one class, with `nms` at its end."""

    def select_boxes_per_image(
        self, boxes_list: list[torch.Tensor], logits_list: list[torch.Tensor], spatial_size: list[int] | tuple[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choose among the boxes (N, 4) of all levels of a picture; logits are (N, 1).

        Returns:
            Boxes (P, 4), scores (P,) and labels (P,), best first.
        """
        found = []
        for boxes, logits in zip(boxes_list, logits_list, strict=True):
            indices, scores, labels = self.select_top_score_idx_per_level(logits)
            clipped, inside = clip_boxes_to_image(boxes[indices], spatial_size, remove_empty=True)
            found.append((clipped, scores[inside], labels[inside]))
        boxes, scores, labels = (torch.cat(part) for part in zip(*found, strict=True))
        stays = nms(boxes, scores, self.nms_thresh, self.detections_per_img)
        return boxes[stays], scores[stays], labels[stays]
