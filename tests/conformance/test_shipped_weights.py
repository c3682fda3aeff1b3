"""Weights that a bundle includes: used at once, described, and not overwritten by training."""

import json

import pytest
from harness import BUNDLES, ROOT, Run, read, rows, run

from tools.release.contents import WEIGHTS
from tools.utils.files import file_sha256

SHIPPING = [bundle for bundle in BUNDLES if "weights" in read(bundle, "metadata")]
MEGABYTE = 1e6


@pytest.fixture(params=SHIPPING)
def shipping(request):
    return request.param


def files(bundle):
    folder = ROOT / "bundles" / bundle
    return {name: file_sha256(folder / name) for name in WEIGHTS}


def test_there_are_some():
    assert SHIPPING == ["hippocampus"]


def test_the_file_is_small_and_described(shipping):
    weights, card = (ROOT / "bundles" / shipping / name for name in WEIGHTS)
    assert weights.stat().st_size < 15 * MEGABYTE
    assert files(shipping)[WEIGHTS[0]] == read(shipping, "metadata")["weights"]["sha256"]
    assert str(ROOT) not in card.read_text()


def test_training_by_default_leaves_them(shipping, data, tmp_path):
    before = files(shipping)
    made = Run(shipping, tmp_path, data[shipping], epochs=1, steps_per_epoch=1)
    del made.settings["models_dir"]
    made.go()
    assert (made.output / "models/model.pt").exists()
    assert files(shipping) == before


def test_inference_segments_the_example_at_once(shipping, tmp_path):
    run(shipping, ["inference"], "inference", output_dir=str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*.nii.gz")] == ["hippocampus_165.nii.gz"]


def test_the_example_has_the_published_score(shipping, tmp_path):
    example = ROOT / "bundles" / shipping / "docs/example"
    settings = {"dataset_dir": str(example), "test_fraction": 1, "output_dir": str(tmp_path)}
    run(shipping, ["train", "evaluate"], "eval", **settings)
    (row,) = rows(tmp_path / "evaluation.csv")
    assert float(row["mean_dice"]) == pytest.approx(0.890, abs=0.001)


def test_no_test_case_was_used_for_training(shipping):
    split = json.loads((ROOT / "bundles" / shipping / "docs/split.json").read_text())
    card = json.loads((ROOT / "bundles" / shipping / WEIGHTS[1]).read_text())
    used = {case["case"] for case in card["cases"]}
    assert used == {*split["training"], *split["validation"]}
    assert not used & {*split["test"]}
