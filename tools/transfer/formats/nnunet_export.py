"""Export of an encoder as an nnssl checkpoint, which nnU-Net fine-tunes.

Written from the format that ``nnUNetv2_preprocess_like_nnssl`` and ``PretrainedTrainer`` of nnU-Net's main branch read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tools.networks.encoders import Encoder
from tools.networks.encoders.resenc import PRESET
from tools.transfer.card import equal_entries
from tools.transfer.formats.nnunet import PLAN, PRESET_NAMES, RESENC, resenc_sizes
from tools.utils.errors import InputError

IN_PROJECTION = ("encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0")  # names of the same tensor


def nnssl_checkpoint(encoder: Encoder, card: Mapping[str, Any], references: list[str]) -> dict[str, Any]:
    """Return the content of an nnssl checkpoint: weights with the axes (z, y, x), plan, citations, licence and card.

    Args:
        encoder: encoder ``resenc`` in 3D.
        card: its card.
        references: papers of the pretraining method.

    Raises:
        InputError: if nnU-Net cannot build the encoder.
    """
    arguments = encoder.arguments
    if arguments.get("name") != "resenc" or encoder.spatial_dims != 3 or not arguments.get("depth_stride", True):
        name = arguments.get("name", type(encoder).__name__)
        raise InputError(
            f"--to nnunet: expected an encoder that nnU-Net can build, a 3D resenc, found {name} with spatial_dims "
            f"{encoder.spatial_dims}; pretrain with --encoder resenc_l, or export with --to monai"
        )
    origin = card.get("origin") or {}
    own = {"type": "Pretraining", "name": str(card.get("task", "")), "apa_citations": references}
    content = {
        "network_weights": _permuted(encoder),
        PLAN: _adaptation_plan(encoder, card),
        "citations": [*origin.get("citations", []), *([own] if references else [])],
        "card": dict(card),
    }
    return content | ({"license": origin["license"]} if "license" in origin else {})


def _permuted(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Return the state dict of the network's encoder with permuted kernels; tensors with two names are stored once."""
    made: dict[int, torch.Tensor] = {}
    weights = {}
    for key, value in encoder.state_dict().items():
        if value.data_ptr() not in made:
            made[value.data_ptr()] = (value.permute(0, 1, 4, 3, 2) if value.ndim == 5 else value).contiguous()
        weights[f"encoder.{key}"] = made[value.data_ptr()]
    return weights


def _adaptation_plan(encoder: Encoder, card: Mapping[str, Any]) -> dict[str, Any]:
    sizes = resenc_sizes(encoder.arguments)
    preset = sizes == resenc_sizes({"name": "resenc", "spatial_dims": 3, **PRESET})
    kwargs = None if preset else _arch_kwargs(sizes)
    patch_size = _patch_size(encoder, card)
    return {
        "architecture_plans": {
            "arch_class_name": PRESET_NAMES[0]
            if preset
            else f"dynamic_network_architectures.architectures.unet.{RESENC}",
            "arch_kwargs": kwargs,
            "arch_kwargs_requiring_import": None if preset else ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "pretrain_plan": _pretrain_plan(card, patch_size),
        "pretrain_num_input_channels": encoder.in_channels,
        "recommended_downstream_patchsize": patch_size,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": list(IN_PROJECTION),
        "key_to_lpe": None,
    }


def _arch_kwargs(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of ``ResidualEncoderUNet``; classes by their names."""
    return {
        "n_stages": len(sizes["features"]),
        "features_per_stage": sizes["features"],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [edges[::-1] for edges in sizes["kernel_sizes"]],
        "strides": [step[::-1] for step in sizes["strides"]],
        "n_blocks_per_stage": sizes["blocks"],
        "n_conv_per_stage_decoder": [1] * (len(sizes["features"]) - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _pretrain_plan(card: Mapping[str, Any], patch_size: list[int]) -> dict[str, Any]:
    """Return the plan of the pretraining with all entries that nnssl itself reads."""
    spacing = card.get("spacing")
    millimetres = (
        None if spacing is None else [float(s) for s in ([spacing] * 3 if _is_number(spacing) else spacing)][::-1]
    )
    style = "noresample" if spacing is None else "onemmiso" if equal_entries("spacing", spacing, 1) else "median"
    window = (card.get("intensity") or {}).get("hu_window") if isinstance(card.get("intensity"), Mapping) else None
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"{card.get('task', 'pretraining')}_{style}",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing_style": style,
        "normalization_schemes": [
            "ZScoreNormalization" if window is None else f"window of {window[0]} to {window[1]} HU"
            for _ in card.get("channels") or ["image"]
        ],
        "use_mask_for_norm": False,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_mask": "resample_data_or_seg_to_shape",
        "resampling_fn_mask_kwargs": {**resampling, "order": 1},
        "spacing": millimetres,
        "patch_size": patch_size,
    }
    return {
        "dataset_name": str(card.get("task", "pretraining")),
        "plans_name": "pretraining",
        "original_median_spacing_after_transp": millimetres or [1.0, 1.0, 1.0],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {style: configuration},
        "experiment_planner_used": "none",
    }


def _patch_size(encoder: Encoder, card: Mapping[str, Any]) -> list[int]:
    """Crop size of the pretraining along z, y, x, rounded up to a size that nnU-Net's decoder accepts."""
    roi = card.get("roi_size") or encoder.min_size
    edges = [max(edge, least) for edge, least in zip(roi, encoder.min_size, strict=True)]
    return [-(-edge // stride) * stride for edge, stride in zip(edges, encoder.strides[-1], strict=True)][::-1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
