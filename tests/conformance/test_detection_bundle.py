"""Properties of the detection bundle."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from harness import STACKS, Run, read, rows, workflow
from matplotlib.image import imread
from monai.bundle import ConfigParser
from PIL import Image
from test_bad_input import failure

from tools.data.annotated import find_lesions
from tools.detection.scan import ScanDetector
from tools.utils.errors import find_input_error

BUNDLE = "deeplesion"


@pytest.fixture
def found(runs):
    return runs(BUNDLE)


def one_epoch(folder, data, **overrides):
    return Run(BUNDLE, folder, data[BUNDLE], **{"epochs": 1, "steps_per_epoch": 1, **overrides})


def test_training_leaves_its_files(found):
    table = rows(found.output / "metrics.csv")
    assert {"train_loss", "val_loss", "val_mean_sensitivity", "val_threshold"} <= table[0].keys()
    for image in ("curves.png", "preview.png"):
        assert imread(found.output / image).std() > 0.05
    card = json.loads((found.models / "model.json").read_text())
    assert card["selected"]["threshold"] >= 0
    assert all(len(case["hashes"]) == 1 for case in card["cases"])


def test_official_split_is_used(found, data):
    split = json.loads((found.output / "split.json").read_text())
    official = {case["case"]: case["split"] for case in find_lesions(data[BUNDLE])}
    assert {case: part for part, members in split.items() for case in members} == official


def test_network_returns_logits_and_box_codes_of_every_level():
    """The outputs of the finest level have the shape in the metadata."""
    form = read(BUNDLE, "metadata")["network_data_format"]
    parser = ConfigParser(read(BUNDLE, "inference"))
    network = parser.get_parsed_content("network_def")
    shape = [form["inputs"]["image"]["num_channels"], 9, 64, 64]
    maps = network(torch.rand(1, *shape))
    scores, codes = maps[: len(maps) // 2], maps[len(maps) // 2 :]
    assert all(one.shape[1] == form["outputs"]["pred"]["num_channels"] for one in scores)
    assert [one.shape[1] for one in codes] == [4 * one.shape[1] for one in scores]
    assert len(form["inputs"]["image"]["spatial_shape"]) == 3


def test_evaluation_lists_every_detection(found, data, tmp_path):
    found.go(("train", "evaluate"), output_dir=str(tmp_path))
    table = rows(tmp_path / "evaluation.csv")
    truths = {case["case"]: case["boxes"] for case in find_lesions(data[BUNDLE]) if case["split"] == "test"}
    assert {row["case"] for row in table} == set(truths)
    assert {row["is"] for row in table} <= {"false", "finds", "repeats"}
    for row in table:
        assert float(row["overlap"]) <= 0.5 if row["is"] == "false" else float(row["overlap"]) >= 0.5  # rounded
        x1, y1, x2, y2 = (float(row[name]) for name in ("x1", "y1", "x2", "y2"))
        assert 0 <= x1 <= x2 <= 64
        assert 0 <= y1 <= y2 <= 64
    images = rows(tmp_path / "evaluation_cases.csv")
    assert {row["case"]: int(row["lesions"]) for row in images} == {case: len(one) for case, one in truths.items()}
    assert all(row["case"].split("_")[0] == row["patient"] for row in images)
    assert sum(len(row["false_scores"].split()) for row in images) == sum(row["is"] == "false" for row in table)
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["lesions"] == sum(map(len, truths.values()))
    at = [result["scores"][f"sensitivity_at_{rate}"]["value"] for rate in ("0.5", "1", "2", "4", "8", "16")]
    assert at == sorted(at)
    assert sum(one["lesions"] for one in result["by_type"].values()) == result["lesions"]
    for image in ("evaluation.png", "lesions.png"):
        assert imread(tmp_path / image).std() > 0.05


def test_noisy_lesions_may_be_excluded(found, tmp_path):
    """One of the three test lesions is flagged."""
    found.go(("train", "evaluate"), output_dir=str(tmp_path), exclude_noisy=True)
    assert json.loads((tmp_path / "evaluation.json").read_text())["lesions"] == 2


def test_inference_and_evaluation_find_the_same(found, data, tmp_path):
    """Stacks extracted in inference and stacks loaded in evaluation give the same boxes."""
    found.go(("train", "evaluate"), output_dir=str(tmp_path))
    found.infer(data[BUNDLE], tmp_path, score_thresh=0.0)
    scans = {one["case"]: one for one in json.loads((tmp_path / "detections.json").read_text())["scans"]}
    assert len(scans) == 12
    table = rows(tmp_path / "evaluation.csv")
    for case in {row["case"] for row in table}:
        ours = [row for row in table if row["case"] == case]
        assert len(scans[case]["boxes"]) == len(ours)
        for one, other in zip(scans[case]["boxes"], ours, strict=True):
            assert one["slice"] == 10
            assert one["score"] == pytest.approx(float(other["score"]), abs=2e-4)
            assert one["box"] == pytest.approx([float(other[name]) for name in ("x1", "y1", "x2", "y2")], abs=0.05)
        assert imread(tmp_path / f"{case}.png").std() > 0.05


def write_scan(path, flip=False):
    """A bright ball in a CT of 1.5 x 1.5 x 3 mm, off centre along every axis."""
    grid = np.stack(np.meshgrid(*map(np.arange, (64, 64, 6)), indexing="ij"), -1) * (1.5, 1.5, 3)
    voxels = np.where(np.linalg.norm(grid - (30, 60, 9), axis=-1) < 14, 250, -60).astype(np.int16)
    affine = np.diag([-1.5, -1.5, 3, 1.0])
    if flip:
        voxels, affine = voxels[::-1, :, ::-1], affine @ np.diag([-1, 1, -1, 1.0])
        affine[:3, 3] = (-63 * 1.5, 0, 15)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def test_whole_ct_is_processed_slice_by_slice(found, tmp_path):
    """In any orientation, with 3D lesions in the format of MONAI's detection bundles."""
    predictions = []
    for name, flip in (("a", False), ("b", True)):
        found.infer(write_scan(tmp_path / f"{name}.nii.gz", flip), tmp_path / name, score_thresh=0.0)
        (prediction,) = json.loads((tmp_path / name / "detections.json").read_text())["scans"]
        assert {one["slice"] for one in prediction["boxes"]} == set(range(6))
        assert all(len(one) == 6 for one in prediction["box"])
        assert len(prediction["label"]) == len(prediction["label_scores"]) == len(prediction["box"])
        assert imread(tmp_path / name / f"{name}.png").std() > 0.05
        predictions.append(prediction)
    assert predictions[0]["boxes"] == predictions[1]["boxes"]
    np.testing.assert_allclose(predictions[0]["box"], predictions[1]["box"], atol=1e-3)


