"""Export of trained weights: for nnU-Net, as a whole MONAI network, or in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tools.networks.encoders import Encoder, build_encoder
from tools.transfer.card import read_card
from tools.transfer.export import card_path, export_weights, write_weights
from tools.transfer.formats.checkpoint import read_checkpoint
from tools.transfer.formats.monai_export import build_stock, stock_config
from tools.transfer.formats.nnunet_export import nnssl_checkpoint
from tools.transfer.load import load_encoder
from tools.transfer.origin import format_origin
from tools.utils.errors import InputError, check_choice
from tools.utils.files import atomic_write
from tools.utils.memory import tensor_bytes


def export_for(to: str, model: str | Path, out: str | Path, out_channels: int | None = None) -> list[str]:
    """Write the encoder of ``model.pt`` in the format of another tool.

    Args:
        to: ``nnunet`` for a checkpoint that nnU-Net fine-tunes, ``monai`` for a state dict of BasicUNet, SegResNet,
            SegResNetDS or SwinUNETR, ``half`` for the same state dict in half precision, with half the size; both with
            a card next to them.
        model: ``model.pt`` of a run, with its card next to it.
        out: file to write, which must not exist.
        out_channels: output channels of the MONAI network, default 2; not changed for a trained segmentation network.

    Returns:
        Lines for the terminal: what was written, and how it is used.

    Raises:
        InputError: if the model has no card, the other tool cannot build the encoder, or the file exists.
    """
    check_choice(to, ("nnunet", "monai", "half"), "--to")
    model, out = Path(model), Path(out)
    card = read_card(model)
    if not card:
        raise InputError(f"{model}: expected a model with its card {card_path(model).name} beside it, found none")
    existing = next((path for path in (out, card_path(out)) if path.exists()), None)
    if existing is not None:
        raise InputError(f"--out: expected a new file, found {existing}; choose another name, or remove it")
    encoder = build_encoder(**card["encoder"]).eval()
    load_encoder(encoder, model)
    write = {"nnunet": _to_nnunet, "monai": _to_monai, "half": _to_half}[to]
    lines = write(encoder, card, model, out, out_channels)
    origin = card.get("origin")
    if origin:
        lines.append(f"started from {format_origin(origin)}; this licence applies to this file as well")
    return [f"{out}: {_facts(card)}", *lines]


def _to_nnunet(encoder: Encoder, card: dict[str, Any], model: Path, out: Path, out_channels: int | None) -> list[str]:
    if out_channels is not None:
        raise InputError("--out_channels: expected with --to monai only; nnU-Net takes them from the data set")
    metadata = model.parent.parent / "configs/metadata.json"  # of the bundle, unless models_dir is elsewhere
    references = json.loads(metadata.read_text(encoding="utf-8"))["references"] if metadata.is_file() else []
    content = nnssl_checkpoint(encoder, card, references)
    with atomic_write(out, tensor_bytes(content["network_weights"])) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)
    lines = [
        "axes of all kernels permuted from x, y, z to nnU-Net's z, y, x",
        f"nnUNetv2_preprocess_like_nnssl -d ID -n NAME -pc {out} -am like_pretrained, then nnUNetv2_train_pretrained",
        "nnU-Net normalises every channel by its z-score",
    ]
    if encoder.in_channels > 1:
        lines.append(f"nnU-Net takes this file for data with {encoder.in_channels} channels only")
    return lines


def _to_monai(encoder: Encoder, card: dict[str, Any], model: Path, out: Path, out_channels: int | None) -> list[str]:
    weights = read_checkpoint(model).weights
    names = {key: key.removeprefix("decoder.") for key in weights if not key.startswith("encoder.")}
    trained = {names[key]: weights[key] for key in names if key not in encoder.state_dict()}
    own = trained.get("final_conv.weight") if encoder.arguments.get("name") == "unet" else None
    if own is None:
        trained = {}
    elif out_channels not in (None, len(own)):
        raise InputError(f"--out_channels: expected {len(own)}, as this network has, found {out_channels}")
    config = stock_config(encoder, len(own) if own is not None else out_channels or 2)
    export_weights(build_stock(config, encoder, trained), out, {**card, "network": config})
    arguments = ", ".join(f"{key}={value!r}" for key, value in config.items() if key != "_target_")
    decoder = "encoder and decoder are trained" if trained else "the decoder has random weights"
    return [f"{config['_target_'].rpartition('.')[2]}({arguments})", decoder]


def _to_half(encoder: Encoder, card: dict[str, Any], model: Path, out: Path, out_channels: int | None) -> list[str]:
    if out_channels is not None:
        raise InputError("--out_channels: expected with --to monai only")
    weights = read_checkpoint(model).weights
    half = {key: weight.half() if weight.is_floating_point() else weight for key, weight in weights.items()}
    write_weights(half, out, card)
    return [f"half precision: {out.stat().st_size / model.stat().st_size:.0%} of {model}"]


def _facts(card: dict[str, Any]) -> str:
    keys = ("task", "channels", "orientation", "spacing", "roi_size", "intensity")
    return ", ".join(f"{key} {card[key]}" for key in keys if card.get(key) is not None)
