"""Bad input gives one line that names the file or key, what was expected and what was found."""

import re
import shutil

import nibabel
import numpy as np
import pytest
import torch
from harness import (
    DISTINCT,
    PRETEXT,
    SOME,
    Run,
    data_kind,
    dims,
    read,
    stem,
    workflow,
    write_data,
    write_images,
    write_lesions,
    write_scans,
)
from PIL import Image

from tools.utils.errors import find_input_error


def nifti(folder, name, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 2, 2, 1])), folder / name)


def truncated(folder):
    content = (folder / "scan_0.nii.gz").read_bytes()
    (folder / "bad.nii.gz").write_bytes(content[: len(content) // 2])


def with_value(value):
    voxels = np.random.default_rng(0).random((52, 52, 52))
    voxels[3, 4, 5] = value
    return voxels


#: how to make a scan bad, and what must be said of it
BAD_SCANS = {
    "text": (lambda f: (f / "bad.nii.gz").write_text("no image"), "expected a readable volume"),
    "truncated": (truncated, "expected a readable volume"),
    "2D": (lambda f: nifti(f, "bad.nii.gz", np.zeros((52, 52))), "expected a volume with 3 spatial dimensions"),
    "channels": (
        lambda f: nifti(f, "bad.nii.gz", np.ones((52, 52, 52, 2))),
        "expected 1 channel(s), found 2; set --in_channels 2",
    ),
    "nan": (lambda f: nifti(f, "bad.nii.gz", with_value(np.nan)), "expected finite voxels, found 1 NaN"),
    "infinite": (lambda f: nifti(f, "bad.nii.gz", with_value(np.inf)), "1 infinite"),
    "small": (lambda f: nifti(f, "bad.nii.gz", np.random.rand(20, 52, 52)), "expected at least half of roi_size"),
}


def write_image(folder, name, shape, **kw):
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, **kw)


def cut_short(folder):
    content = (folder / "scan_0.png").read_bytes()
    (folder / "bad.png").write_bytes(content[: len(content) // 2])


BAD_PICTURES = {
    "text": (lambda f: (f / "bad.png").write_text("no image"), "expected a readable image"),
    "truncated": (cut_short, "expected a readable image"),
    "channels": (lambda f: write_image(f, "bad.png", (60, 60)), "expected 3 channel(s), found 1"),
    "small": (lambda f: write_image(f, "bad.png", (1, 60, 3)), "bad.png"),
}
BAD = {3: BAD_SCANS, 2: BAD_PICTURES}
KINDS = [(bundle, kind) for bundle in SOME for kind in BAD[dims(bundle)]]


@pytest.fixture(params=SOME)
def bundle(request):
    return request.param


@pytest.fixture
def trained(runs):
    return runs("exemplar2d")


def failure(run, files=("train",), **overrides):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        run.go(files, **overrides)
    found = find_input_error(raised.value)
    assert found is not None, raised.value
    return str(found)


@pytest.mark.parametrize(("bundle", "kind"), KINDS)
def test_a_bad_image_is_named(bundle, tmp_path, kind):
    make, message = BAD[dims(bundle)][kind]
    folder = write_data(bundle, tmp_path / "images", 3)
    make(folder)
    said = failure(Run(bundle, tmp_path, folder))
    assert "bad." in said
    assert message in said
    assert "--skip_bad True" in said
    assert not (tmp_path / "models").exists()


def test_bad_images_are_excluded_only_with_skip_bad(bundle, tmp_path, capsys):
    folder, bad = write_data(bundle, tmp_path / "images", 8), BAD[dims(bundle)]
    for kind, (make, _) in bad.items():
        (tmp_path / kind).mkdir()
        for image in folder.glob("scan_0.*"):
            shutil.copy(image, tmp_path / kind)
        make(tmp_path / kind)
        for made in (tmp_path / kind).glob("bad.*"):
            shutil.move(made, folder / made.name.replace("bad", f"bad_{kind}", 1))
    run = Run(bundle, tmp_path, folder, epochs=1, skip_bad=True, val_fraction=0.4)
    run.go()
    message = capsys.readouterr().out
    for kind in bad:
        assert f"bad_{kind}." in message
    assert (run.models / "model.pt").exists()


def test_constant_image_gives_a_warning_and_stays_finite(bundle, tmp_path, capsys):
    folder = write_data(bundle, tmp_path / "images", 3)
    if dims(bundle) == 3:
        nifti(folder, "flat.nii.gz", np.full((52, 52, 52), 7.3))
    else:
        Image.new("RGB", (60, 60), (9, 9, 9)).save(folder / "flat.png")
    run = Run(bundle, tmp_path, folder, epochs=1)
    run.go()
    assert re.search(r"flat\.\S+: channel 0 is constant", capsys.readouterr().out)
    assert all(torch.isfinite(v).all() for v in run.weights().values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found nothing"),
        ({}, "found"),
        ({"notes.txt": "hello", "table.csv": "x"}, ".txt"),
    ],
)
def test_folders_without_images(bundle, tmp_path, content, message):
    folder = tmp_path / "scans"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    said = failure(Run(bundle, tmp_path, folder))
    assert str(folder) in said
    assert message in said


@pytest.mark.parametrize(
    ("key", "message"),
    [("embedding_dim", "embedding_dim: "), ("pretext_network#embedding_dim", "checkpoint.pt: checkpoint of another ")],
)
def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path, key, message):
    other = Run(trained.bundle, tmp_path, trained.settings["dataset_dir"], resume=True, **{key: 24})
    shutil.copytree(trained.models, other.models)
    before = (other.models / "checkpoint.pt").read_bytes()
    said = failure(other)
    assert message in said
    assert (other.models / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 5), ("steps_per_epoch", 3), ("batch_size", 3), ("val_fraction", 0.65)]
)
def test_a_checkpoint_of_another_run_is_refused(trained, tmp_path, key, value):
    other = Run(trained.bundle, tmp_path, trained.settings["dataset_dir"], resume=True, **{key: value})
    shutil.copytree(trained.models, other.models)
    named = "cases" if key == "val_fraction" else key
    assert failure(other).startswith(f"{named}: ")