def test_a_series_and_its_nifti_give_the_same_boxes(found, data, tmp_path):
    """As NIH's code converts it (rows, columns, slices: PLI), and stored in another orientation."""
    found.infer(data[BUNDLE], tmp_path, score_thresh=0.0)
    predictions = json.loads((tmp_path / "detections.json").read_text())["scans"]
    (series,) = [prediction for prediction in predictions if prediction["case"].startswith("000002_")]
    assert [place[2] for place in series["box"]] == pytest.approx([-2 * 2.5] * len(series["box"]))
    slices = sorted((data[BUNDLE] / "Images_png/000002_01_01").iterdir())
    voxels = np.stack([np.array(Image.open(path), dtype=np.int32) - 32768 for path in slices], -1).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, [[0, -0.8, 0, 0], [-0.8, 0, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, 1]])
    for axes in ("PLI", "RAS"):
        turn = [nibabel.orientations.axcodes2ornt(one) for one in ("PLI", axes)]
        nibabel.save(image.as_reoriented(nibabel.orientations.ornt_transform(*turn)), tmp_path / f"{axes}.nii.gz")
        found.infer(tmp_path / f"{axes}.nii.gz", tmp_path / axes, score_thresh=0.0)
        (scan,) = json.loads((tmp_path / axes / "detections.json").read_text())["scans"]
        there = [box for box in scan["boxes"] if box["slice"] == 10 - int(slices[0].stem)]
        assert len(there) == len(series["boxes"]) > 0
        for box, other in zip(there, series["boxes"], strict=True):
            assert box["score"] == pytest.approx(other["score"], abs=2e-4)
            assert box["box"] == pytest.approx(other["box"], abs=0.05)


