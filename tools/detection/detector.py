"""RetinaNet detector: anchors, ATSS matching, losses and box selection."""

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

SCALE = 4  # anchor size in strides of the level
SAMPLINGS = ("focal", "hard")
SWAPPED = [1, 0, 3, 2]  # (x1, y1, x2, y2) to and from MONAI's (y1, x1, y2, x2)


class NormalizedFocalLoss(nn.Module):
    """Focal loss of all anchors, normalised by the number of positive anchors (Lin et al., ICCV 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.focal = FocalLoss(gamma=2.0, alpha=0.25, reduction="none")  # MONAI's "sum" averages over the first axis

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (N, 1) for targets (N, 1), 1 for anchors matched with a lesion and 0 otherwise."""
        return self.focal(logits, targets).sum() / targets.sum().clamp(min=1)


class Detector(RetinaNetDetector):
    """MONAI's RetinaNet detector without the network: anchors, matching, losses and box selection.

    Anchors are matched by ATSS (Zhang et al., CVPR 2020). There are three anchors per location, with a size of four
    strides and aspect ratios of 1:2, 1:1 and 2:1. Classification uses the focal loss on all anchors, or cross-entropy
    on hard negative samples, which needs far more steps.

    The matching of MONAI's detector requires torchvision also for ATSS; this one does not. Boxes are (x1, y1, x2, y2).

    Args:
        strides: strides of the network's levels in pixels.
        num_candidates: number of candidate anchors per level in ATSS.
        ignore_iou_thresh: unmatched anchors with a higher IoU with a lesion are ignored instead of negative.
        sampling: ``focal`` for the focal loss or ``hard`` for hard negative sampling.
        batch_size_per_image: maximum number of sampled anchors per image, for ``hard``.
        positive_fraction: fraction of positive anchors among them, for ``hard``.
        topk_candidates_per_level: number of boxes per level before non-maximum suppression.
        detections_per_img: maximum number of boxes per image.
        nms_thresh: IoU threshold of non-maximum suppression.
        score_thresh: minimum score of a box.

    Raises:
        InputError: if `sampling` is unknown.
    """

    def __init__(
        self,
        strides: Sequence[int],
        num_candidates: int = 1,
        ignore_iou_thresh: float = 0.2,
        sampling: str = "focal",
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.25,
        topk_candidates_per_level: int = 400,
        detections_per_img: int = 100,
        nms_thresh: float = 0.2,
        score_thresh: float = 0.0,
    ) -> None:
        generator = AnchorGenerator([(SCALE * stride,) for stride in strides], (RATIOS,) * len(strides))
        super().__init__(nn.Identity(), generator, spatial_dims=2, num_classes=1, size_divisible=strides[-1])
        self.strides = tuple(strides)
        self.ignore_iou_thresh = ignore_iou_thresh
        self.set_atss_matcher(num_candidates)
        if check_choice(sampling, SAMPLINGS, "sampling") == "hard":
            self.set_hard_negative_sampler(batch_size_per_image, positive_fraction)
        else:
            self.set_cls_loss(NormalizedFocalLoss())
        self.box_selector = FastBoxSelector(
            score_thresh=score_thresh,
            topk_candidates_per_level=topk_candidates_per_level,
            nms_thresh=nms_thresh,
            detections_per_img=detections_per_img,
        )

    def compute_anchor_matched_idxs(
        self,
        anchors: list[torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        num_anchor_locs_per_level: Sequence[int],
    ) -> list[torch.Tensor]:
        """Return the box index (N,) of the anchors (N, 4) of each image; -1 for negative, -2 for ignored anchors."""
        matched = []
        for boxes, target in zip(anchors, targets, strict=True):
            ious, indices = self.proposal_matcher(
                target[self.target_box_key], boxes, num_anchor_locs_per_level, self.num_anchors_per_loc
            )
            indices = indices.to(boxes.device)
            if len(target[self.target_box_key]):
                ignored = (indices < 0) & (ious.amax(0) > self.ignore_iou_thresh)
                indices = indices.masked_fill(ignored, self.proposal_matcher.BETWEEN_THRESHOLDS)
            matched.append(indices)
        return matched

    def losses(self, maps: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute the classification and the box regression loss.

        Args:
            maps: outputs of the network for a batch.
            boxes: boxes (N, 4) of each image in pixels of the network's input.
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
        """Return ``boxes`` (N, 4) in pixels of the network's input and ``scores`` (N,) of each image, best first."""
        outputs, counts = self._flatten(maps)
        size = list(self.previous_image_shape[-2:])
        detections = self.postprocess_detections(outputs, self.anchors, [size] * len(maps[0]), counts)
        return [
            {"boxes": one[self.target_box_key][:, SWAPPED], "scores": one[self.pred_score_key]} for one in detections
        ]

    def _flatten(self, maps: Sequence[torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Return logits (B, anchors, 1) and box codes (B, anchors, 4), and locations per level; sets the anchors."""
        maps = [level.float() for level in maps]  # half precision is too coarse for box coordinates
        logits, codes = maps[: len(maps) // 2], maps[len(maps) // 2 :]
        size = [edge * self.strides[0] for edge in logits[0].shape[-2:]]
        if any(edge % self.strides[-1] for edge in size):
            raise InputError(f"image_size: expected multiples of {self.strides[-1]} pixels, found {size}")
        self.generate_anchors(logits[0].new_empty(()).expand(len(logits[0]), 1, *size), {self.cls_key: logits})
        outputs = {self.cls_key: self._reshape_maps(logits), self.box_reg_key: self._reshape_maps(codes)}
        return outputs, [level.shape[2:].numel() for level in logits]


class DetectionLoss(nn.Module):
    """Sum of the classification loss and the weighted box regression loss.

    Args:
        detector: computes both losses.
        box_loss_weight: weight of the box regression loss.
    """

    def __init__(self, detector: Detector, box_loss_weight: float = 5.0) -> None:
        super().__init__()
        self.detector = detector
        self.box_loss_weight = box_loss_weight

    def forward(self, maps: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch; `boxes` as in `Detector.losses`."""
        losses = self.detector.losses(maps, boxes)
        return losses[self.detector.cls_key] + self.box_loss_weight * losses[self.detector.box_reg_key]
