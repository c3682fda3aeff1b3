"""The examples of CONTRIBUTING.md work unchanged."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from data.readers import layouts
from harness import COMMON, CROPS, write_scans, write_segmentation
from monai.bundle import ConfigWorkflow

from tools.bundles.generate import generate
from tools.data import readers
from tools.release.metadata import metadata_problems

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
#: source by the path that its first line names
EXAMPLES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.S))


@pytest.fixture
def example(monkeypatch):
    """Function that imports an example under the name that its path gives it."""

    def load(path):
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        monkeypatch.setattr(import_module(parent), last, module, raising=False)
        exec(compile(EXAMPLES[path], path, "exec"), module.__dict__)
        return module

    return load


def write_bundle(bundle, folder):
    """Write the generated files of a bundle; return its folder."""
    for path, text in generate(bundle, ROOT).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder / "bundles" / bundle.name


def train(home, dataset_dir, **settings):
    """Run a bundle for one step; return the accuracy or Dice of its validation."""
    made = ConfigWorkflow(
        str(home / "configs/train.json"),
        meta_file=str(home / "configs/metadata.json"),
        logging_file=False,
        workflow_type="train",
        **{**COMMON, "epochs": 1, "steps_per_epoch": 1, "bundle_root": str(home), "dataset_dir": str(dataset_dir)},
        **settings,
    )
    made.initialize()
    made.run()
    return made.parser.get_parsed_content("validate#evaluator").state.metrics


def test_the_pretext_method_pretrains(example, tmp_path):
    task = example("tools/pretext/mirror/__init__.py").Mirror([8, 8, 8], seed=3)
    images = torch.randn(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    views, labels = task.make_batch({"image": images, "case": list("abcd")}, 1)
    for image, view, label in zip(images, views, labels, strict=True):
        assert view[0].equal(image.flip(1) if label else image)
    home = write_bundle(example("tools/bundles/collection/mirror3d.py").BUNDLE, tmp_path)
    metrics = train(home, write_scans(tmp_path / "scans"), roi_size=[16, 16, 16], val_steps=1)
    assert 0 <= metrics["accuracy"] <= 1
    assert (home / "models/model.pt").exists()


def test_the_reader_recognises_its_layout(example, tmp_path, monkeypatch):
    reader = example("tools/data/readers/ixi.py").Ixi
    names = [f"IXI{subject:03d}-HH-1211-{kind}.nii.gz" for subject in (2, 12) for kind in ("T1", "T2")]
    for name in [*names, "template.nii.gz"]:
        layouts.scan(tmp_path / name)
    monkeypatch.setattr(readers, "READERS", (reader, *readers.READERS))
    found = readers.find_reader(readers.Folder.open(tmp_path, "volumes"), reader.kind)
    cases = readers.finalise_cases(found.folder, found.cases())
    assert type(found) is reader
    assert [(case["image"], case["patient"]) for case in cases] == [(str(tmp_path / name), name[:6]) for name in names]
    assert "template.nii.gz" in found.folder.describe_ignored(cases)


def test_the_bundle_trains_and_is_not_released_without_scores(example, tmp_path):
    home = write_bundle(example("tools/bundles/collection/spleen.py").BUNDLE, tmp_path)
    metrics = train(home, write_segmentation("pancreas", tmp_path / "data"), **CROPS)
    assert 0 <= metrics["mean_dice"] <= 1
    assert (home / "models/model.pt").exists()
    (problem,) = metadata_problems(home)
    assert "eval_metrics" in problem


def test_every_example_is_run():
    """The sections name no example that the tests above leave out."""
    assert len(EXAMPLES) == TEXT.count("```python") == 4
