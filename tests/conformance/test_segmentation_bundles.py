"""Properties of every segmentation bundle. A new one is one line of TINY in harness.py."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from harness import SEGMENTATION, Run, data_kind, read, run, workflow
from matplotlib.image import imread
from monai.networks.nets import BasicUNet
from test_bad_input import failure

from tools.data.cases import find_labelled_cases
from tools.networks.decoders import build_segmenter
from tools.networks.encoders import build_encoder
from tools.segmentation.labels import SoftmaxLabels, build_brats_labels
from tools.transfer.export import export_weights
from tools.utils.errors import find_input_error

SLICES = {"slice_axis": 2, "roi_size": [32, 32], "batch_size": 2}


@pytest.fixture(params=SEGMENTATION)
def bundle(request):
    return request.param


@pytest.fixture
def encoder(runs):
    """A pretrained 3D encoder."""
    return str(runs("cpc3d").models / "model.pt")


def one_epoch(bundle, folder, data, **overrides):
    return Run(bundle, folder, data[data_kind(bundle)], epochs=1, steps_per_epoch=1, **overrides)


def weights(path):
    return torch.load(path, weights_only=True)


def read_card_of(made):
    return json.loads((made.models / "model.json").read_text())


def labels(bundle):
    """Default stored values of the labels."""
    return workflow(bundle, ["inference"], "inference", models_dir="nowhere").parser.get_parsed_content("labels")


def test_training_leaves_its_files(segmented):
    with open(segmented.output / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert {"train_loss", "val_loss", "val_mean_dice", "learning_rate"} <= rows[0].keys()
    for image in ("curves.png", "cases.png"):
        assert imread(segmented.output / image).std() > 0.05


def test_card_records_the_training(segmented):
    message = read_card_of(segmented)
    split = json.loads((segmented.output / "split.json").read_text())
    for part in ("training", "validation"):
        assert sorted(case["case"] for case in message["cases"] if case["split"] == part) == sorted(split[part])
    assert not {case["case"] for case in message["cases"]} & set(split["test"])
    assert message["labels"] == labels(segmented.bundle)
    assert message["protocol"] == "scratch"


def test_network_equals_monais(segmented):
    found = weights(segmented.models / "model.pt")
    form = read(segmented.bundle, "metadata")["network_data_format"]
    channels = [form[side][name]["num_channels"] for side, name in (("inputs", "image"), ("outputs", "pred"))]
    stock = BasicUNet(3, *channels, features=(16, 32, 64, 128, 256, 16), norm=("group", {"num_groups": 8}))
    assert stock.load_state_dict(without_prefixes(found)) == ([], [])


def without_prefixes(state):
    """Tensor names of MONAI, and of files of earlier versions."""
    return {key.removeprefix("encoder.").removeprefix("decoder."): value for key, value in state.items()}


def test_files_of_earlier_versions_resume_evaluate_and_infer(runs, tmp_path):
    """Their tensor names have no prefixes."""
    segmented = runs("pancreas")
    folder = shutil.copytree(segmented.models, tmp_path / "models")
    checkpoint, model = weights(folder / "checkpoint.pt"), weights(folder / "model.pt")
    torch.save(checkpoint | {"network": without_prefixes(checkpoint["network"])}, folder / "checkpoint.pt")
    torch.save(without_prefixes(model), folder / "model.pt")
    card = read_card_of(segmented) | {"sha256": hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()}
    (folder / "model.json").write_text(json.dumps(card))
    tested = []
    for name, models in (("old", folder), ("new", segmented.models)):
        segmented.go(("train", "evaluate"), models_dir=str(models), output_dir=str(tmp_path / name))
        tested.append((tmp_path / name / "evaluation.csv").read_text())
    assert tested[0] == tested[1]
    resumed = Run(segmented.bundle, tmp_path, segmented.settings["dataset_dir"], epochs=3)
    shutil.copytree(segmented.output, resumed.output)
    resumed.go(resume=True)
    assert weights(folder / "checkpoint.pt")["progress"]["epoch"] == 3
    assert weights(folder / "checkpoint.pt")["network"].keys() == checkpoint["network"].keys()


def test_evaluation_is_on_the_original_grids_and_reproducible(segmented, tmp_path):
    split = json.loads((segmented.output / "split.json").read_text())
    tables = []
    for name in ("a", "b"):
        segmented.go(("train", "evaluate"), output_dir=str(tmp_path / name))
        tables.append((tmp_path / name / "evaluation.csv").read_text())
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert sorted(row["case"] for row in rows) == sorted(split["test"])
    patients = {case["case"]: case["patient"] for case in find_labelled_cases(segmented.settings["dataset_dir"])}
    assert all(row["patient"] == patients[row["case"]] for row in rows)
    result = json.loads((tmp_path / "a/evaluation.json").read_text())
    for name, score in result["scores"].items():
        values = [float(row[name]) for row in rows]
        assert score["mean"] == pytest.approx(np.mean(values))
        assert score["interval_95"] == [None, None]  # of fewer than three cases
    assert imread(tmp_path / "a/evaluation.png").std() > 0.05


def test_inference_and_evaluation_agree(segmented, tmp_path):
    """The label files of inference have the scores of evaluation, and grid, values and affine of the source."""
    structures = labels(segmented.bundle)
    source = Path(segmented.settings["dataset_dir"])
    segmented.go(("train", "evaluate"), output_dir=str(tmp_path / "scores"), sw_overlap=0.5)
    keys = ("spacing", "roi_size", "models_dir", "dataset_dir")
    run(
        segmented.bundle,
        ["inference"],
        "inference",
        output_dir=str(tmp_path),
        **{key: segmented.settings[key] for key in keys},
    )
    with open(tmp_path / "scores/evaluation.csv") as file:
        scored = {row["case"]: row for row in csv.DictReader(file)}
    for case in find_labelled_cases(source):
        found, truth = nibabel.load(tmp_path / f"{case['case']}.nii.gz"), nibabel.load(case["label"])
        assert found.shape == truth.shape
        np.testing.assert_allclose(found.affine, truth.affine)
        assert set(np.unique(found.dataobj)) <= {0, *structures.values()}
        assert imread(tmp_path / f"{case['case']}.png").std() > 0.05
        if case["case"] in scored and data_kind(segmented.bundle) == "pancreas":
            for name, value in structures.items():
                prediction, wanted = (np.asarray(one.dataobj) == value for one in (found, truth))
                both = prediction.sum() + wanted.sum()
                dice = 2 * (prediction & wanted).sum() / both if both else 1.0
                assert dice == pytest.approx(float(scored[case["case"]][f"dice_{name}"]), abs=1e-5)


def test_inference_takes_one_file(segmented, tmp_path):
    case = find_labelled_cases(segmented.settings["dataset_dir"])[0]
    settings = {key: segmented.settings[key] for key in ("spacing", "roi_size", "models_dir")}
    run(
        segmented.bundle,
        ["inference"],
        "inference",
        output_dir=str(tmp_path),
        dataset_dir=case["image"],
        **settings,
    )
    name = Path(case["image"]).name.removesuffix(".nii.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.nii.gz", f"{name}.png"]


def certain(bundle, folder, stored, found):
    """A model with these labels that predicts one of them in every voxel."""
    label_manager = {"brats": build_brats_labels, "pancreas": SoftmaxLabels}[data_kind(bundle)](list(stored))
    network = build_segmenter(
        build_encoder("unet", 3, 4 if bundle == "brats" else 1, norm="group"), label_manager.out_channels
    )
    number = list(stored).index(found) + 1
    with torch.no_grad():
        network.final_conv.weight.zero_()
        network.final_conv.bias.copy_(10 * label_manager.targets(torch.full((1, 1, 1), number)).flatten() - 5)
    card = {"encoder": network.encoder.arguments, "labels": stored}
    export_weights(network, folder / "model.pt", card)


STORED = {
    "brats": [{"edema": 2, "core": 1, "enhancing": 4}, {"core": 1, "edema": 2, "enhancing": 3}],
    "pancreas": [{"cancer": 1, "pancreas": 2}, {"liver": 1024, "tumour": -1, "vessel": 3}],
}


def inferred(bundle, folder, scan, **overrides):
    """Return the label map that inference writes for a scan."""
    places = {"models_dir": str(folder), "dataset_dir": str(scan), "output_dir": str(folder / "found")}
    run(bundle, ["inference"], "inference", **places, spacing=2.0, roi_size=[32, 32, 32], **overrides)
    return np.asarray(nibabel.load(next((folder / "found").glob("*.nii.gz"))).dataobj)


@pytest.mark.parametrize("stored", [0, 1])
def test_inference_writes_the_values_of_the_models_card(bundle, data, tmp_path, caplog, stored):
    """Also if labels are missing or in another order."""
    stored = STORED[data_kind(bundle)][stored]
    name = list(stored)[1]
    certain(bundle, tmp_path, stored, name)
    image = find_labelled_cases(data[data_kind(bundle)])[0]["image"]
    with caplog.at_level("INFO", logger="tools"):
        assert {*np.unique(inferred(bundle, tmp_path, image))} - {0} == {stored[name]}
    mapping = ", ".join(f"{label} {value}" for label, value in stored.items())
    assert caplog.text.count(f"labels written: {mapping} (from model.json)") == 1
    backwards = dict(reversed(stored.items()))
    assert {*np.unique(inferred(bundle, tmp_path, image, labels=backwards))} - {0} == {stored[name]}


def test_inference_refuses_labels_that_contradict_the_card(bundle, data, tmp_path):
    stored = STORED[data_kind(bundle)][0]
    certain(bundle, tmp_path, stored, next(iter(stored)))
    image = find_labelled_cases(data[data_kind(bundle)])[0]["image"]
    for other in ({name: 9 - value for name, value in stored.items()}, {"liver": 1}):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it
            inferred(bundle, tmp_path, image, labels=other)
        message = str(find_input_error(raised.value))
        assert message.startswith("labels: expected")
        assert "\n" not in message


def renumbered(source, folder):
    """A copy of a Decathlon folder with other stored values for the same labels."""
    shutil.copytree(source, folder)
    content = json.loads((folder / "dataset.json").read_text())
    names = [content["labels"][str(value)] for value in range(1, len(content["labels"]))]
    numbers = {name: 300 + place for place, name in enumerate(reversed(names))}
    content["labels"] = {"0": "background"} | {str(value): name for name, value in numbers.items()}
    (folder / "dataset.json").write_text(json.dumps(content))
    table = np.array([0, *(numbers[name] for name in names)], np.int16)
    for path in (folder / "labelsTr").iterdir():
        found = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(table[np.asarray(found.dataobj)], found.affine), path)
    return folder


def test_evaluation_matches_labels_by_name(bundle, data, tmp_path):
    """Other stored values of the same labels give the same scores."""
    source = data[data_kind(bundle)]
    other = renumbered(source, tmp_path / "renumbered")
    stored = workflow(bundle, ["train"], dataset_dir=str(source)).parser.get_parsed_content("labels")
    certain(bundle, tmp_path, stored, next(iter(stored)))
    tables = []
    for folder in (source, other):
        made = one_epoch(bundle, tmp_path, {data_kind(bundle): folder})
        made.models = tmp_path
        made.go(("train", "evaluate"), models_dir=str(tmp_path))
        tables.append((made.output / "evaluation.csv").read_text())
    assert tables[0] == tables[1]
    scores = next(csv.DictReader(tables[0].splitlines()))
    assert float(scores["dice_WT" if bundle == "brats" else "dice_pancreas"]) > 0


def test_evaluation_refuses_other_structures(data, tmp_path):
    certain("pancreas", tmp_path, {"liver": 1, "cancer": 2}, "liver")
    message = failure(one_epoch("pancreas", tmp_path, data), ("train", "evaluate"), models_dir=str(tmp_path))
    assert "labels: expected liver 1, cancer 2" in message


def as_brats(source, folder, mark, words, values, name):
    """Convert a Decathlon folder to BraTS folders with these stored values, the fourth for the resection cavity."""
    for number, case in enumerate(find_labelled_cases(source)):
        image, label = nibabel.load(case["image"]), nibabel.load(case["label"])
        place = folder / name.format(number)
        place.mkdir(parents=True)
        for word, voxels in zip(words, np.moveaxis(np.asarray(image.dataobj), -1, 0), strict=True):
            nibabel.save(nibabel.Nifti1Image(voxels, image.affine), place / f"{place.name}{mark}{word}.nii.gz")
        truth = np.array([0, *values[:3]], np.uint8)[np.asarray(label.dataobj)]
        if values[3:]:
            truth[:4][truth[:4] == 0] = values[3]
        nibabel.save(nibabel.Nifti1Image(truth, image.affine), place / f"{place.name}{mark}seg.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("mark", "words", "values", "name"),
    [
        ("_", ("flair", "t1", "t1ce", "t2"), (2, 1, 4), "BraTS20_Training_{:03d}"),
        ("_", ("flair", "t1", "t1ce", "t2"), (2, 1, 3), "BraTS2021_{:05d}"),
        ("-", ("t2f", "t1n", "t1c", "t2w"), (2, 1, 3), "BraTS-GLI-{:05d}-000"),
        ("-", ("t2f", "t1n", "t1c", "t2w"), (2, 1, 3, 4), "BraTS-GLI-{:05d}-100"),
    ],
)
def test_every_brats_year_has_its_own_label_values(data, tmp_path, mark, words, values, name):
    """Evaluation and inference of a network that predicts enhancing tumour everywhere."""
    folder = as_brats(data["brats"], tmp_path / "set", mark, words, values, name)
    made = one_epoch("brats", tmp_path, {"brats": folder})
    stored = dict(zip(("edema", "core", "enhancing"), values, strict=False))
    trained = workflow("brats", ["train"], **made.settings).parser.get_parsed_content("labels")
    assert list(trained.items()) == list(stored.items())
    certain("brats", tmp_path / "enhancing", stored, "enhancing")
    made.go(("train", "evaluate"), models_dir=str(tmp_path / "enhancing"))
    with open(made.output / "evaluation.csv") as file:
        row = next(csv.DictReader(file))
    case = next(one for one in find_labelled_cases(folder) if one["case"] == row["case"])
    found = inferred("brats", tmp_path / "enhancing", Path(case["label"]).parent)
    assert {*np.unique(found)} - {0} == {stored["enhancing"]}
    prediction, wanted = (
        voxels == stored["enhancing"] for voxels in (found, np.asarray(nibabel.load(case["label"]).dataobj))
    )
    dice = 2 * (prediction & wanted).sum() / (prediction.sum() + wanted.sum())
    assert float(row["dice_ET"]) == pytest.approx(dice, abs=1e-6)


def test_evaluation_excludes_bad_cases_with_skip_bad(runs, tmp_path):
    made = runs("pancreas")
    split = json.loads((made.output / "split.json").read_text())
    folder = tmp_path / "set"
    shutil.copytree(made.settings["dataset_dir"], folder)
    bad, *good = split["test"]
    three_channels(folder / f"{bad}.nii.gz", None)
    settings = {"dataset_dir": str(folder), "output_dir": str(tmp_path)}
    if not good:  # a small set: test the validation cases, too
        good = split["validation"]
        settings |= {"split_file": str(tmp_path / "split.json"), "allow_test_leakage": True}
        parts = split | {"test": [bad, *good], "validation": split["training"][:1], "training": split["training"][1:]}
        (tmp_path / "split.json").write_text(json.dumps(parts))
    assert bad in failure(made, ("train", "evaluate"), **settings)
    made.go(("train", "evaluate"), skip_bad=True, **settings)
    rows = csv.DictReader((tmp_path / "evaluation.csv").read_text().splitlines())
    assert sorted(row["case"] for row in rows) == sorted(good)


@pytest.mark.parametrize("protocol", ["finetune", "freeze_then_finetune", "frozen", "linear"])
def test_pretrained_encoder_is_loaded(encoder, data, tmp_path, capsys, protocol):
    made = one_epoch("pancreas", tmp_path, data, pretrained=encoder, protocol=protocol)
    made.go()
    before, after = weights(encoder), weights(made.models / "model.pt")
    pairs = [(after[f"encoder.{key}"], value) for key, value in before.items()]
    same = [torch.equal(new, old) for new, old in pairs if new.shape == old.shape]
    assert all(same) == (protocol != "finetune")
    assert read_card_of(made)["pretrained"] == encoder
    assert ("heads.0.weight" in after) == (protocol == "linear")


def test_a_pretrained_encoder_is_reported_and_its_channels_adapted(encoder, data, tmp_path, caplog):
    with caplog.at_level("INFO", logger="tools"):
        one_epoch("brats", tmp_path, data, pretrained=encoder).go()
    assert "100.0 % of the encoder's parameters initialised" in caplog.text
    assert "1 input channels → 4: repeated 4 times, divided by 4" in caplog.text
    assert "channels: pretrained with ['image'], here ['FLAIR', 'T1w', 't1gd', 'T2w']" in caplog.text


def test_a_pretraining_case_in_the_test_set_is_refused(data, tmp_path):
    """A renamed and recompressed case is detected by its voxels."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for path in Path(data["pancreas"], "imagesTr").iterdir():
        nibabel.save(nibabel.load(path), scans / f"patient_{path.name.split('_')[1].removesuffix('.gz')}")
    made = Run("rotation3d", tmp_path / "pretext", scans, epochs=1, steps_per_epoch=1)
    made.go()
    pretrained = str(made.models / "model.pt")
    downstream = one_epoch("pancreas", tmp_path / "downstream", data, pretrained=pretrained)
    message = failure(downstream)
    assert "expected test cases that were not used for pretraining" in message
    assert "pretrained on as patient_" in message
    assert "--allow_test_leakage True" in message
    assert not downstream.models.exists()
    downstream.go(allow_test_leakage=True)


