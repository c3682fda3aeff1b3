"""Inflation of 2D residual networks to 3D."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.resnet import ResNetEncoder
from tools.utils.errors import InputError

#: tensors of the classification head, which are ignored
HEAD = ("fc.weight", "fc.bias")
#: counter of batch norm layers, which is missing in old files and not used in computations
OPTIONAL = "num_batches_tracked"


def inflate_resnet(
    weights: Mapping[str, torch.Tensor], encoder: Encoder
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Inflate the state dict of a 2D residual network to 3D (Carreira and Zisserman, CVPR 2017).

    Kernels are repeated along depth and divided by the number of repeats; other tensors are copied. For a stack of
    copies of an image, both networks have equal features in every slice. This holds without depth strides and with
    batch norm in evaluation mode. Slices near the ends differ because of zero padding (20 at either end for
    `resnet18`).

    If the number of input channels differs, the stem's weights are summed over channels and divided by the encoder's
    number of channels. An image with equal channels then has the same features.

    Args:
        weights: state dict with the names of torchvision's and MONAI's networks; the classification head is ignored.
        encoder: 3D `ResNetEncoder` that defines names, shapes and types; it is not changed.

    Returns:
        The state dict of the encoder, and by name how each tensor was changed, empty for copied tensors.

    Raises:
        InputError: if `encoder` is not a 3D `ResNetEncoder`, or the weights do not match.
    """
    if not isinstance(encoder, ResNetEncoder) or encoder.spatial_dims != 3:
        found = f"{type(encoder).__name__} with spatial_dims {encoder.spatial_dims}"
        raise InputError(f"encoder: expected a ResNetEncoder with spatial_dims 3 to inflate weights for, found {found}")
    state = encoder.state_dict()
    mismatches = [_mismatch(name, target, weights.get(name)) for name, target in state.items()]
    mismatches += [
        f"{name}: the encoder has no such tensor" for name in weights if name not in state and name not in HEAD
    ]
    mismatches = [mismatch for mismatch in mismatches if mismatch]
    if mismatches:
        listed = "; ".join(mismatches[:4]) + ("; …" if len(mismatches) > 4 else "")
        raise InputError(
            f"expected the weights of a 2D residual network for {_spell(encoder)}, found {len(mismatches)} of "
            f"{len(state)} tensors that do not fit ({listed}); choose the encoder and norm that they were trained "
            "with (torchvision's networks: batch)"
        )
    inflated = {name: _inflate(target, weights.get(name)) for name, target in state.items()}
    return {name: value for name, (value, _) in inflated.items()}, {name: note for name, (_, note) in inflated.items()}


def is_inflatable(weights: Mapping[str, torch.Tensor], encoder: Encoder) -> bool:
    """Check whether the weights belong to a 2D residual network and the encoder is 3D."""
    stem = weights.get("conv1.weight")
    return isinstance(encoder, ResNetEncoder) and encoder.spatial_dims == 3 and stem is not None and stem.ndim == 4


def _spell(encoder: Encoder) -> str:
    return ", ".join(f"{k} {v}" for k, v in encoder.arguments.items()) or type(encoder).__name__


def _mismatch(name: str, target: torch.Tensor, source: torch.Tensor | None) -> str:
    """Describe why a tensor cannot be inflated; empty if it can."""
    if source is None:
        return "" if name.endswith(OPTIONAL) else f"{name}: the file has no such tensor"
    expected = [*target.shape[:2], *target.shape[3:]]
    found = list(source.shape)
    if name == "conv1.weight":
        expected[1:2], found[1:2] = ["any"], ["any"] if source.ndim == 4 else found[1:2]
    return "" if found == expected else f"{name}: expected {expected}, found {list(source.shape)}"


def _inflate(target: torch.Tensor, source: torch.Tensor | None) -> tuple[torch.Tensor, str]:
    """Inflate a tensor; returns it and a note on the change."""
    if source is None:
        return torch.zeros_like(target), "the file has none: 0"
    source, notes = source.to(target.dtype), []
    if target.ndim < 5:
        return source, ""
    old, new, depth = source.shape[1], target.shape[1], target.shape[2]
    if old != new:
        source = source.sum(1, keepdim=True).expand(-1, new, -1, -1) / new
        notes.append(f"{old} input channels → {new}: summed" + (f", divided by {new}" if new > 1 else ""))
    notes.append(f"repeated {depth} times along depth, divided by {depth}" if depth > 1 else "given a depth of 1")
    return source.unsqueeze(2).expand_as(target) / depth, "; ".join(notes)
