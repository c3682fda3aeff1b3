"""Postprocessing transforms of detection: network outputs to boxes in image coordinates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from tools.detection.detector import Detector


class DetectBoxesd(MapTransform):
    """Add "detections" with the boxes and scores of every image of a batch, "gt_boxes" and "gt_ignore".

    All boxes are in pixels of the original images. "gt_ignore" has the noisy annotations.

    Args:
        keys: keys of the network's outputs.
        detector: computes boxes from the outputs.
    """

    def __init__(self, keys: KeysCollection, detector: Detector) -> None:
        super().__init__(keys)
        self.detector = detector

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Detect lesions in a batch with "scale", "height" and "width" (B,), "boxes" and "noisy"."""
        batch = dict(data)
        for key in self.keys:
            detections = self.detector.detect([one.detach() for one in batch[key]])
            images = zip(detections, batch["scale"], batch["width"], batch["height"], strict=True)
            batch["detections"] = [to_image_pixels(one, float(scale), int(w), int(h)) for one, scale, w, h in images]
        batch["gt_boxes"] = [boxes.cpu() for boxes in batch["boxes"]]
        batch["gt_ignore"] = [noisy.cpu() for noisy in batch["noisy"]]
        return batch


def to_image_pixels(
    detections: dict[str, torch.Tensor], scale: float, width: int, height: int
) -> dict[str, torch.Tensor]:
    """Convert boxes to pixels of the original image on the CPU; clip them and exclude boxes outside the image.

    Args:
        detections: ``boxes`` (N, 4) in pixels of the network's input, which is padded right and below, and ``scores``.
        scale: pixels of the network's input per pixel of the image.
        width: width of the image in pixels.
        height: height of the image in pixels.
    """
    boxes = torch.minimum(detections["boxes"].float().cpu() / scale, torch.tensor([width, height, width, height]))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return {"boxes": boxes[inside], "scores": detections["scores"].float().cpu()[inside]}