def test_evaluation_refuses_training_cases(runs, tmp_path):
    """All cases are test cases, including the training cases."""
    segmented = runs("pancreas")
    message = failure(segmented, ("train", "evaluate"), output_dir=str(tmp_path), test_fraction=1.0)
    assert "expected unseen test cases" in message
    segmented.go(("train", "evaluate"), output_dir=str(tmp_path), test_fraction=1.0, allow_test_leakage=True)
    with open(tmp_path / "evaluation.csv") as file:
        assert len(list(csv.DictReader(file))) == 7


def test_voxels_may_have_different_edges(data, encoder, tmp_path, capsys):
    """From pretraining to label maps on the original grids."""
    spacing = [2.0, 2.0, 4.0]
    made = one_epoch("pancreas", tmp_path, data, spacing=spacing, roi_size=[32, 32, 16], pretrained=encoder)
    assert "one training step takes" in made.check(capsys)
    made.go()
    assert read_card_of(made)["spacing"] == spacing
    made.go(("train", "evaluate"))
    made.infer(data["pancreas"] / "imagesTr", tmp_path / "found")
    for path in (tmp_path / "found").rglob("*.nii.gz"):
        image = nibabel.load(data["pancreas"] / "imagesTr" / path.name)
        assert nibabel.load(path).shape == image.shape[:3]
    assert "spacing: " in failure(made, ("train", "evaluate"), spacing=2.0)


