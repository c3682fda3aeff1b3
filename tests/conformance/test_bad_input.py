"""Bad input gives one line that names the file or key, what was expected and what was found; nothing is lost."""

import shutil

import nibabel
import numpy as np
import pytest
import torch
from harness import BUNDLES, Run, write_scans

from tools.errors import find_input_error


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
        "expected 1 channel(s), found 2; say --in_channels 2",
    ),
    "nan": (lambda f: nifti(f, "bad.nii.gz", with_value(np.nan)), "expected finite voxels, found 1 NaN"),
    "infinite": (lambda f: nifti(f, "bad.nii.gz", with_value(np.inf)), "1 infinite"),
    "small": (lambda f: nifti(f, "bad.nii.gz", np.random.rand(20, 52, 52)), "expected at least half of roi_size"),
}


@pytest.fixture(params=BUNDLES)
def bundle(request):
    return request.param


def failure(run, files=("train",), **overrides):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        run.go(files, **overrides)
    found = find_input_error(raised.value)
    assert found is not None, raised.value
    return str(found)


@pytest.mark.parametrize("kind", BAD_SCANS)
def test_a_bad_scan_is_named(bundle, tmp_path, kind):
    make, message = BAD_SCANS[kind]
    folder = write_scans(tmp_path / "scans", 3)
    make(folder)
    said = failure(Run(bundle, tmp_path, folder))
    assert "bad.nii.gz" in said
    assert message in said
    assert "--skip_bad True" in said
    assert not (tmp_path / "models").exists()


def test_bad_scans_are_left_out_only_when_asked(bundle, tmp_path, capsys):
    folder = write_scans(tmp_path / "scans", 4)
    for kind, (make, _) in BAD_SCANS.items():
        (tmp_path / kind).mkdir()
        shutil.copy(folder / "scan_0.nii.gz", tmp_path / kind)
        make(tmp_path / kind)
        shutil.move(tmp_path / kind / "bad.nii.gz", folder / f"bad_{kind}.nii.gz")
    run = Run(bundle, tmp_path, folder, epochs=1, skip_bad=True, validation_fraction=0.4)
    run.go()
    said = capsys.readouterr().out
    for kind in BAD_SCANS:
        assert f"bad_{kind}.nii.gz" in said
    assert (run.models / "model.pt").exists()


def test_a_constant_scan_is_told_and_stays_finite(bundle, tmp_path, capsys):
    folder = write_scans(tmp_path / "scans", 3)
    nifti(folder, "flat.nii.gz", np.full((52, 52, 52), 7.3))
    run = Run(bundle, tmp_path, folder, epochs=1)
    run.go()
    assert "flat.nii.gz: channel 0 is constant" in capsys.readouterr().out
    assert all(torch.isfinite(v).all() for v in run.weights().values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a folder of volumes, found nothing"),
        ({}, "found"),
        ({"notes.txt": "hello", "picture.bmp": "x"}, ".txt"),
    ],
)
def test_folders_without_scans(bundle, tmp_path, content, message):
    folder = tmp_path / "scans"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    said = failure(Run(bundle, tmp_path, folder))
    assert str(folder) in said
    assert message in said


def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path, scans):
    other = Run(trained.bundle, tmp_path, scans, norm="batch", resume=True)
    shutil.copytree(trained.models, other.models)
    before = (other.models / "checkpoint.pt").read_bytes()
    said = failure(other)
    assert "checkpoint.pt: checkpoint of another network" in said
    assert (other.models / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 5), ("steps_per_epoch", 3), ("batch_size", 3), ("validation_fraction", 0.5)]
)
def test_a_checkpoint_of_another_run_is_refused(trained, tmp_path, scans, key, value):
    other = Run(trained.bundle, tmp_path, scans, resume=True, **{key: value})
    shutil.copytree(trained.models, other.models)
    named = "cases" if key == "validation_fraction" else key
    assert failure(other).startswith(f"{named}: ")


def test_evaluation_refuses_cases_the_checkpoint_was_trained_on(trained, tmp_path):
    said = failure(trained, ("train", "evaluate"), output_dir=str(tmp_path), validation_fraction=0.6)
    assert "--split_file" in said
    split = str(trained.output / "split.json")
    trained.go(("train", "evaluate"), output_dir=str(tmp_path), validation_fraction=0.6, split_file=split)


def test_a_new_run_keeps_the_checkpoint_of_an_earlier_one(trained, tmp_path, scans):
    again = Run(trained.bundle, tmp_path, scans, epochs=1, learning_rate=0.0)
    shutil.copytree(trained.models, again.models)
    again.go()
    kept = (again.models / "checkpoint.previous.pt").read_bytes()
    assert kept == (trained.models / "checkpoint.pt").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_or_missing_checkpoint_is_named(trained, tmp_path, scans, content):
    other = Run(trained.bundle, tmp_path, scans)
    if content is not None:
        other.models.mkdir()
        (other.models / "checkpoint.pt").write_bytes(content)
    assert "checkpoint.pt" in failure(other, ("train", "evaluate"))


def test_an_encoder_of_another_kind_is_refused(trained, tmp_path, scans):
    said = failure(Run(trained.bundle, tmp_path, scans, pretrained=str(trained.models / "model.pt"), norm="batch"))
    assert "model.pt" in said
    said = failure(Run(trained.bundle, tmp_path, scans, pretrained=str(trained.models / "checkpoint.pt")))
    assert "pass the run's" in said


def test_a_loss_that_is_no_number_stops_the_run(bundle, tmp_path, scans):
    run = Run(bundle, tmp_path, scans, learning_rate=1e30)
    assert "loss: expected a finite number, found nan at step" in failure(run)
    assert not run.models.exists()


def test_check_lists_everything_and_trains_nothing(bundle, tmp_path, scans, capsys):
    run = Run(bundle, tmp_path, scans, check=True)
    with pytest.raises(SystemExit) as left:
        run.go()
    assert left.value.code == 0
    said = capsys.readouterr().out
    for scan in scans.iterdir():
        assert scan.name.removesuffix(".nii.gz") in said
    assert "52 x 52 x 52" in said
    assert "2 x 2 x 2" in said
    assert "one training step takes" in said
    assert not run.models.exists()


def test_check_lists_all_bad_scans(bundle, tmp_path, capsys):
    folder = write_scans(tmp_path / "scans", 3)
    nifti(folder, "bad_1.nii.gz", with_value(np.nan))
    nifti(folder, "bad_2.nii.gz", np.zeros((52, 52)))
    said = failure(Run(bundle, tmp_path, folder, check=True))
    assert "2 of 5 cases cannot be used" in said
    table = capsys.readouterr().out
    assert "BAD:" in table
    assert "bad_1.nii.gz" in table
    assert "bad_2.nii.gz" in table


def test_settings_that_cannot_work_are_named(tmp_path, scans):
    for overrides, key in (
        ({"grid": 2}, "prediction_steps"),
        ({"roi_size": [24, 24, 24]}, "grid"),
        ({"encoder": "resnet81"}, "encoder"),
        ({"norm": "grup"}, "norm"),
        ({"loss": "nce"}, "loss"),
        ({"cache": "moon"}, "cache"),
        ({"batch_size": 1}, "negatives_other_volumes"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"val_interval": 3}, "val_interval"),
        ({"amp": True, "device": "cpu"}, "amp"),
    ):
        assert key in failure(Run("cpc3d", tmp_path, scans, **overrides)), overrides
