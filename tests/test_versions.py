"""Versions in the README, the requirements, the metadata and the workflow agree."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
REQUIREMENTS = {
    one.name: one.specifier
    for one in map(Requirement, (line.partition(" #")[0] for line in LINES if line[:1].isalpha()))
}
FIELDS = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}


def test_the_oldest_python_is_the_same_everywhere():
    readme = re.search(r"Python ≥ 3\.(\d+)", (ROOT / "README.md").read_text(encoding="utf-8"))[1]
    target = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["target-version"]
    workflow = (ROOT / ".github/workflows/versions.yml").read_text(encoding="utf-8")
    assert target == f"py3{readme}"
    assert f'{{versions: lowest, python: "3.{readme}"}}' in workflow


@pytest.mark.parametrize("path", sorted(ROOT.glob("bundles/*/configs/metadata.json")), ids=lambda p: p.parts[-3])
def test_pins_of_bundles_are_within_the_requirements(path):
    metadata = json.loads(path.read_text(encoding="utf-8"))
    pins = {FIELDS[key]: metadata[key] for key in FIELDS} | metadata["required_packages_version"]
    assert {name: pin for name, pin in pins.items() if pin not in REQUIREMENTS[name]} == {}


def test_incompatible_versions_are_excluded():
    for name, broken in (("pytorch-ignite", "0.5.0.post2"), ("tensorboard", "2.16.0"), ("scipy", "1.11.0")):
        assert broken not in REQUIREMENTS[name]
