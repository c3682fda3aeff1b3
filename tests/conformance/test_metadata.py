"""What the Model Zoo checks of every bundle; the real schema, where it lies beside the repository."""

import hashlib
import json

import pytest
from harness import BUNDLES, ROOT, config
from monai.bundle import verify_metadata
from packaging.requirements import Requirement

from tools.release import check_bundle

SCHEMA = ROOT.parent / "shared/schema/meta_schema_20240725.json"
SCHEMA_SHA256 = "cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678"


@pytest.fixture(params=BUNDLES)
def metadata(request):
    with open(config(request.param, "metadata")) as file:
        return json.load(file) | {"bundle": request.param}


def test_it_could_be_released(metadata):
    """What `python -m tools.release` asks of files, configurations, metadata, versions, packages and weights."""
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
    """Everything the requirements name is pinned, and at versions they accept."""
    lines = (ROOT / "requirements.txt").read_text().split("# tests")[0].splitlines()
    fields = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    pins = metadata["required_packages_version"] | {name: metadata[field] for name, field in fields.items()}
    for needed in map(Requirement, filter(None, lines)):
        assert pins[needed.name] in needed.specifier, needed
