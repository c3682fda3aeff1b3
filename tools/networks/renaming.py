"""Names of tensors in files of earlier versions and of stock networks."""

from __future__ import annotations

import torch
from torch import nn

#: former and present beginnings of names: segmentation networks had no prefixes, as MONAI's, and a projector was
#: called an embedding
PREFIXES = (("", "encoder."), ("", "decoder."), ("embed.", "projector."))


def rename_keys(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State dict with the network's names: a key that it lacks, and that it has under one new prefix, gets that.

    Args:
        network: network that the state dict is for.
        state: state dict of this version, of an earlier one, or of the stock network; other keys stay as they are.
    """
    known = network.state_dict().keys()
    renamed = {}
    for key in state:
        names = [new + key.removeprefix(old) for old, new in PREFIXES if key.startswith(old)]
        found = [name for name in names if name in known]
        renamed[key] = found[0] if key not in known and len(found) == 1 and found[0] not in state else key
    return {renamed[key]: value for key, value in state.items()}
