"""Runs whose spacing and crop size are planned."""

import json

import pytest
from harness import Run, run

from tools.transfer.card import read_card
from tools.utils.errors import find_input_error

AUTO = {"spacing": "auto", "roi_size": "auto", "gpu_memory_target": 0.08, "epochs": 1, "steps_per_epoch": 1}


def plan_of(made):
    return json.loads((made.output / "plan.json").read_text())


def recorded(made):
    card = read_card(made.models / "model.pt")
    return {key: card[key] for key in ("spacing", "roi_size")}


def test_pretraining_records_the_plan_in_the_card(data, tmp_path):
    made = Run("mae3d", tmp_path, data["scans"], **AUTO)
    made.go()
    planned = plan_of(made)
    assert recorded(made) == {key: planned[key] for key in ("spacing", "roi_size")}
    assert planned["spacing"] == 2.0
    for key in ("spacing", "roi_size"):
        del made.settings[key]
    made.go(("train", "evaluate"))
    assert (made.output / "evaluation.json").exists()


def test_segmentation_evaluates_and_infers_with_the_card_of_a_planned_run(data, tmp_path):
    made = Run("pancreas", tmp_path, data["pancreas"], **AUTO)
    made.go()
    assert recorded(made)["roi_size"] == plan_of(made)["roi_size"]
    for key in ("spacing", "roi_size"):
        del made.settings[key]
    made.go(("train", "evaluate"))
    places = {"models_dir": str(made.models), "dataset_dir": str(data["pancreas"])}
    run("pancreas", ["inference"], "inference", output_dir=str(tmp_path / "found"), **places)
    assert len(list((tmp_path / "found/imagesTr").glob("*.nii.gz"))) == 7


@pytest.mark.parametrize("bundle", ["rotation3d", "brats"])
def test_a_plan_is_printed_without_training(bundle, data, tmp_path, capsys):
    made = Run(bundle, tmp_path, data["brats" if bundle == "brats" else "scans"], plan=True, gpu_memory_target=0.1)
    with pytest.raises(SystemExit) as end:
        made.go()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "plan for encoder unet:" in out
    assert sorted(path.name for path in made.output.iterdir()) == ["plan.json"]
    assert not made.models.exists()


def test_slices_have_no_plan(data, tmp_path):
    made = Run("pancreas", tmp_path, data["pancreas"], plan=True, slice_axis=2)
    with pytest.raises(RuntimeError) as caught:
        made.go(("train", "slices"), roi_size=[32, 32])
    assert "plan: expected slice_axis None" in str(find_input_error(caught.value))