def test_keys_that_monai_label_uses_exist(found, tmp_path):
    """The keys of inference.json are used as MONAI Label uses them."""
    settings = {"models_dir": str(found.models), "device": torch.device("cpu"), **STACKS}
    settings.pop("train_sizes")
    parser = workflow(BUNDLE, ["inference"], "inference", output_dir=str(tmp_path), **settings).parser
    detector, network = parser.get_parsed_content("detector"), parser.get_parsed_content("network_def")
    assert isinstance(detector, ScanDetector)
    network.load_state_dict(torch.load(found.models / "model.pt", weights_only=True))
    scan = str(write_scan(tmp_path / "scan.nii.gz"))
    assert parser.get_parsed_content("detector_ops") == []
    sample = {"image": scan, "image_path": scan, "model": "deeplesion_detection"}
    for transform in parser.get_parsed_content("preprocessing").transforms:
        sample = transform(sample)
    assert sample["image_path"] == scan
    detector.network = network.eval()
    with torch.no_grad():
        (prediction,) = detector(sample["image"][None], use_inferer=True)
    assert prediction["box"].shape == (len(prediction["label"]), 6)
    found.infer(tmp_path / "scan.nii.gz", tmp_path)
    (scan,) = json.loads((tmp_path / "detections.json").read_text())["scans"]
    np.testing.assert_allclose(prediction["box"].numpy().reshape(-1, 6), np.reshape(scan["box"], (-1, 6)), atol=1e-3)


@pytest.mark.parametrize(("source", "protocol"), [("cpc3d", "frozen"), ("vdt3d", "finetune")])
def test_pretrained_encoder_is_loaded(data, runs, tmp_path, caplog, protocol, source):
    """From a pretext task, or from photographs with other strides and the same weights."""
    encoder = runs(source).models / "model.pt"
    network = {"encoder": "resnet18", "norm": "batch"} if source == "vdt3d" else {}
    made = one_epoch(tmp_path, data, pretrained=str(encoder), protocol=protocol, **network)
    with caplog.at_level("INFO"):
        made.go()
    before, after = (torch.load(path, weights_only=True) for path in (encoder, made.models / "model.pt"))
    same = [torch.equal(after[f"feature_extractor.encoder.{key}"], value) for key, value in before.items()]
    assert all(same) == (protocol == "frozen")
    assert "100" in caplog.text


def test_it_overfits_eight_images(data, tmp_path):
    """Trained on its test images, it finds nearly all lesions at half a false positive per image."""
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    cases = sorted(case["case"] for case in find_lesions(tmp_path / "set"))[:8]
    parts = {"training": cases, "validation": cases, "test": cases}
    assert len(cases) == 8
    made = Run(
        BUNDLE,
        tmp_path,
        tmp_path / "set",
        epochs=1,
        steps_per_epoch=80,
        batch_size=4,
        learning_rate=1e-3,
        flip_prob=0.0,
        lr_schedule="cosine",
    )
    parser = workflow(BUNDLE, ["train"], **made.settings).parser
    by_case = {case["case"]: case for case in parser.get_parsed_content("cases")}
    split = {part: [by_case[case] for case in members] for part, members in parts.items()}
    made.go(**{"split": split})
    selected = json.loads((made.models / "model.json").read_text())["selected"]
    assert selected["sensitivity_at_0.5"] > 0.7


def test_streamed_stacks_give_the_same_run(found, tmp_path):
    other = Run(BUNDLE, tmp_path, found.settings["dataset_dir"], cache="none")
    other.go()
    assert other.equals(found)


