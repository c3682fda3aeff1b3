"""Vectorised non-maximum suppression (NMS) and box selection."""

from __future__ import annotations

import torch
from monai.apps.detection.utils.box_selector import BoxSelector
from monai.data.box_utils import box_iou, clip_boxes_to_image


def nms(boxes: torch.Tensor, scores: torch.Tensor, nms_thresh: float, max_proposals: int = -1) -> torch.Tensor:
    """Apply non-maximum suppression with the arguments and results of MONAI's `non_max_suppression`.

    All overlaps are computed at once, whereas MONAI recomputes them for every selected box.

    Args:
        boxes: boxes (N, 4) in any order of the axes.
        scores: scores (N,).
        nms_thresh: boxes with a higher intersection over union with a better box are removed.
        max_proposals: maximum number of boxes; -1 for all.

    Returns:
        Indices of the selected boxes by decreasing score.
    """
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order]
    suppressed = (box_iou(ranked, ranked) > nms_thresh).triu(1).cpu().numpy()
    remaining = torch.ones(len(boxes), dtype=torch.bool).numpy()
    selected: list[int] = []
    for index in range(len(boxes)):
        if len(selected) == max_proposals:
            break
        if remaining[index]:
            selected.append(index)
            remaining &= ~suppressed[index]
    return order[torch.tensor(selected, dtype=torch.long, device=order.device)]


class FastBoxSelector(BoxSelector):
    """MONAI's box selector for a single class with the faster `nms`."""

    def select_boxes_per_image(
        self, boxes_list: list[torch.Tensor], logits_list: list[torch.Tensor], spatial_size: list[int] | tuple[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Select boxes (N, 4) with logits (N, 1) among the boxes of all levels of an image.

        Returns:
            Boxes (P, 4), scores (P,) and labels (P,) by decreasing score.
        """
        candidates = []
        for boxes, logits in zip(boxes_list, logits_list, strict=True):
            indices, scores, labels = self.select_top_score_idx_per_level(logits)
            clipped, inside = clip_boxes_to_image(boxes[indices], spatial_size, remove_empty=True)
            candidates.append((clipped, scores[inside], labels[inside]))
        boxes, scores, labels = (torch.cat(part) for part in zip(*candidates, strict=True))
        selected = nms(boxes, scores, self.nms_thresh, self.detections_per_img)
        return boxes[selected], scores[selected], labels[selected]
