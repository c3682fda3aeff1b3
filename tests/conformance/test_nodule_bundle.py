"""Properties of the nodule classification bundle."""

import json
import shutil

import numpy as np
import pytest
import torch
from harness import Run, rows, workflow
from matplotlib.image import imread
from test_bad_input import failure

BUNDLE = "lidc"


@pytest.fixture
def finished(runs):
    return runs(BUNDLE)


def one_epoch(folder, data, **overrides):
    return Run(BUNDLE, folder, data[BUNDLE], **{"epochs": 1, "steps_per_epoch": 1, **overrides})


def test_training_leaves_its_files(finished):
    table = rows(finished.output / "metrics.csv")
    assert {"train_loss", "val_loss", "val_auc", "val_threshold"} <= table[0].keys()
    for image in ("curves.png", "roc.png"):
        assert imread(finished.output / image).std() > 0.05
    selected = json.loads((finished.models / "model.json").read_text())["selected"]
    assert 0 <= selected["threshold"] <= 1
    best = max(table, key=lambda row: float(row["val_auc"]))
    assert selected["auc"] == pytest.approx(float(best["val_auc"]))


def test_no_patient_is_in_two_splits(finished):
    split = json.loads((finished.output / "split.json").read_text())
    patients = [{case.split("_")[0] for case in part} for part in split.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 14


def test_evaluation_uses_the_threshold_of_validation(finished, tmp_path):
    for name in ("a", "b"):
        finished.go(("train", "evaluate"), output_dir=str(tmp_path / name))
    assert (tmp_path / "a/evaluation.csv").read_text() == (tmp_path / "b/evaluation.csv").read_text()
    table = rows(tmp_path / "a/evaluation.csv")
    split = json.loads((finished.output / "split.json").read_text())
    assert sorted(row["case"] for row in table) == sorted(split["test"])
    result = json.loads((tmp_path / "a/evaluation.json").read_text())
    selected = json.loads((finished.models / "model.json").read_text())["selected"]
    assert result["threshold"] == selected["threshold"]
    message = np.array([row["prediction"] == "malignant" for row in table])
    truth = np.array([row["truth"] == "1" for row in table])
    assert result["scores"]["sensitivity"]["value"] == pytest.approx(message[truth].mean())
    assert result["scores"]["specificity"]["value"] == pytest.approx(1 - message[~truth].mean())
    assert imread(tmp_path / "a/evaluation.png").std() > 0.05


@pytest.mark.parametrize("single", [False, True])
def test_inference_of_a_folder_or_a_file(finished, data, tmp_path, single):
    source = data[BUNDLE] / "lidc3_1.npz" if single else data[BUNDLE]
    finished.infer(source, tmp_path)
    table = rows(tmp_path / "predictions.csv")
    assert sorted(row["case"] for row in table) == sorted(
        path.stem for path in ([source] if single else source.glob("*.npz"))
    )
    assert all(0 <= float(row["probability_malignant"]) <= 1 for row in table)
    assert imread(tmp_path / "predictions.png").std() > 0.05


def test_inference_and_evaluation_agree(finished, data, tmp_path):
    finished.go(("train", "evaluate"), output_dir=str(tmp_path))
    finished.infer(data[BUNDLE], tmp_path)
    predictions = {row["case"]: row for row in rows(tmp_path / "predictions.csv")}
    for row in rows(tmp_path / "evaluation.csv"):
        assert row["prediction"] == predictions[row["case"]]["prediction"]
        found = float(predictions[row["case"]]["probability_malignant"])
        assert float(row["probability_malignant"]) == pytest.approx(found, abs=2e-4)


@pytest.mark.parametrize(("source", "protocol"), [("cpc3d", "frozen"), ("vdt3d", "finetune")])
def test_pretrained_encoder_is_loaded(data, runs, tmp_path, caplog, protocol, source):
    """From a pretext task, or from photographs with other strides and the same weights."""
    encoder = runs(source).models / "model.pt"
    network = {"encoder": "resnet18", "norm": "batch"} if source == "vdt3d" else {}
    made = one_epoch(tmp_path, data, pretrained=str(encoder), protocol=protocol, **network)
    with caplog.at_level("INFO"):
        made.go()
    before, after = (torch.load(path, weights_only=True) for path in (encoder, made.models / "model.pt"))
    same = [torch.equal(after[f"encoder.{key}"], value) for key, value in before.items()]
    assert all(same) == (protocol == "frozen")
    assert "100" in caplog.text


def test_validation_requires_both_labels(data, tmp_path):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    table = (tmp_path / "set/nodules.csv").read_text()
    (tmp_path / "set/nodules.csv").write_text(table.replace(",5\n", ",1\n").replace(",4\n", ",2\n"))
    message = failure(Run(BUNDLE, tmp_path, tmp_path / "set", epochs=1, steps_per_epoch=1))
    assert "validation data: expected cases of both labels" in message


def test_paper_settings_can_be_built(data, tmp_path):
    folders = {"dataset_dir": str(data[BUNDLE]), "output_dir": str(tmp_path), "split_by": "patient"}
    network = workflow(BUNDLE, ["train", "paper"], **folders).parser.get_parsed_content("network")
    assert network.encoder.arguments["name"] == "resnet18"


def no_array(folder):
    np.savez(folder / "lidc3_1.npz", image=np.zeros((20, 20, 20)))


def nan(folder):
    voxels = np.full((20, 20, 20), 7.0)
    voxels[3, 4, 5] = np.nan
    np.savez(folder / "lidc3_1.npz", voxel=voxels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_array, "expected an array 'voxel', found image"),
        (nan, "NaN"),
        (lambda folder: (folder / "lidc3_1.npz").write_bytes(b"PK"), "expected a readable npz file"),
        (lambda folder: (folder / "lidc3_1.npz").unlink(), "1 missing: lidc3_1 (line 6)"),
    ],
)
def test_a_bad_nodule_is_named(data, tmp_path, change, message):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    change(tmp_path / "set")
    made = Run(BUNDLE, tmp_path, tmp_path / "set", test_fraction=0.1, val_fraction=0.1)
    said = failure(made)
    assert message in said
    assert "lidc3_1" in said
    assert not made.models.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"roi_size": [16, 16, 24]}, "expected three equal edges"),
        ({"split_by": "published"}, "expected one table with the columns train and test"),
        ({"split_by": "nodule"}, "split"),
        ({"batch_size": 1}, "batch_size: expected at least 2"),
    ],
)
def test_invalid_settings_are_named(data, tmp_path, overrides, message):
    assert message in failure(Run(BUNDLE, tmp_path, data[BUNDLE], **overrides))


def test_dry_run_lists_every_nodule(data, tmp_path, capsys):
    message = Run(BUNDLE, tmp_path, data[BUNDLE]).check(capsys)
    assert "lidc14_2" in message
    assert "one training step takes" in message