def test_paper_settings_can_be_built(data, tmp_path):
    folders = {"dataset_dir": str(data[BUNDLE]), "output_dir": str(tmp_path)}
    content = workflow(BUNDLE, ["train", "paper"], **folders).parser.get_parsed_content
    assert content("network").encoder.arguments["name"] == "p3d63"
    assert content("train#task").sizes == [384, 448, 512, 576, 640]
    assert isinstance(content("optimizer"), torch.optim.SGD)


def edit(folder, old, new, line=1):
    table = (folder / "DL_info.csv").read_text().splitlines()
    assert old in table[line]
    table[line] = table[line].replace(old, new)
    (folder / "DL_info.csv").write_text("\n".join(table) + "\n")


def key_slice(folder):
    return folder / "Images_png/000001_01_01/010.png"


def eight_bits(folder):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(key_slice(folder))


def other_size(folder):
    Image.fromarray(np.full((60, 64), 32768, np.uint16)).save(key_slice(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: edit(f, "Slice_range", "Range", 0), "Slice_range"),
        (lambda f: edit(f, '"6, 28, 32, 54"', '"6, 28, 90, 54"'), "line 2"),
        (lambda f: edit(f, '"6, 28, 32, 54"', '"6, 28, 6, 54"'), "line 2"),
        (lambda f: edit(f, "0.8, 0.8, 2.5", "0.8, 0.8, 0"), "line 2"),
        (lambda f: edit(f, "0.8, 0.8, 2.5", "0.8, 0.8"), "line 2"),
        (lambda f: edit(f, "000002_01_01", "000001_02_01", 2), "line 3"),
        (lambda f: (key_slice(f).with_name("009.png")).unlink(), "009.png"),
        (eight_bits, "16-bit"),
        (other_size, "expected 64 x 64 pixels"),
        (lambda f: key_slice(f).write_bytes(key_slice(f).read_bytes()[:100]), "expected a readable image"),
        (lambda f: shutil.rmtree(f / "Images_png"), "expected key slices such as"),
    ],
)
def test_bad_input_is_named(data, tmp_path, change, message):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    change(tmp_path / "set")
    made = Run(BUNDLE, tmp_path, tmp_path / "set")
    said = failure(made)
    assert message in said
    assert not made.models.exists()


def test_bad_images_are_excluded_only_with_skip_bad(data, tmp_path, capsys):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    eight_bits(tmp_path / "set")
    edit(tmp_path / "set", "0.8, 0.8, 2.5", "0.8, 0.8, 0", 2)
    made = Run(BUNDLE, tmp_path, tmp_path / "set", epochs=1, skip_bad=True)
    made.go()
    message = capsys.readouterr().out
    assert "line 3" in message
    assert "16-bit" in message
    assert (made.models / "model.pt").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": 72}, "image_size, train_sizes: "),
        ({"train_sizes": []}, "train_sizes"),
        ({"num_slices": 0}, "num_slices: "),
        ({"slice_spacing": 0.0}, "slice_spacing"),
        ({"depth_pooling": "middle"}, "depth_pooling: "),
        ({"fpn_channels": 12}, "fpn_channels"),
        ({"match_metric": "dice"}, "match_metric"),
        ({"split_by": "fold"}, "split_by"),
        ({"label_fraction": 0.0}, "label_fraction"),
    ],
)
def test_invalid_settings_are_named(data, tmp_path, overrides, message):
    assert message in failure(Run(BUNDLE, tmp_path, data[BUNDLE], **overrides))


def test_inference_refuses_other_stacks_than_those_trained_with(found, data, tmp_path):
    with pytest.raises(RuntimeError) as raised:
        found.infer(data[BUNDLE], tmp_path, num_slices=5)
    assert "was trained with 3, found 5" in str(find_input_error(raised.value))


def test_dry_run_lists_every_key_slice(data, tmp_path, capsys):
    message = Run(BUNDLE, tmp_path, data[BUNDLE]).check(capsys)
    assert "000012_01_01/010" in message
    assert "2.5 x 0.8 x 0.8" in message
    assert "one training step takes" in message