def test_evaluation_refuses_cases_the_checkpoint_was_trained_on(trained, tmp_path):
    message = failure(trained, ("train", "evaluate"), output_dir=str(tmp_path), val_fraction=0.6)
    assert "--split_file" in message
    split = str(trained.output / "split.json")
    trained.go(("train", "evaluate"), output_dir=str(tmp_path), val_fraction=0.6, split_file=split)


def test_new_run_backs_up_the_checkpoint_of_an_earlier_one(trained, tmp_path):
    again = Run(trained.bundle, tmp_path, trained.settings["dataset_dir"], epochs=1, learning_rate=0.0)
    shutil.copytree(trained.models, again.models)
    again.go()
    kept = (again.models / "checkpoint.previous.pt").read_bytes()
    assert kept == (trained.models / "checkpoint.pt").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_or_missing_checkpoint_is_named(trained, tmp_path, content):
    other = Run(trained.bundle, tmp_path, trained.settings["dataset_dir"])
    if content is not None:
        other.models.mkdir()
        (other.models / "checkpoint.pt").write_bytes(content)
    assert "checkpoint.pt" in failure(other, ("train", "evaluate"))


def test_an_encoder_of_another_kind_is_refused(trained, tmp_path):
    message = failure(
        Run(
            trained.bundle,
            tmp_path,
            trained.settings["dataset_dir"],
            pretrained=str(trained.models / "model.pt"),
            norm="batch",
        )
    )
    assert "model.pt" in message
    message = failure(
        Run(
            trained.bundle,
            tmp_path,
            trained.settings["dataset_dir"],
            pretrained=str(trained.models / "checkpoint.pt"),
        )
    )
    assert "pass the run's" in message


