"""Boxes of a batch, beside the maps they come from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from tools.detection.detector import Detector


class DetectBoxesd(MapTransform):
    """Add under "detections" the boxes and scores of every picture of a batch, under "truths" its true boxes.

    All boxes are in pixels of the original pictures. Under "flagged" is which true boxes are noisy.

    Args:
        keys: the network's maps.
        detector: of the maps.
    """

    def __init__(self, keys: KeysCollection, detector: Detector) -> None:
        super().__init__(keys)
        self.detector = detector

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Detect in a batch with "scale", "height" and "width" (B,), "boxes" and "noisy"."""
        batch = dict(data)
        for key in self.keys:
            found = self.detector.detect([one.detach() for one in batch[key]])
            places = zip(found, batch["scale"], batch["width"], batch["height"], strict=True)
            batch["detections"] = [in_picture(one, float(scale), int(w), int(h)) for one, scale, w, h in places]
        batch["truths"] = [boxes.cpu() for boxes in batch["boxes"]]
        batch["flagged"] = [noisy.cpu() for noisy in batch["noisy"]]
        return batch


def in_picture(found: dict[str, torch.Tensor], scale: float, width: int, height: int) -> dict[str, torch.Tensor]:
    """Boxes and scores in a picture, on the host: boxes are cut off at its edges, those beside it are left out.

    Args:
        found: boxes (N, 4) in pixels of the network's input, where the picture has been padded right and below.
        scale: these per pixel of the picture.
        width: of the picture.
        height: likewise.
    """
    boxes = torch.minimum(found["boxes"].float().cpu() / scale, torch.tensor([width, height, width, height]))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return {"boxes": boxes[inside], "scores": found["scores"].float().cpu()[inside]}
