"""Properties of the grading bundle."""

import json
import shutil

import numpy as np
import pytest
import torch
from harness import Run, rows, workflow
from matplotlib.image import imread
from PIL import Image
from test_bad_input import failure

BUNDLE = "fundus"


@pytest.fixture
def graded(runs):
    return runs(BUNDLE)


def one_epoch(folder, data, **overrides):
    return Run(BUNDLE, folder, data[BUNDLE], epochs=1, steps_per_epoch=1, **overrides)


def test_training_leaves_its_files(graded):
    table = rows(graded.output / "metrics.csv")
    assert {"train_loss", "val_loss", "val_kappa", "val_accuracy"} <= table[0].keys()
    for image in ("curves.png", "confusion.png"):
        assert imread(graded.output / image).std() > 0.05


def test_the_split_is_by_patient_and_grade(graded):
    split = json.loads((graded.output / "split.json").read_text())
    patients = [{case.split("_")[0] for case in part} for part in split.values()]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 10
    assert all(case.replace("left", "right") in part for part in split.values() for case in part)


def test_evaluation_scores_every_test_image_and_is_reproducible(graded, tmp_path):
    for name in ("a", "b"):
        graded.go(("train", "evaluate"), output_dir=str(tmp_path / name))
    assert (tmp_path / "a/evaluation.csv").read_text() == (tmp_path / "b/evaluation.csv").read_text()
    split = json.loads((graded.output / "split.json").read_text())
    table = rows(tmp_path / "a/evaluation.csv")
    assert sorted(row["case"] for row in table) == sorted(split["test"])
    assert all(row["case"].split("_")[0] == row["patient"] for row in table)
    scores = json.loads((tmp_path / "a/evaluation.json").read_text())["scores"]
    right = np.mean([row["truth"] == row["grade"] for row in table])
    assert scores["accuracy"]["value"] == pytest.approx(right)
    assert imread(tmp_path / "a/evaluation.png").std() > 0.05