def test_non_finite_loss_stops_the_run(bundle, tmp_path, data):
    run = Run(bundle, tmp_path, data[data_kind(bundle)], learning_rate=1e30)
    assert "loss: expected a finite number, found nan at step" in failure(run)
    assert not run.models.exists()


def test_dry_run_lists_everything_and_trains_nothing(bundle, tmp_path, data, capsys):
    folder = data[data_kind(bundle)]
    run = Run(bundle, tmp_path, folder, dry_run=True)
    with pytest.raises(SystemExit) as left:
        run.go()
    assert left.value.code == 0
    message = capsys.readouterr().out
    assert all(stem(image) in message for image in folder.iterdir())
    assert ("52 x 52 x 52" if dims(bundle) == 3 else "70 x 64") in message
    assert ("2 x 2 x 2" in message) == (dims(bundle) == 3)
    assert "one training step takes" in message
    assert not run.models.exists()


def test_dry_run_checks_probe_dir(tmp_path, data):
    run = Run("cpc3d", tmp_path, data["scans"], dry_run=True, probe_dir=str(tmp_path / "nowhere"))
    assert "nowhere: expected a folder" in failure(run)


def test_dry_run_lists_all_bad_scans(tmp_path, capsys):
    folder = write_scans(tmp_path / "scans", 6)
    nifti(folder, "bad_1.nii.gz", with_value(np.nan))
    nifti(folder, "bad_2.nii.gz", np.zeros((52, 52)))
    message = failure(Run("cpc3d", tmp_path, folder, dry_run=True))
    assert "2 of 8 cases cannot be used" in message
    table = capsys.readouterr().out
    assert "BAD:" in table
    assert "bad_1.nii.gz" in table
    assert "bad_2.nii.gz" in table


@pytest.mark.parametrize(
    ("bundle", "overrides", "key"),
    [
        ("cpc3d", {"grid": 2}, "prediction_steps"),
        ("cpc3d", {"roi_size": [24, 24, 24]}, "roi_size"),
        ("cpc3d", {"encoder": "resnet81"}, "encoder"),
        ("cpc3d", {"norm": "grup"}, "norm"),
        ("cpc3d", {"loss": "nce"}, "loss"),
        ("cpc3d", {"cache": "moon"}, "cache"),
        ("cpc3d", {"batch_size": 1}, "negatives_other_volumes"),
        ("cpc3d", {"val_fraction": 1.5}, "val_fraction"),
        ("cpc3d", {"val_interval": 3}, "val_interval"),
        ("cpc3d", {"amp": True, "device": "cpu"}, "amp"),
        ("rpl3d", {"grid": 2}, "grid"),
        ("rpl3d", {"gap": 30}, "roi_size [51, 51, 51] with grid [3, 3, 3] and gap 30"),
        ("rpl3d", {"views_per_volume": 27}, "views_per_volume: expected 1 to 26"),
        ("rpl2d", {"roi_size": [30, 30]}, "roi_size"),
        ("jigsaw3d", {"num_permutations": 702}, "num_permutations"),
        ("jigsaw2d", {"min_hamming_distance": 8}, "min_hamming_distance 8"),
        ("jigsaw2d", {"head": "flat"}, "head"),
        ("rotation3d", {"num_rotations": 4}, "num_rotations: expected 10 or 24 in 3D"),
        ("rotation2d", {"num_rotations": 10, "views_per_volume": 4}, "num_rotations: expected 4 in 2D"),
        ("exemplar3d", {"contrast": 1.5}, "contrast"),
        ("exemplar3d", {"batch_size": 1}, "batch_size: "),
        ("exemplar2d", {"slice_axis": 1}, "found"),
        ("mae3d", {"mask_patch_size": 5}, "(mask_patch_size), found [16, 24, 16]"),
        ("mae2d", {"mask_ratio": 0.99}, "mask_ratio: "),
        ("fundus", {"batch_size": 1}, "batch_size: expected at least 2 per process"),
        ("exemplar2d", {"encoder": "densenet121", "roi_size": [24, 24]}, "roi_size"),
        ("pancreas", {"roi_size": [32, 32, 15]}, "roi_size: expected images or patches of at least 16 x 16 x 16"),
        ("fundus", {"roi_size": [15, 15]}, "roi_size: expected images or patches of at least 16 x 16 voxels"),
        ("lidc", {"roi_size": [15, 15, 15]}, "found 15 x 15 x 15"),
        ("rotation3d", {"spacing": [2.0, 2.0, 4.0]}, "spacing: "),
    ],
)
def test_invalid_settings_are_named(tmp_path, data, bundle, overrides, key):
    assert key in failure(Run(bundle, tmp_path, data[data_kind(bundle)], **overrides))