def test_slices_train_evaluate_and_infer(data, tmp_path):
    made = one_epoch("brats", tmp_path, data, **SLICES)
    made.go(("train", "slices"))
    assert weights(made.models / "model.pt")["final_conv.weight"].ndim == 4
    made.go(("train", "slices", "evaluate"))
    settings = {key: made.settings[key] for key in ("spacing", "roi_size", "models_dir", "dataset_dir", "slice_axis")}
    run("brats", ["inference"], "inference", output_dir=str(tmp_path / "found"), **settings)
    assert len(list((tmp_path / "found/imagesTr").glob("*.nii.gz"))) == 7


def test_inference_before_training_names_the_training_command(bundle, data, tmp_path):
    settings = {"models_dir": str(tmp_path), "output_dir": str(tmp_path)}
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it
        run(bundle, ["inference"], "inference", dataset_dir=str(data[data_kind(bundle)]), **settings)
    command = f"python -m monai.bundle run --config_file bundles/{bundle}/configs/train.json"
    assert f"expected a trained network, found no file; train it with: {command}" in str(find_input_error(raised.value))


def changed(folder, source, change):
    """A copy of a data set with its first case's label or image changed."""
    shutil.copytree(source, folder)
    image, label = (sorted((folder / name).iterdir())[0] for name in ("imagesTr", "labelsTr"))
    change(image, label)
    return folder


