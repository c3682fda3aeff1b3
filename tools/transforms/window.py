"""Checks of the intensity window: images that become constant, and scans that are not in Hounsfield units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from tools.data.window import is_shifted, shift_hint
from tools.transforms.checks import sample_name
from tools.utils.errors import InputError

LOWEST = 0.005  # quantile used as the minimum, robust to noise and padding
SAMPLED = 100_000  # maximum number of voxels for the quantile


class CheckWindowd(MapTransform):
    """Check that images are not constant after the intensity window, and measure the fraction outside it.

    Args:
        keys: keys of images (C, *spatial) in HU; the fractions are measured for the first key.
        window: lower and upper end in HU.
        inference: whether to print a warning for images that do not seem to be in HU, instead of adding measurements.
        adjustable: whether messages recommend the configuration key ``hu_window``.

    Returns:
        Sample with "outside_window": the fractions "below" and "above", the 0.5 % quantile "lowest" in HU, "window" and
        "adjustable".

    Raises:
        InputError: if an image, or a channel that varies, becomes constant.
    """

    def __init__(
        self, keys: KeysCollection, window: Sequence[float], inference: bool = False, adjustable: bool = True
    ) -> None:
        super().__init__(keys)
        self.window = tuple(map(float, window))
        self.inference = inference
        self.adjustable = adjustable

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check a sample."""
        sample = dict(data)
        for key in self.keys:
            self._check_constant(sample_name(sample, key), torch.Tensor.as_subclass(sample[key], torch.Tensor))
        found = self._measure(torch.Tensor.as_subclass(sample[self.keys[0]], torch.Tensor))
        if not self.inference:
            return {**sample, "outside_window": found}
        if is_shifted(found):
            print(
                f"warning: {sample_name(sample, self.keys[0])}: expected HU, found almost no voxels below "
                f"{found['lowest']:.0f}; {shift_hint(found)}"
            )
        return sample

    def _check_constant(self, name: str, image: torch.Tensor) -> None:
        low, high = self.window
        space = tuple(range(1, image.ndim))
        lowest, highest = image.amin(space), image.amax(space)
        constant = lowest.clamp(low, high) == highest.clamp(low, high)
        if (constant & (lowest < highest)).any() or constant.all():
            raise InputError(
                f"{name}: expected voxels inside the window of {low:g} to {high:g} HU, found {float(lowest.min()):g} "
                f"to {float(highest.max()):g}, constant after it; correct the file{' or --hu_window' * self.adjustable}"
            )

    def _measure(self, image: torch.Tensor) -> dict[str, Any]:
        low, high = self.window
        voxels = image.flatten()[:: max(1, image.numel() // SAMPLED)].float()
        inside = voxels[voxels > voxels.min()]  # scanners store one low value outside the field of view
        return {
            "below": float((image < low).float().mean()),
            "above": float((image > high).float().mean()),
            "lowest": float((inside if len(inside) else voxels).quantile(LOWEST)),
            "window": list(self.window),
            "adjustable": self.adjustable,
        }