def test_colour_where_grey_is_expected_is_named(tmp_path, photographs):
    message = failure(Run("rotation2d", tmp_path, photographs, in_channels=1))
    assert "expected 1 channel(s), found 3" in message


def test_images_of_any_size_train_together(tmp_path):
    folder = write_images(tmp_path / "photographs", 3)
    write_image(folder, "wide.jpg", (60, 200, 3))
    write_image(folder, "tall.jpg", (300, 90, 3))
    run = Run("rotation2d", tmp_path, folder, epochs=1)
    run.go()
    assert (run.models / "model.pt").exists()


def test_volumes_instead_of_images_are_refused(tmp_path, scans):
    assert "--slice_axis 2" in failure(Run("rotation2d", tmp_path, scans))


def lesions_without_an_image(folder):
    write_lesions(folder)
    (folder / "Images_png/000002_01_01/010.png").unlink()


def lesions_without_a_size(folder):
    table = write_lesions(folder) / "DL_info.csv"
    table.write_text(table.read_text().replace('"64, 64"', '"64, 0"', 1))


def masked(folder):
    for name in ("a.nii.gz", "a_mask.nii.gz"):
        nifti(folder, name, np.random.rand(40, 40, 40))
    for name in ("a.png", "a_mask.png"):
        write_image(folder, name, (60, 60, 3))


#: folders that no bundle can use, or not all of
UNUSABLE = [
    lambda f: nifti(f, "bad.nii.gz", np.random.rand(4, 40, 40)),
    lambda f: nifti(f, "bad.nii.gz", np.random.rand(40, 40, 40, 5)),
    lambda f: write_image(f, "bad.png", (4, 60, 3)),
    lambda f: write_image(f, "bad.png", (60, 60)),
    lambda f: np.savez(f / "bad.npz", voxel=np.random.rand(4, 4, 4) * 255),
    lambda f: np.savez(f / "bad.npz", voxel=np.random.rand(4, 4) * 255),
    lambda f: (f / "bad.txt").write_text("nothing"),
    masked,
    lesions_without_an_image,
    lesions_without_a_size,
]


@pytest.mark.parametrize("bundle", [bundle for bundle in DISTINCT if bundle not in PRETEXT or bundle in SOME])
def test_remedies_in_inference_name_existing_keys(bundle, tmp_path, capsys):
    """Every ``--key`` in messages exists in inference."""
    message = []
    for number, make in enumerate(UNUSABLE):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder)
        content = workflow(bundle, ["inference"], "inference", dataset_dir=str(folder)).parser.get_parsed_content
        try:
            for case in content("cases"):
                content("preprocessing")(case)
        except Exception as error:  # MONAI wraps it in a RuntimeError
            message.append(find_input_error(error))
    assert len(message) >= 5
    assert None not in message
    text = "\n".join(map(str, message)) + capsys.readouterr().out
    assert set(re.findall(r"--(\w+)", text)) <= read(bundle, "inference").keys()