def test_inference_grades_every_image_of_a_folder(graded, data, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in sorted(data[BUNDLE].glob("[0-2]_*.png")):
        shutil.copy(path, photographs)
    graded.infer(photographs, tmp_path / "found")
    table = rows(tmp_path / "found/grades.csv")
    assert [row["case"] for row in table] == sorted(path.stem for path in photographs.iterdir())
    for row in table:
        chances = [float(row[f"probability_{grade}"]) for grade in range(5)]
        assert sum(chances) == pytest.approx(1, abs=1e-3)
        assert float(row["referable"]) == pytest.approx(sum(chances[2:]), abs=1e-3)
        assert imread(tmp_path / f"found/{row['case']}.png").std() > 0.05


@pytest.mark.parametrize("protocol", ["finetune", "freeze_then_finetune", "frozen", "linear"])
def test_pretrained_encoder_is_loaded(data, runs, tmp_path, protocol):
    encoder = runs("rotation2d").models / "model.pt"
    made = one_epoch(tmp_path, data, pretrained=str(encoder), protocol=protocol)
    made.go()
    before, after = (torch.load(path, weights_only=True) for path in (encoder, made.models / "model.pt"))
    assert all(torch.equal(after[f"encoder.{key}"], value) for key, value in before.items()) == (protocol != "finetune")


@pytest.mark.parametrize("encoder", ["densenet121", "resnet18"])
def test_other_encoders_grade_too(data, tmp_path, encoder):
    made = one_epoch(tmp_path, data, encoder=encoder, local_contrast=True, class_weighting=False)
    made.go()
    assert json.loads((made.models / "model.json").read_text())["encoder"]["name"] == encoder
    assert all(weights.isfinite().all() for weights in made.weights().values())
    assert -1 <= float(rows(made.output / "metrics.csv")[-1]["val_kappa"]) <= 1


def test_pretraining_image_in_the_test_set_is_refused(data, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in data[BUNDLE].glob("*.png"):
        Image.open(path).save(photographs / f"renamed_{path.stem}.bmp")
    made = Run("rotation2d", tmp_path / "pretext", photographs, epochs=1, steps_per_epoch=1)
    made.go()
    message = failure(one_epoch(tmp_path / "downstream", data, pretrained=str(made.models / "model.pt")))
    assert "expected test cases that were not used for pretraining" in message
    assert "pretrained on as renamed_" in message


def test_evaluation_refuses_training_images(graded, tmp_path):
    message = failure(graded, ("train", "evaluate"), output_dir=str(tmp_path), test_fraction=1.0)
    assert "expected unseen test cases" in message


def test_dropout_is_resumed_and_encoders_are_compared_by_content(data, runs, tmp_path):
    """A run stopped after epoch 1 of 2 and resumed has the same weights, even if the encoder's file was moved."""
    encoder = tmp_path / "encoder.pt"
    shutil.copy(runs("rotation2d").models / "model.pt", encoder)
    settings = {"head_channels": [8], "head_dropout": 0.5, "pretrained": str(encoder)}
    whole, again = (Run(BUNDLE, tmp_path / name, data[BUNDLE], **settings) for name in ("whole", "again"))
    whole.go()
    again.go(**{"train#trainer#max_epochs": 1})
    moved = encoder.rename(tmp_path / "moved.pt")
    again.go(resume=True, pretrained=str(moved))
    after = again.weights()
    assert all(torch.equal(value, after[key]) for key, value in whole.weights().items())
    shutil.copy(runs("rpl2d").models / "model.pt", moved)
    assert failure(again, resume=True, pretrained=str(moved)).startswith("pretrained: ")


def test_duplicate_photograph_gives_a_warning(data, tmp_path, capsys):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    for patient in range(1, 10):  # whichever validates
        shutil.copy(tmp_path / "set/0_left.png", tmp_path / f"set/{patient}_left.png")
    Run(BUNDLE, tmp_path, tmp_path / "set", epochs=1, steps_per_epoch=1).go()
    assert "validation cases are duplicates of training cases" in capsys.readouterr().out


def test_folds_test_different_images(data, tmp_path):
    tested = []
    for fold in (0, 1):
        made = workflow(BUNDLE, ["train"], **one_epoch(tmp_path / str(fold), data, fold=fold).settings)
        tested.append({case["case"] for case in made.parser.get_parsed_content("split")["test"]})
    assert not tested[0] & tested[1]


def test_paper_settings_can_be_built(data, tmp_path):
    made = workflow(BUNDLE, ["train", "paper"], dataset_dir=str(data[BUNDLE]), output_dir=str(tmp_path))
    network = made.parser.get_parsed_content("network")
    assert network.encoder.arguments["name"] == "densenet121"


def black(folder):
    Image.new("RGB", (80, 64)).save(folder / "3_left.png")


def grey(folder):
    Image.open(folder / "3_left.png").convert("L").save(folder / "3_left.png")


def cut_short(folder):
    content = (folder / "3_left.png").read_bytes()
    (folder / "3_left.png").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (black, "3_left.png: expected a photograph of the retina"),
        (grey, "3_left.png: expected 3 channel(s), found 1"),
        (cut_short, "3_left.png: expected a readable image"),
        (lambda folder: (folder / "3_left.png").unlink(), "found 1 missing: 3_left (line"),
        (lambda folder: (folder / "trainLabels.csv").unlink(), "found no CSV file"),
    ],
)
def test_bad_image_is_named(data, tmp_path, change, message):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    change(tmp_path / "set")
    made = Run(BUNDLE, tmp_path, tmp_path / "set", test_fraction=0.1, val_fraction=0.1)
    assert message in failure(made)
    assert not made.models.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"roi_size": [32, 48]}, "expected two equal edges"),
        ({"label_column": "level"}, "expected both or none"),
        ({"image_column": "image", "label_column": "stage"}, "expected one table"),
        ({"fold": 7}, "fold: expected 0 to 4"),
        ({"protocol": "linear"}, "expected an encoder"),
    ],
)
def test_invalid_settings_are_named(data, tmp_path, overrides, message):
    assert message in failure(Run(BUNDLE, tmp_path, data[BUNDLE], **overrides))


def test_dry_run_lists_every_image(data, tmp_path, capsys):
    message = Run(BUNDLE, tmp_path, data[BUNDLE]).check(capsys)
    assert "9_right" in message
    assert "one training step takes" in message
