"""From a detection network's maps to a loss, and to boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.anchor_utils import AnchorGenerator
from monai.losses import FocalLoss
from torch import nn

from tools.detection.network import RATIOS
from tools.detection.nms import FastBoxSelector
from tools.utils.errors import InputError, check_choice

SCALE = 4  # edge of a level's anchors, in strides
SAMPLINGS = ("focal", "hard")
SWAPPED = [1, 0, 3, 2]  # (x1, y1, x2, y2) to MONAI's order, that of the tensor's axes, and back


class FocalPerLesion(nn.Module):
    """Focal loss of all anchors' scores, over the number of matched ones (Lin et al., ICCV 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.focal = FocalLoss(gamma=2.0, alpha=0.25, reduction="none")  # its sum is a mean over the first axis

    def forward(self, logits: torch.Tensor, matched: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (N, 1); `matched` (N, 1) is 1 for those of lesions."""
        return self.focal(logits, matched).sum() / matched.sum().clamp(min=1)


class Detector(RetinaNetDetector):
    """MONAI's RetinaNet detector apart from its network: anchors, their matching, losses, the choice of boxes.

    Anchors are matched by ATSS (Zhang et al., CVPR 2020). There are three of them at every place, with edges of four
    strides and ratios 1:2, 1:1 and 2:1. Scores are trained on all anchors by the focal loss, or on the matched ones and
    a draw from the negatives that score highest, which needs far more steps.

    MONAI's own matching asks whether a matcher is torchvision's before it asks whether it is ATSS, and so fails without
    torchvision; this one asks nothing. Boxes here are (x1, y1, x2, y2).

    Args:
        strides: of the network's levels, in pixels.
        candidates: places per level among which a box finds its anchors.
        ignored_overlap: intersection over union with a lesion above which an anchor that is not matched is no negative.
        sampling: ``focal`` or ``hard``, see above.
        sampled_anchors: of ``hard``, anchors per picture that the score is trained on at most.
        positive_fraction: of ``hard``, share of the matched ones among them.
        max_candidates: boxes per level that suppression is given.
        max_detections: boxes per picture that stay.
        overlap: intersection over union above which two boxes are one.
        min_score: score a box needs.

    Raises:
        InputError: for another `sampling`.
    """

    def __init__(
        self,
        strides: Sequence[int],
        candidates: int = 1,
        ignored_overlap: float = 0.2,
        sampling: str = "focal",
        sampled_anchors: int = 256,
        positive_fraction: float = 0.25,
        max_candidates: int = 400,
        max_detections: int = 100,
        overlap: float = 0.2,
        min_score: float = 0.0,
    ) -> None:
        generator = AnchorGenerator([(SCALE * stride,) for stride in strides], (RATIOS,) * len(strides))
        super().__init__(nn.Identity(), generator, spatial_dims=2, num_classes=1, size_divisible=strides[-1])
        self.strides = tuple(strides)
        self.ignored_overlap = ignored_overlap
        self.set_atss_matcher(candidates)
        if check_choice(sampling, SAMPLINGS, "sampling") == "hard":
            self.set_hard_negative_sampler(sampled_anchors, positive_fraction)
        else:
            self.set_cls_loss(FocalPerLesion())
        self.box_selector = FastBoxSelector(
            score_thresh=min_score,
            topk_candidates_per_level=max_candidates,
            nms_thresh=overlap,
            detections_per_img=max_detections,
        )

    def compute_anchor_matched_idxs(
        self,
        anchors: list[torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        num_anchor_locs_per_level: Sequence[int],
    ) -> list[torch.Tensor]:
        """Match the anchors (N, 4) of each picture: (N,) indices of its boxes, -1 for none, -2 for those ignored."""
        matched = []
        for places, target in zip(anchors, targets, strict=True):
            overlaps, indices = self.proposal_matcher(
                target[self.target_box_key], places, num_anchor_locs_per_level, self.num_anchors_per_loc
            )
            indices = indices.to(places.device)
            if len(target[self.target_box_key]):
                near = (indices < 0) & (overlaps.amax(0) > self.ignored_overlap)
                indices = indices.masked_fill(near, self.proposal_matcher.BETWEEN_THRESHOLDS)
            matched.append(indices)
        return matched

    def losses(self, maps: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Loss of the scores and of the boxes.

        Args:
            maps: of the network, for a batch.
            boxes: of each picture (N, 4), in pixels of the network's input.
        """
        outputs, counts = self._flatten(maps)
        targets = [
            {
                self.target_box_key: one.to(self.anchors[0].device, non_blocking=True)[:, SWAPPED],
                self.target_label_key: torch.zeros(len(one), dtype=torch.long, device=self.anchors[0].device),
            }
            for one in boxes
        ]
        return self.compute_loss(outputs, targets, self.anchors, counts)

    def detect(self, maps: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Boxes (N, 4) and scores (N,) of each picture, best first, in pixels of the network's input."""
        outputs, counts = self._flatten(maps)
        size = list(self.previous_image_shape[-2:])
        found = self.postprocess_detections(outputs, self.anchors, [size] * len(maps[0]), counts)
        return [{"boxes": one[self.target_box_key][:, SWAPPED], "scores": one[self.pred_score_key]} for one in found]

    def _flatten(self, maps: Sequence[torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Scores (B, anchors, 1) and codes (B, anchors, 4) of all levels, places per level; makes the anchors."""
        maps = [level.float() for level in maps]  # half precision is too coarse for the place of a box
        scores, codes = maps[: len(maps) // 2], maps[len(maps) // 2 :]
        size = [edge * self.strides[0] for edge in scores[0].shape[-2:]]
        wrong = [edge for edge in size if edge % self.strides[-1]]
        if wrong:
            raise InputError(f"image_size: expected multiples of {self.strides[-1]} pixels, found {size}")
        self.generate_anchors(scores[0].new_empty(()).expand(len(scores[0]), 1, *size), {self.cls_key: scores})
        outputs = {self.cls_key: self._reshape_maps(scores), self.box_reg_key: self._reshape_maps(codes)}
        return outputs, [level.shape[2:].numel() for level in scores]


class DetectionLoss(nn.Module):
    """The loss of the scores and a multiple of the loss of the boxes.

    Args:
        detector: see `Detector.losses`.
        box_weight: how often the latter counts.
    """

    def __init__(self, detector: Detector, box_weight: float = 5.0) -> None:
        super().__init__()
        self.detector = detector
        self.box_weight = box_weight

    def forward(self, maps: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch; `boxes` as in `Detector.losses`."""
        losses = self.detector.losses(maps, boxes)
        return losses[self.detector.cls_key] + self.box_weight * losses[self.detector.box_reg_key]
