"""Renaming of state-dict keys of earlier versions and of MONAI's networks."""

from __future__ import annotations

import torch
from torch import nn

#: (old, new) prefixes: MONAI's and earlier segmentation networks have none; the projector was called ``embed``
PREFIXES = (("", "encoder."), ("", "decoder."), ("embed.", "projector."))


def rename_keys(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the keys of a state dict that exist in the network with exactly one new prefix.

    Args:
        network: network to load the state dict into.
        state: state dict of this or an earlier version, or of MONAI's network; other keys are not changed.
    """
    known = network.state_dict().keys()
    renamed = {}
    for key in state:
        names = [new + key.removeprefix(old) for old, new in PREFIXES if key.startswith(old)]
        found = [name for name in names if name in known]
        renamed[key] = found[0] if key not in known and len(found) == 1 and found[0] not in state else key
    return {renamed[key]: value for key, value in state.items()}
