"""Checks of ``metadata.json``: MONAI's schema of 2024-07-25, rules of the Model Zoo and of this collection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from tools.release.contents import read_metadata

FILE = "configs/metadata.json"
TENSOR = {
    "type": "object",
    "required": [
        *["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"]
    ],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "minProperties": 1},
    },
}
TEXTS = ["name", "task", "description", "authors", "copyright", "data_source", "data_type", "image_classes"]
VERSIONS = ["version", "monai_version", "pytorch_version", "numpy_version"]
#: schema of 2024-07-25 and checks of the Model Zoo; version parts are below 10, since MONAI sorts versions as text
RULES = {
    "type": "object",
    "required": [
        *["schema", "changelog", "required_packages_version", "network_data_format", "eval_metrics", "references"],
        *[*TEXTS, *VERSIONS, "intended_use"],
    ],
    "properties": {
        "schema": {"pattern": r"/meta_schema_\d{8}\.json$"},
        "changelog": {"type": "object"},
        "required_packages_version": {"type": "object", "additionalProperties": {"pattern": r"^[\w.+]+$"}},
        "supported_apps": {"type": "object"},
        "eval_metrics": {"type": "object", "minProperties": 2, "required": ["data"]},
        "references": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"required": ["image"], "additionalProperties": TENSOR},
                "outputs": {"required": ["pred"], "additionalProperties": TENSOR},
            },
        },
        **{key: {"type": "string", "minLength": 1} for key in (*TEXTS, *VERSIONS, "intended_use")},
        **{key: {"type": "string"} for key in ("label_classes", "pred_classes")},
        "version": {"type": "string", "pattern": r"^\d\.\d\.\d$"},
    },
}


def metadata_problems(bundle: Path) -> list[str]:
    """Return the problems of ``metadata.json``; none if it cannot be read, which another check reports."""
    metadata = read_metadata(bundle)
    if not metadata:
        return []
    problems = []
    for error in sorted(jsonschema.Draft201909Validator(RULES).iter_errors(metadata), key=lambda one: one.json_path):
        found = json.dumps(error.instance)
        key = FILE + error.json_path.replace("$", "", 1).replace(".", ": ", 1)
        problems.append(f"{key}: {error.message if len(found) < 200 else _short(error)}")
    return problems + ([] if problems else [*_channel_problems(metadata), *_metric_problems(bundle, metadata)])


def version_problems(bundle: Path) -> list[str]:
    """Check that the version is the newest one in the changelog."""
    metadata = read_metadata(bundle)
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(version, str) or not isinstance(changelog, dict):
        return []
    if version not in changelog:
        return [f"{FILE}: changelog: expected an entry for version {version}, found {', '.join(changelog) or 'none'}"]
    newest = max(changelog, key=_parts)
    if newest != version:
        return [f"{FILE}: version: expected the changelog's newest, {newest}, found {version}"]
    return []


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _short(error: jsonschema.ValidationError) -> str:
    """Return a short message for an error with a long instance."""
    lacking = (
        [key for key in error.validator_value if key not in error.instance] if error.validator == "required" else ""
    )
    return f"expected {', '.join(lacking)}" if lacking else f"expected {error.validator} {error.validator_value}"


def _channel_problems(metadata: dict[str, Any]) -> list[str]:
    """Check that all channels have names, except in latent outputs."""
    problems = []
    for side, tensors in metadata["network_data_format"].items():
        for name, form in tensors.items():
            named, channels = list(form["channel_def"]), form["num_channels"]
            if form["type"] != "latent" and named != [str(i) for i in range(channels)]:
                place = f"network_data_format.{side}.{name}.channel_def"
                problems.append(f"{place}: expected names of channels 0 to {channels - 1}, found {named}")
    return problems


def _metric_problems(bundle: Path, metadata: dict[str, Any]) -> list[str]:
    """Check that each value of ``eval_metrics`` is in the README's results, as a fraction or in percent.

    They are below the heading Results, or Performance as in the Zoo's template.
    """
    readme = bundle / "docs/README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    results = re.split(r"^## (?:Results|\*\*Performance\*\*)$", text, maxsplit=1, flags=re.MULTILINE)[-1]
    results = results if results != text else ""
    numbers = {float(number) for number in re.findall(r"(?<![\d.])\d+(?:\.\d+)?", results)}
    return [
        f"{FILE}: eval_metrics.{key}: expected a value of the results in docs/README.md, found {value:g}"
        for key, value in _numbers(metadata["eval_metrics"])
        if not {round(value, 6), round(100 * value, 6)} & numbers
    ]


def _numbers(content: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested dictionaries and lists with their keys."""
    if isinstance(content, dict):
        for name, one in content.items():
            yield from _numbers(one, f"{key}.{name}" if key else name)
    elif isinstance(content, list):
        for one in content:
            yield from _numbers(one, key)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield key, content