def moved(image, label):
    found = nibabel.load(label)
    affine = found.affine.copy()
    affine[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(np.asarray(found.dataobj), affine), label)


def foreign(image, label):
    found = nibabel.load(label)
    voxels = np.asarray(found.dataobj).copy()
    voxels[5, 5, 5] = 9
    nibabel.save(nibabel.Nifti1Image(voxels, found.affine), label)


def three_channels(image, label):
    found = nibabel.load(image)
    voxels = np.asarray(found.dataobj)
    voxels = voxels[..., :3] if voxels.ndim == 4 else np.stack([voxels] * 3, -1)
    nibabel.save(nibabel.Nifti1Image(voxels, found.affine), image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved, "expected the grid of its image"),
        (foreign, "expected labels among 0,"),
        (three_channels, "channel(s), found 3"),
        (lambda image, label: label.unlink(), "1 of them missing"),
        (lambda image, label: label.write_bytes(label.read_bytes()[:100]), "expected a readable volume"),
    ],
)
def test_a_bad_case_is_named(data, tmp_path, change, message):
    folder = changed(tmp_path / "set", data["pancreas"], change)
    said = failure(Run("pancreas", tmp_path, folder, test_fraction=0.15))
    assert message in said
    assert "case_0" in said
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"label_fraction": 0.0}, "label_fraction"),
        ({"test_fraction": 0.6, "val_fraction": 0.4}, "test_fraction 0.6"),
        ({"protocol": "frozen"}, "pretrained: "),
        ({"protocol": "fozen", "pretrained": "x"}, "did you mean frozen?"),
        ({"pretrained": "nowhere.pt"}, "nowhere.pt"),
        ({"flip_axes": [3]}, "flip_axes"),
        ({"roi_size": [32, 32]}, "roi_size"),
        ({"amp": True, "device": "cpu"}, "amp"),
    ],
)
def test_invalid_settings_are_named(data, tmp_path, overrides, message):
    assert message in failure(Run("pancreas", tmp_path, data["pancreas"], **overrides))


