"""Input channels of pretrained weights in another network: selected by name, or summed and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class ChannelAdaptation:
    """How the first convolution's weights follow from the file's when the input channels differ.

    Channels are selected, in the present order, where the names of all are known and the present ones are among the
    pretrained ones. Else the weights are summed over the file's channels and spread evenly over the present ones.

    Args:
        contract: card of the weights, with the names under ``channels``; None if there is none.
        expected: the same of the present data.
        channels: input channels of the present encoder.

    Attributes:
        selected: index of each present channel among the pretrained ones; None without names, or for other channels.
    """

    def __init__(self, contract: Mapping[str, Any] | None, expected: Mapping[str, Any] | None, channels: int) -> None:
        self.channels = channels
        self.pretrained = [str(name) for name in (contract or {}).get("channels") or []]
        self.present = [str(name) for name in (expected or {}).get("channels") or []]
        theirs, ours = ([name.casefold() for name in names] for names in (self.pretrained, self.present))
        known = len(ours) == channels and all(len(set(names)) == len(names) > 0 for names in (theirs, ours))
        self.selected = [theirs.index(name) for name in ours] if known and set(ours) <= set(theirs) else None

    def note(self, theirs: Sequence[int], ours: Sequence[int]) -> str | None:
        """Describe the change of a weight from the file's shape to the encoder's; None where the weight stays."""
        found = theirs[1]
        if self._by_name(found):
            if self.selected == list(range(found)):
                return None
            return f"input channels {', '.join(self.present)} selected by name from {', '.join(self.pretrained)}"
        if found == ours[1]:
            return None
        how = f"repeated {ours[1]} times, divided by {ours[1]}"
        if found > 1:
            how = "summed" if ours[1] == 1 else f"averaged, repeated {ours[1]} times, rescaled by {found}/{ours[1]}"
        return f"{found} input channels → {ours[1]}: {how}; not by name, since {self._obstacle(found)}"

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """Adapt a weight (out, in, *kernel)."""
        if self._by_name(weight.shape[1]):
            return weight[:, self.selected].clone()
        return weight.sum(1, keepdim=True).expand(-1, self.channels, *weight.shape[2:]) / self.channels

    def _by_name(self, found: int) -> bool:
        return self.selected is not None and found == len(self.pretrained)

    def _obstacle(self, found: int) -> str:
        named = len(self.pretrained) == found and len(self.present) == self.channels
        if not named or len(set(self.pretrained)) < found or len(set(self.present)) < self.channels:
            return "not all channels have a name"
        return f"{', '.join(self.present)} are not all among {', '.join(self.pretrained)}"
