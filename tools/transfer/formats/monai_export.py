"""Export of an encoder or a trained network as the state dict of a whole MONAI network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.bundle import ConfigComponent
from torch import nn

from tools.networks.encoders import Encoder
from tools.networks.norms import parse_norm
from tools.utils.errors import InputError

NETS = "monai.networks.nets"
#: prefix of the encoder's keys in the stock network
PREFIXES = {"unet": "", "segresnet": "", "segresnet_ds": "encoder.", "swin": "swinViT."}


def stock_config(encoder: Encoder, out_channels: int) -> dict[str, Any]:
    """Return the configuration of the MONAI network whose encoder this is.

    Args:
        encoder: encoder ``unet``, ``segresnet``, ``segresnet_ds`` or ``swin``.
        out_channels: channels of the network's output.

    Raises:
        InputError: if the encoder is not supported, or the stock network lacks its options.
    """
    options = dict(encoder.arguments)
    name = options.get("name", type(encoder).__name__)
    if name not in PREFIXES or not options.get("depth_stride", True) or options.get("round_up"):
        found = f"{name} that rounds up or keeps all slices" if name in PREFIXES else name
        raise InputError(
            f"--to monai: expected an encoder of a MONAI network, {', '.join(PREFIXES)}, found {found}; pretrain "
            "with one of these, or load model.pt with tools.transfer.load_encoder"
        )
    shared = {"spatial_dims": encoder.spatial_dims, "in_channels": encoder.in_channels, "out_channels": out_channels}
    if name == "swin":
        sizes = {key: options[key] for key in ("feature_size", "depths", "num_heads", "window_size", "use_v2")}
        return {"_target_": f"{NETS}.SwinUNETR", **shared, **sizes}
    norm = list(parse_norm(options["norm"]))
    if name == "unet":
        features = [*options["features"], options["features"][0]]
        return {
            "_target_": f"{NETS}.BasicUNet",
            **shared,
            "features": features,
            "norm": norm,
            "dropout": options["dropout"],
        }
    sizes = {key: options[key] for key in ("init_filters", "blocks_down")}
    if name == "segresnet_ds":
        return {"_target_": f"{NETS}.SegResNetDS", **shared, **sizes, "norm": norm}
    up = [1] * (len(options["blocks_down"]) - 1)
    return {"_target_": f"{NETS}.SegResNet", **shared, **sizes, "blocks_up": up, "norm": norm}


def build_stock(config: Mapping[str, Any], encoder: Encoder, decoder: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build a MONAI network with the weights of an encoder and, if available, a decoder.

    Args:
        config: configuration from `stock_config`.
        encoder: encoder.
        decoder: further weights with the stock network's keys; without them the decoder keeps its random weights.

    Raises:
        InputError: if the network lacks one of these weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ConfigComponent(config=dict(config)).instantiate()
    prefix = PREFIXES[encoder.arguments["name"]]
    weights = {**{prefix + key: value for key, value in encoder.state_dict().items()}, **decoder}
    state = network.state_dict()
    wrong = [key for key, value in weights.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise InputError(
            f"--to monai: expected the weights of {config['_target_']}, found {len(wrong)} that do not fit, first "
            f"{wrong[0]}"
        )
    network.load_state_dict({**state, **weights})
    return network
