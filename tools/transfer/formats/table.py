"""Table of the formats of published weights: how each is recognised, renamed and permuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.networks.encoders import Encoder
from tools.transfer.formats import nnunet
from tools.transfer.formats.checkpoint import Checkpoint


@dataclass(frozen=True)
class Format:
    """Format of published weights.

    Attributes:
        name: name for the report.
        recognise: whether a checkpoint has this format.
        rename: regular expressions and replacements that convert keys to the keys of the stock network.
        order: which axis of the file each axis x, y, z is.
        check: compares the checkpoint with an encoder; returns warnings, raises `InputError` if they do not go
            together.
        card: known entries of the pretraining's card.
    """

    name: str
    recognise: Callable[[Checkpoint], bool]
    rename: tuple[tuple[str, str], ...] = ()
    order: Callable[[Checkpoint], tuple[int, ...]] = lambda _: (0, 1, 2)
    check: Callable[[Checkpoint, Encoder], list[str]] = lambda *_: []
    card: Callable[[Checkpoint], dict[str, Any]] = lambda _: {}


def find_format(checkpoint: Checkpoint) -> Format:
    """Return the first format of the table that matches a checkpoint."""
    return next(one for one in FORMATS if one.recognise(checkpoint))


def _has(*parts: str) -> Callable[[Checkpoint], bool]:
    """Return whether each of some texts is part of a key of the state dict."""
    return lambda checkpoint: all(any(part in key for key in checkpoint.weights) for part in parts)


def _is_medicalnet(checkpoint: Checkpoint) -> bool:
    stem = checkpoint.weights.get("module.conv1.weight")
    blocks = "module.layer4.0.conv1.weight" in checkpoint.weights
    return checkpoint.container == "state_dict" and blocks and stem is not None and stem.shape[1:] == (1, 7, 7, 7)


def _check_medicalnet(checkpoint: Checkpoint, encoder: Encoder) -> list[str]:
    """Return the differences that tensors do not show."""
    warnings = ["MedicalNet's layer3 and layer4 are dilated by 2 and 4, here they have stride 2, with the same tensors"]
    stride = encoder.arguments.get("conv1_t_stride")
    if stride not in (None, 2):
        warnings.append(f"conv1_t_stride: MedicalNet was trained with 2, here {stride}")
    return warnings


#: name of the format without any container or other key names
BARE = "state dict"
_NNUNET = {"order": nnunet.axis_order, "check": nnunet.check_plan, "card": nnunet.plan_card}
#: mlp.fc1 of the first SwinUNETR, swin_vit of VoCo
_SWIN = ((r"\.mlp\.fc(\d)\.", r".mlp.linear\1."), (r"(^|\.)swin_vit\.", r"\1swinViT."))

#: formats, the most specific first
FORMATS = (
    Format("nnssl checkpoint", lambda checkpoint: nnunet.PLAN in checkpoint.content, **_NNUNET),
    Format("nnU-Net checkpoint", lambda checkpoint: checkpoint.container == "network_weights", **_NNUNET),
    Format("MedicalNet", _is_medicalnet, check=_check_medicalnet),
    Format("SwinUNETR pretraining (mlp.fc1, mlp.fc2)", _has("patch_embed.proj.weight", ".mlp.fc1."), _SWIN),
    Format("VoCo", _has("swin_vit.patch_embed.proj.weight"), _SWIN),
    Format("SuPreM", lambda checkpoint: checkpoint.container == "net" and _has(".backbone.")(checkpoint)),
    Format("Lightning checkpoint", lambda checkpoint: "pytorch-lightning_version" in checkpoint.content),
    Format("training checkpoint", lambda checkpoint: bool(checkpoint.container)),
    Format(BARE, lambda checkpoint: True),
)
