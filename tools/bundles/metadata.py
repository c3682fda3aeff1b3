"""Shared entries of ``metadata.json`` (MONAI schema of 2024-07-25)."""

from __future__ import annotations

from typing import Any

from tools.bundles.config import Config

SHARED: Config = {
    "schema": "https://project-monai.github.io/schema/meta_schema_20240725.json",
    "version": "0.1.0",
    "changelog": {"0.1.0": "first version"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "required_packages_version": {
        "nibabel": "5.4.2",
        "pytorch-ignite": "0.5.5",
        "pydicom": "3.0.2",
        "pynrrd": "1.1.3",
        "fire": "0.7.1",
        "tqdm": "4.70.1",
        "matplotlib": "3.11.2",
        "tensorboard": "2.21.0",
        "pillow": "13.0.0",
        "scipy": "1.17.1",
    },
    "supported_apps": {},
    "authors": "The authors of this collection",
    "copyright": "Copyright (c) the authors of this collection",
}


def fill_metadata(own: Config) -> Config:
    """Return the metadata of a bundle: the shared entries and its own."""
    return SHARED | own


def tensor(
    kind: str,
    shape: list[Any],
    channels: list[str],
    value_range: tuple[float, ...] = (),
    is_patch: bool = True,
    **more: Any,
) -> Config:
    """Return the description of a tensor in ``network_data_format``.

    Args:
        kind: ``type/format``, such as ``image/magnitude``.
        shape: spatial shape; a string such as ``16*n`` for a multiple.
        channels: meaning of each channel.
        value_range: minimum and maximum, if known.
        is_patch: whether the tensor is a part of an image.
        more: further entries, such as the modality, or a different number of channels.
    """
    type_, format_ = kind.split("/")
    return {
        "type": type_,
        "format": format_,
        "num_channels": len(channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": list(value_range),
        "is_patch_data": is_patch,
        "channel_def": {str(i): name for i, name in enumerate(channels)},
        **more,
    }
