"""Checks of the Model Zoo for every bundle, with the metadata schema if available."""

import hashlib
import json
import re

import pytest
import torch
from harness import BUNDLES, DETECTION, DOWNSTREAM, ROOT, config, read
from monai.bundle import ConfigParser, verify_metadata
from packaging.requirements import Requirement

from tools.release.checks import check_bundle

SCHEMA = ROOT.parent / "shared/schema/meta_schema_20240725.json"
SCHEMA_SHA256 = "cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678"


@pytest.fixture(params=BUNDLES)
def metadata(request):
    with open(config(request.param, "metadata")) as file:
        return json.load(file) | {"bundle": request.param}


def test_it_could_be_released(metadata):
    """The checks of `python -m tools.release` pass."""
    assert check_bundle(ROOT / "bundles" / metadata["bundle"]) == []
    assert metadata["schema"].endswith("/" + SCHEMA.name)


@pytest.mark.skipif(not SCHEMA.exists(), reason="the metadata schema is not beside the repository")
def test_the_real_schema_accepts_it(metadata, tmp_path):
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SCHEMA_SHA256
    path = tmp_path / "schema.json"  # an existing file is never downloaded
    path.write_bytes(SCHEMA.read_bytes())
    verify_metadata(
        meta_file=config(metadata["bundle"], "metadata"), filepath=str(path), hash_val=SCHEMA_SHA256, hash_type="sha256"
    )


def test_pinned_versions_are_within_the_requirements(metadata):
    """All requirements are pinned at accepted versions."""
    lines = (ROOT / "requirements.txt").read_text().split("# tests")[0].splitlines()
    fields = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    pins = metadata["required_packages_version"] | {name: metadata[field] for name, field in fields.items()}
    for needed in map(Requirement, filter(None, lines)):
        assert pins[needed.name] in needed.specifier, needed


def part(bundle, name):
    return ConfigParser(read(bundle, "inference")).get_parsed_content(name)


def shape(tensor, n):
    """Channels and edges of a tensor as declared: "16*n", "n" or a number."""
    steps = [(int(re.sub(r"\*?n$", "", str(edge)) or 1), str(edge).endswith("n")) for edge in tensor["spatial_shape"]]
    return [tensor["num_channels"], *(step * n if grows else step for step, grows in steps)]


@torch.no_grad()
def test_network_output_has_the_declared_shape(metadata):
    """MONAI's check only compares channels, and does not support lists of maps."""
    network, form = part(metadata["bundle"], "network_def").eval(), metadata["network_data_format"]
    prediction = network(torch.rand(1, *shape(form["inputs"]["image"], n=2)))
    first = prediction if isinstance(prediction, torch.Tensor) else prediction[0]
    assert list(first.shape[1:]) == shape(form["outputs"]["pred"], n=2)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("bundle", DOWNSTREAM)
def test_default_sizes_match_the_declared_shape(bundle):
    image = read(bundle, "metadata")["network_data_format"]["inputs"]["image"]
    key = "roi_size" if "roi_size" in read(bundle, "inference") else None
    sizes = part(bundle, key) if key else [part(bundle, "num_slices"), *[part(bundle, "image_size")] * 2]
    for size, step, edge in zip(sizes, shape(image, n=1)[1:], image["spatial_shape"], strict=True):
        assert size % step == 0 if str(edge).endswith("n") else size == step


@pytest.mark.parametrize("bundle", DETECTION)
def test_anchors_have_the_declared_shape(bundle):
    named = read(bundle, "metadata")["network_data_format"]["outputs"]["pred"]["channel_def"].values()
    top, left, bottom, right = (
        part(bundle, "box_selector").anchor_generator.cell_anchors[0].T
    )  # tensor's axes: rows first
    taller = torch.sign((bottom - top) - (right - left)).tolist()
    assert [name.split()[-1] for name in named] == [{1: "high", 0: "square", -1: "wide"}[sign] for sign in taller]
