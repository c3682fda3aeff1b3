"""Adaptation of pretrained weights to other input channels, by channel name or by averaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class ChannelAdaptation:
    """Adaptation of the first convolution to other input channels.

    If the names of all channels are known and the new channels are a subset of the pretrained ones, channels are
    selected by name. Otherwise the weights are summed over the pretrained channels and divided evenly among the new
    ones.

    Args:
        card: card of the weights with channel names under ``channels``, or None.
        expected: entries of the card for the new data.
        channels: number of input channels of the new encoder.

    Attributes:
        selected: index of each new channel in the pretrained ones; None if channels cannot be selected by name.
    """

    def __init__(self, card: Mapping[str, Any] | None, expected: Mapping[str, Any] | None, channels: int) -> None:
        self.channels = channels
        self.pretrained = [str(name) for name in (card or {}).get("channels") or []]
        self.present = [str(name) for name in (expected or {}).get("channels") or []]
        theirs, ours = ([name.casefold() for name in names] for names in (self.pretrained, self.present))
        known = len(ours) == channels and all(len(set(names)) == len(names) > 0 for names in (theirs, ours))
        self.selected = [theirs.index(name) for name in ours] if known and set(ours) <= set(theirs) else None

    def note(self, theirs: Sequence[int], ours: Sequence[int]) -> str | None:
        """Describe the adaptation of a weight from the file's shape to the encoder's shape; None if unchanged."""
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
