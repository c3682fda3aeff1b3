"""Slice-by-slice detection of lesions in whole scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from nibabel import aff2axcodes
from torch import nn
from tqdm import tqdm

from tools.detection.detector import Detector
from tools.detection.linking import Lesion, link_slices
from tools.detection.postprocessing import to_image_pixels
from tools.detection.slice_stacks import AXCODES, extract_stacks, stack_positions
from tools.detection.stack_resizing import resize_stacks
from tools.transfer.card import read_card
from tools.utils import distributed
from tools.utils.errors import InputError

Detections = dict[str, torch.Tensor]


class ScanInferer(Inferer):
    """Inferer that detects lesions in the slices of a scan, each with a stack of its neighbours.

    Args:
        detector: computes boxes from the outputs of the network.
        num_slices: number of slices of a stack.
        slice_spacing: distance of the slices of a stack in mm.
        image_size: input size of the network in pixels.
        batch_size: number of stacks per forward pass.
    """

    def __init__(
        self,
        detector: Detector,
        num_slices: int = 9,
        slice_spacing: float = 2.5,
        image_size: int = 96,
        batch_size: int = 4,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.num_slices = num_slices
        self.slice_spacing = slice_spacing
        self.image_size = image_size
        self.batch_size = batch_size

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., Any],
        keys: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Detections:
        """Detect lesions in one scan.

        Args:
            inputs: `MetaTensor` (1, 1, X, Y, Z) in HU with the orientation `AXCODES`, see `LoadScanSlicesd`.
            network: detection network of stacks.
            keys: indices (K,) of the slices to process; all by default.
            args: positional arguments passed to the network.
            kwargs: keyword arguments passed to the network.

        Returns:
            "boxes" (N, 4) in pixels, "scores" (N,) and "slices" (N,), in the order of the slices.

        Raises:
            InputError: if `inputs` has another orientation.
        """
        _check_orientation(inputs)
        volume = convert_to_tensor(inputs, track_meta=False)[0, 0].permute(2, 1, 0)  # slices, rows, columns
        interval = float(scan_affine(inputs)[:3, 2].norm())
        chosen = torch.arange(len(volume)) if keys is None else keys.flatten().cpu()
        chunks = chosen.split(self.batch_size)
        detections: list[Detections] = []
        for chunk in tqdm(chunks, "slices", unit="batch", disable=len(chunks) < 2 or distributed.rank() > 0):
            stacks, scale = self.stacks(volume, chunk, interval)
            maps = network(stacks, *args, **kwargs)
            for key, one in zip(chunk, self.detector.detect(maps), strict=True):
                height, width = volume.shape[1:]
                inside = to_image_pixels(one, scale, width, height)
                detections.append({**inside, "slices": torch.full((len(inside["boxes"]),), int(key))})
        return {name: torch.cat([one[name] for one in detections]) for name in ("boxes", "scores", "slices")}

    def stacks(self, volume: torch.Tensor, keys: torch.Tensor, interval: float) -> tuple[torch.Tensor, float]:
        """Return stacks (K, 1, slices, S, S) around slices (K,) of a volume (Z, H, W), and the scale."""
        last = len(volume) - 1
        positions = [stack_positions(int(key), 0, last, interval, self.num_slices, self.slice_spacing) for key in keys]
        return resize_stacks(extract_stacks(volume, positions)[:, None], self.image_size)


def scan_affine(scan: torch.Tensor) -> torch.Tensor:
    """Return the affine (4, 4) of a batch of one scan, from indices to RAS mm; the identity for plain tensors."""
    return scan.affine.reshape(-1, 4, 4)[0].double() if isinstance(scan, MetaTensor) else torch.eye(4).double()


def _check_orientation(scan: torch.Tensor) -> None:
    """Raise `InputError` for a scan in another orientation than the training data."""
    codes = "".join(map(str, aff2axcodes(scan_affine(scan).cpu().numpy())))
    if isinstance(scan, MetaTensor) and codes != AXCODES:
        raise InputError(
            f"image: expected a scan in the orientation {AXCODES}, found {codes}; read it with LoadScanSlicesd"
        )


def filter_by_score(detections: Detections, score_thresh: float) -> Detections:
    """Return the detections with scores above a threshold."""
    kept = detections["scores"] > score_thresh
    return {name: values[kept] for name, values in detections.items()}


def lesion_boxes(lesions: Sequence[Lesion], affine: torch.Tensor) -> Detections:
    """Convert lesions to world coordinates in the format of MONAI's detection bundles and MONAI Label.

    Box coordinates are measured from the corner of the first pixel, whereas the affine refers to pixel centres.

    Args:
        lesions: lesions of one scan, see `link_slices`.
        affine: affine (4, 4) from indices (x, y, slice) to RAS mm.

    Returns:
        "box" (M, 6) with centre and size along x, y and z in mm (LPS), "label" (M,) of zeros, and "label_scores" (M,).
    """
    low = torch.tensor([[*one.box[:2], one.first] for one in lesions], dtype=torch.float64).reshape(-1, 3)
    high = torch.tensor([[*one.box[2:], one.last + 1] for one in lesions], dtype=torch.float64).reshape(-1, 3)
    to_lps = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)) @ affine[:3].double().cpu()
    centre = ((low + high) / 2 - 0.5) @ to_lps[:, :3].T + to_lps[:, 3]
    size = (high - low) @ to_lps[:, :3].abs().T
    return {
        "box": torch.cat([centre, size], 1).float(),
        "label": torch.zeros(len(lesions), dtype=torch.long),
        "label_scores": torch.tensor([one.score for one in lesions]),
    }


class PrepareScanBatch(PrepareBatch):
    """Prepare a batch of one scan for `ScanInferer`, with the indices of the slices to process under "keys"."""

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None, tuple[()], dict[str, torch.Tensor]]:
        """Return the scan on the device, no target, and the arguments of the inferer."""
        scan = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return scan, None, (), {"keys": batchdata["keys"]}


class ScanDetector(nn.Module):
    """Detector interface of MONAI Label: `ScanInferer` followed by `lesion_boxes`.

    Args:
        network: detection network, set by MONAI Label.
        inferer: detects lesions in all slices.
        models_dir: folder of ``model.json``, the card of the weights.
        score_thresh: score threshold; None for the threshold of the card, with one false positive per image in
            validation.
    """

    def __init__(
        self, network: nn.Module, inferer: ScanInferer, models_dir: str, score_thresh: float | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer
        self.models_dir = models_dir
        self.score_thresh = score_thresh

    def forward(self, scans: torch.Tensor, use_inferer: bool = True) -> list[Detections]:
        """Return the lesions of one scan, a `MetaTensor` (1, 1, X, Y, Z)."""
        detections = filter_by_score(self.inferer(scans, self.network), self._threshold())
        return [lesion_boxes(link_slices(**detections), scan_affine(scans))]

    def _threshold(self) -> float:
        if self.score_thresh is not None:
            return self.score_thresh
        path = Path(self.models_dir) / "model.json"
        threshold = read_card(path).get("selected", {}).get("threshold")
        if threshold is None:
            raise InputError(f"{path}: expected a model card with a validation threshold, found none")
        return float(threshold)
