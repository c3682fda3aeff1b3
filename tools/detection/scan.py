"""Lesions in whole scans, slice by slice."""

from __future__ import annotations

import json
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
from tools.detection.postprocessing import in_picture
from tools.detection.slice_stacks import AXCODES, stack_places, take_stacks
from tools.detection.stack_fitting import fit_stacks
from tools.utils import distributed
from tools.utils.errors import InputError

Found = dict[str, torch.Tensor]


class ScanInferer(Inferer):
    """Detect lesions in slices of one scan, each shown with its neighbours.

    Args:
        detector: of the network's maps.
        slices: slices of a stack.
        slice_spacing: mm between them.
        image_size: edge in pixels of what the network is shown.
        batch_size: stacks at a time.
    """

    def __init__(
        self,
        detector: Detector,
        slices: int = 9,
        slice_spacing: float = 2.5,
        image_size: int = 96,
        batch_size: int = 4,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.slices = slices
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
    ) -> Found:
        """Detect.

        Args:
            inputs: `MetaTensor` (1, 1, X, Y, Z) of HU in the orientation `AXCODES`, see `LoadScanSlicesd`.
            network: maps of stacks.
            keys: (K,), indices of the slices to look at; default all.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Returns:
            Boxes (N, 4) in pixels, scores (N,) and slices (N,), slice by slice.

        Raises:
            InputError: `inputs` has another orientation.
        """
        _check_orientation(inputs)
        volume = convert_to_tensor(inputs, track_meta=False)[0, 0].permute(2, 1, 0)  # slices, rows, columns
        interval = float(affine_of(inputs)[:3, 2].norm())
        chosen = torch.arange(len(volume)) if keys is None else keys.flatten().cpu()
        chunks = chosen.split(self.batch_size)
        found: list[Found] = []
        for chunk in tqdm(chunks, "slices", unit="batch", disable=len(chunks) < 2 or distributed.rank() > 0):
            stacks, scale = self.stacks(volume, chunk, interval)
            maps = network(stacks, *args, **kwargs)
            for key, one in zip(chunk, self.detector.detect(maps), strict=True):
                height, width = volume.shape[1:]
                inside = in_picture(one, scale, width, height)
                found.append({**inside, "slices": torch.full((len(inside["boxes"]),), int(key))})
        return {name: torch.cat([one[name] for one in found]) for name in ("boxes", "scores", "slices")}

    def stacks(self, volume: torch.Tensor, keys: torch.Tensor, interval: float) -> tuple[torch.Tensor, float]:
        """Stacks (K, 1, slices, S, S) around slices (K,) of a volume (Z, H, W), and network pixels per pixel."""
        last = len(volume) - 1
        places = [stack_places(int(key), 0, last, interval, self.slices, self.slice_spacing) for key in keys]
        return fit_stacks(take_stacks(volume, places)[:, None], self.image_size)


def affine_of(scan: torch.Tensor) -> torch.Tensor:
    """Affine (4, 4) of a batch of one scan, from indices to RAS mm; that of 1 mm voxels where there is none."""
    return scan.affine.reshape(-1, 4, 4)[0].double() if isinstance(scan, MetaTensor) else torch.eye(4).double()


def _check_orientation(scan: torch.Tensor) -> None:
    """Refuse a scan whose stacks would be turned against those of the training."""
    codes = "".join(map(str, aff2axcodes(affine_of(scan).cpu().numpy())))
    if isinstance(scan, MetaTensor) and codes != AXCODES:
        raise InputError(
            f"image: expected a scan in the orientation {AXCODES}, found {codes}; read it with LoadScanSlicesd"
        )


def above(found: Found, min_score: float) -> Found:
    """What was found with a score that exceeds `min_score`."""
    seen = found["scores"] > min_score
    return {name: values[seen] for name, values in found.items()}


def lesion_boxes(lesions: Sequence[Lesion], affine: torch.Tensor) -> Found:
    """Lesions in space, as MONAI's detection bundles and MONAI Label have them.

    Boxes count from the picture's corner: the first pixel reaches from 0 to 1, while the affine places its middle at 0.

    Args:
        lesions: of one scan, as `link_slices` gives them.
        affine: (4, 4), from its indices (x, y, slice) to RAS mm.

    Returns:
        "box" (M, 6), centre and size along x, y and z in mm (LPS), "label" (M,), always 0, and "label_scores" (M,).
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


class KeySlices(PrepareBatch):
    """Give a `ScanInferer` a batch of one scan, with "keys", the slices to look at."""

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None, tuple[()], dict[str, torch.Tensor]]:
        """Return the scan on its device, no target, and arguments of the inferer."""
        scan = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        return scan, None, (), {"keys": batchdata["keys"]}


class LabelDetector(nn.Module):
    """What MONAI Label calls: `ScanInferer` and `lesion_boxes` in one.

    Args:
        network: set by MONAI Label.
        inferer: looks at all slices.
        models_dir: folder of ``model.json``, the contract of the weights.
        min_score: score that a box in a slice must exceed; None for that of one false positive per picture in
            validation, as the contract has it.
    """

    def __init__(
        self, network: nn.Module, inferer: ScanInferer, models_dir: str, min_score: float | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer
        self.models_dir = models_dir
        self.min_score = min_score

    def forward(self, scans: torch.Tensor, use_inferer: bool = True) -> list[Found]:
        """Map a `MetaTensor` (1, 1, X, Y, Z) to the lesions of the one scan."""
        found = above(self.inferer(scans, self.network), self._threshold())
        return [lesion_boxes(link_slices(**found), affine_of(scans))]

    def _threshold(self) -> float:
        if self.min_score is not None:
            return self.min_score
        path = Path(self.models_dir) / "model.json"
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["selected"]["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: expected a contract with the threshold validation chose: {error!r}") from error
