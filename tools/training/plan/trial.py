"""Network and input of one training step of a bundle, for settings that are not those of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from tools.networks.cost import PARAMETER_BYTES, count
from tools.networks.encoders import Encoder
from tools.utils.errors import InputError, find_input_error


class Trial:
    """Training configuration of a bundle with other settings, without data.

    Args:
        config: content of ``train.json`` of a bundle that pretrains on volumes or images, or segments them.
        settings: values by key, with ``in_channels``, and for segmentation ``trained_labels``.
    """

    def __init__(self, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.parser = ConfigParser(dict(config))
        plain = {"code": None, "bundle_root": "", "device": "cpu"}
        planned = {key: f"@{key[8:]}" for key in ("planned_spacing", "planned_roi_size") if key in config}
        self.parser.update({**plain, **planned, **settings})
        self.is_pretext = "pretext_network" in config

    def _get(self, key: str) -> Any:
        try:
            return self.parser.get_parsed_content(key)
        except RuntimeError as error:
            raise find_input_error(error) or error from None

    def set_roi_size(self, roi_size: Sequence[int]) -> None:
        """Change the crop size."""
        self.parser["roi_size"] = list(roi_size)

    def encoder(self) -> Encoder:
        """Build the encoder."""
        return self._get("network_def" if self.is_pretext else "encoder_def")

    def patch_size(self) -> Sequence[int]:
        """Edges of the encoder's input in voxels; raise `InputError` if the task cannot use the crop size."""
        return self._get("train#task").patch_size if self.is_pretext else self._get("roi_size")

    def batch_size(self) -> int:
        """Return the batch size of a process."""
        return self._get("batch_size")

    def network_and_inputs(self) -> tuple[nn.Module, Any]:
        """Build the network, and the input of one training step from constant images."""
        size, channels, batch_size = self._get("roi_size"), self._get("in_channels"), self._get("batch_size")
        if not self.is_pretext:
            return self._get("network_def"), torch.zeros(batch_size * self._get("num_samples"), channels, *size)
        images = torch.zeros(batch_size, channels, *size)
        cases = [str(number) for number in range(batch_size)]
        inputs, _ = self._get("train#task").make_batch({"image": images, "case": cases}, 1)
        return self._get("pretext_network"), inputs

    def memory(self) -> tuple[int, int]:
        """Compute the memory of a training step in float32, see `tools.networks.cost`.

        Returns:
            Bytes of weights, gradients and optimizer, and bytes that the backward pass keeps.
        """
        with torch.random.fork_rng(devices=[]):  # the weights of the run do not depend on the plan
            counted = count(*self.network_and_inputs())
        return PARAMETER_BYTES * counted["parameters"], counted["kept_bytes"]


class Edges:
    """Crop edges that the task and the encoder of a trial accept, found for crops with equal edges.

    Args:
        trial: the training step; its crop size is changed.
        step: edges are multiples of it and of the encoder's divisor, in voxels.
        largest: largest edge to consider.

    Raises:
        InputError: if no edge is accepted, with the reason.
    """

    def __init__(self, trial: Trial, step: int, largest: int) -> None:
        self.trial = trial
        with torch.random.fork_rng(devices=[]):
            self.encoder = trial.encoder()
        self.step = step = math.lcm(step, *self.encoder.divisor)
        self._accepted: dict[int, bool] = {}
        self.reason: InputError | None = None
        found = next((edge for edge in range(step, largest + step, step) if self.accepts(edge)), None)
        if found is None:
            raise self.reason
        self.smallest = found

    def accepts(self, edge: int) -> bool:
        """Return whether the task and the encoder accept a crop with equal edges."""
        if edge not in self._accepted:
            self.trial.set_roi_size([edge] * 3)
            try:
                self.encoder.check_size(self.trial.patch_size())
                self._accepted[edge] = True
            except InputError as error:
                self.reason = error
                self._accepted[edge] = False
        return self._accepted[edge]

    def below(self, edge: float) -> int:
        """Return the largest accepted edge up to a value, or the smallest accepted one."""
        first = int(edge // self.step) * self.step
        return next((one for one in range(first, self.smallest, -self.step) if self.accepts(one)), self.smallest)

    def above(self, edge: float) -> int:
        """Return the smallest accepted edge from a value on, up to twice the value, or else `below`."""
        first = max(-int(-edge // self.step) * self.step, self.smallest)
        last = max(first, int(2 * edge))
        return next((one for one in range(first, last + 1, self.step) if self.accepts(one)), self.below(edge))