def test_an_encoder_of_the_other_dimension_is_refused(data, runs, tmp_path):
    pretrained = str(runs("rotation2d").models / "model.pt")
    assert "spatial_dims 3" in failure(Run("pancreas", tmp_path, data["pancreas"], pretrained=pretrained))


def test_a_brain_tumour_bundle_needs_brain_tumours(data, tmp_path):
    assert "expected labels of oedema" in failure(Run("brats", tmp_path, data["pancreas"]))


def test_dry_run_lists_everything(bundle, data, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        Run(bundle, tmp_path, data[data_kind(bundle)], dry_run=True).go()
    assert left.value.code == 0
    message = capsys.readouterr().out
    assert all(f"case_{i}" in message for i in range(7))
    assert "one training step takes" in message
    assert not (tmp_path / "models").exists()


def test_paper_settings_can_be_built(bundle, data, tmp_path):
    settings = {"dataset_dir": str(data[data_kind(bundle)]), "output_dir": str(tmp_path)}
    made = workflow(bundle, ["train", "paper"], **settings)
    network = made.parser.get_parsed_content("network")
    untrained = workflow(bundle, ["inference"], "inference", models_dir="nowhere").parser
    assert network.encoder.in_channels == untrained.get_parsed_content("in_channels")


def test_it_trains_on_a_list_of_files(data, tmp_path):
    """As in MONAI Label, which overrides the cases and the number of epochs."""
    pairs = [{key: case[key] for key in ("image", "label")} for case in find_labelled_cases(data["pancreas"])]
    made = one_epoch("pancreas", tmp_path, data)
    lists = {"train#dataset#data": pairs[:4], "validate#dataset#data": pairs[4:]}
    made.go(**{"train#trainer#max_epochs": 1, **lists})
    assert {case["case"] for case in read_card_of(made)["cases"]} == {str(pair["image"]) for pair in pairs}


@pytest.mark.parametrize("epochs", [1, 40])
def test_epochs_of_the_trainer_set_the_run_length(data, tmp_path, epochs):
    """MONAI Label only sets the epochs of the trainer."""
    folders = {"dataset_dir": str(data["pancreas"]), "output_dir": str(tmp_path)}
    made = workflow("pancreas", ["train"], steps_per_epoch=10, **{"train#trainer#max_epochs": epochs}, **folders)
    scheduler, loader, interval = map(made.parser.get_parsed_content, ("scheduler", "train#dataloader", "val_interval"))
    rates = [scheduler.lr_lambda(step) for step in range(10, 10 * epochs + 1)]  # after the warm-up
    assert rates == sorted(rates, reverse=True)
    assert len(loader) == 10 * epochs
    assert 1 <= interval <= epochs


def test_inference_refuses_other_preprocessing_than_in_training(runs, tmp_path):
    made = runs("pancreas")
    settings = {key: made.settings[key] for key in ("roi_size", "models_dir", "dataset_dir")}
    for overrides, key in (({"spacing": 3.0}, "spacing"), ({"spacing": 2.0, "hu_window": [0, 9]}, "intensity")):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it
            run("pancreas", ["inference"], "inference", output_dir=str(tmp_path), **settings, **overrides)
        assert str(find_input_error(raised.value)).startswith(f"{key}: ")
