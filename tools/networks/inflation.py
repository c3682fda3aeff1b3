"""A network for pictures turned into one for volumes that sees the same in each slice of a stack of copies."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tools.networks.encoders.encoder import Encoder
from tools.networks.encoders.resnet import ResNetEncoder
from tools.utils.errors import InputError

#: tensors of a picture network that an encoder has no use for
HEAD = ("fc.weight", "fc.bias")
#: a counter that old files lack, and nothing is computed with
ABSENT = "num_batches_tracked"


def inflate_resnet(
    weights: Mapping[str, torch.Tensor], encoder: Encoder
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Make a 3D residual network's state dict from that of a 2D one (Carreira & Zisserman, CVPR 2017).

    Kernels are repeated along depth and divided by the number of repeats; the rest is taken as it is. On a stack of
    copies of one picture, the 3D network with batch norm in evaluation mode and without depth strides answers as the 2D
    one does in every slice whose receptive field is inside the stack: zeros are padded beyond, so those near its ends
    differ (20 at either end for `resnet18`).

    The stem's input channels are summed and spread evenly over the encoder's, so that an image whose channels are all
    alike gives the same response; the mean would answer a grey picture with a third.

    Args:
        weights: state dict with the names of torchvision's and MONAI's networks; the head in it is passed over.
        encoder: a 3D `ResNetEncoder`; gives names, shapes and types, and is not changed.

    Returns:
        The encoder's state dict, and how each tensor was made, empty where it is as given.

    Raises:
        InputError: another encoder, or weights that do not fit it.
    """
    if not isinstance(encoder, ResNetEncoder) or encoder.spatial_dims != 3:
        found = f"{type(encoder).__name__} with spatial_dims {encoder.spatial_dims}"
        raise InputError(f"encoder: expected a ResNetEncoder with spatial_dims 3 to inflate weights for, found {found}")
    state = encoder.state_dict()
    misfits = [_misfit(name, target, weights.get(name)) for name, target in state.items()]
    misfits += [f"{name}: the encoder has no such tensor" for name in weights if name not in state and name not in HEAD]
    misfits = [misfit for misfit in misfits if misfit]
    if misfits:
        listed = "; ".join(misfits[:4]) + ("; …" if len(misfits) > 4 else "")
        raise InputError(
            f"expected the weights of a 2D residual network for {_spell(encoder)}, found {len(misfits)} of "
            f"{len(state)} tensors that do not fit ({listed}); give the encoder the name and norm they "
            "were trained with (torchvision's networks: batch)"
        )
    made = {name: _make(target, weights.get(name)) for name, target in state.items()}
    return {name: value for name, (value, _) in made.items()}, {name: note for name, (_, note) in made.items()}


def is_inflatable(weights: Mapping[str, torch.Tensor], encoder: Encoder) -> bool:
    """Say whether these are the weights of a 2D residual network, and the encoder is a 3D one."""
    stem = weights.get("conv1.weight")
    return isinstance(encoder, ResNetEncoder) and encoder.spatial_dims == 3 and stem is not None and stem.ndim == 4


def _spell(encoder: Encoder) -> str:
    return ", ".join(f"{k} {v}" for k, v in encoder.arguments.items()) or type(encoder).__name__


def _misfit(name: str, target: torch.Tensor, source: torch.Tensor | None) -> str:
    """Say what keeps a tensor from being made, or nothing."""
    if source is None:
        return "" if name.endswith(ABSENT) else f"{name}: the file has no such tensor"
    expected = [*target.shape[:2], *target.shape[3:]]
    found = list(source.shape)
    if name == "conv1.weight":
        expected[1:2], found[1:2] = ["any"], ["any"] if source.ndim == 4 else found[1:2]
    return "" if found == expected else f"{name}: expected {expected}, found {list(source.shape)}"


def _make(target: torch.Tensor, source: torch.Tensor | None) -> tuple[torch.Tensor, str]:
    """Make a tensor, and say how."""
    if source is None:
        return torch.zeros_like(target), "the file has none: 0"
    source, notes = source.to(target.dtype), []
    if target.ndim < 5:
        return source, ""
    theirs, ours, depth = source.shape[1], target.shape[1], target.shape[2]
    if theirs != ours:
        source = source.sum(1, keepdim=True).expand(-1, ours, -1, -1) / ours
        notes.append(f"{theirs} input channels → {ours}: summed" + (f", divided by {ours}" if ours > 1 else ""))
    notes.append(f"repeated {depth} times along depth, divided by {depth}" if depth > 1 else "given a depth of 1")
    return source.unsqueeze(2).expand_as(target) / depth, "; ".join(notes)
