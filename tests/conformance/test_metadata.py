"""The metadata schema's constraints, always; the real schema, where it lies beside the repository."""

import hashlib
import json
import re
from importlib.metadata import version

import jsonschema
import pytest
from harness import BUNDLES, ROOT, config
from monai.bundle import verify_metadata

SCHEMA = ROOT.parent / "shared/schema/meta_schema_20240725.json"
SCHEMA_SHA256 = "cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678"

TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
#: what the schema of 2024-07-25 and the Model Zoo's checks ask, restated
RULES = {
    "type": "object",
    "required": [
        *["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"],
        *["task", "description", "authors", "copyright", "network_data_format", "changelog", "name"],
    ],
    "properties": {
        "version": {"pattern": r"^\d\.\d\.\d$"},
        "changelog": {"type": "object"},
        "required_packages_version": {"type": "object"},
        "supported_apps": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"required": ["image"], "additionalProperties": TENSOR},
                "outputs": {"required": ["pred"], "additionalProperties": TENSOR},
            },
        },
        **{
            key: {"type": "string"}
            for key in ("data_source", "data_type", "image_classes", "label_classes", "pred_classes", "intended_use")
        },
    },
}


@pytest.fixture(params=BUNDLES)
def metadata(request):
    with open(config(request.param, "metadata")) as file:
        return json.load(file) | {"bundle": request.param}


def test_constraints_hold(metadata):
    jsonschema.validate({k: v for k, v in metadata.items() if k != "bundle"}, RULES)
    assert metadata["schema"].endswith("/" + SCHEMA.name)
    assert metadata["version"] in metadata["changelog"]
    assert not re.search(r"_v", metadata["bundle"])


@pytest.mark.skipif(not SCHEMA.exists(), reason="the metadata schema is not beside the repository")
def test_the_real_schema_accepts_it(metadata, tmp_path):
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SCHEMA_SHA256
    path = tmp_path / "schema.json"  # an existing file is never downloaded
    path.write_bytes(SCHEMA.read_bytes())
    verify_metadata(
        meta_file=config(metadata["bundle"], "metadata"), filepath=str(path), hash_val=SCHEMA_SHA256, hash_type="sha256"
    )


def test_required_packages_cover_the_requirements(metadata):
    """Everything the bundle runs on is pinned, at versions the requirements accept."""
    lines = (ROOT / "requirements.txt").read_text().split("# tests")[0].splitlines()
    needed = {re.match(r"[\w-]+", line)[0] for line in lines if line}
    named = {"monai", "torch", "numpy"} | metadata["required_packages_version"].keys()
    assert needed <= named
    assert all(version(package) for package in named)
