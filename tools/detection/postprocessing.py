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
            batch["detections"] = [_original(one, *place) for one, *place in places]
        batch["truths"] = [boxes.cpu() for boxes in batch["boxes"]]
        batch["flagged"] = [noisy.cpu() for noisy in batch["noisy"]]
        return batch


def _original(
    found: dict[str, torch.Tensor], scale: torch.Tensor, width: torch.Tensor, height: torch.Tensor
) -> dict[str, torch.Tensor]:
    edges = torch.stack([width, height, width, height]).float().cpu()
    boxes = torch.minimum(found["boxes"].float().cpu() / float(scale), edges)
    return {"boxes": boxes, "scores": found["scores"].float().cpu()}
