import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from tools.data.cases import find_images
from tools.pretext.probe.handler import LinearProbe
from tools.training.dry_run import perform_dry_run
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.errors import InputError

BUNDLES = Path(__file__).parents[2] / "bundles"
RANDOM = np.random.default_rng(0)


def save_image(path):
    Image.fromarray(RANDOM.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)


def save_volume(path):
    nib.save(nib.Nifti1Image(RANDOM.normal(size=(20, 21, 22)).astype(np.float32), np.diag([-2.0, -2, 2, 1])), path)


def squares(output, target):
    return output.square().mean()


def run(folder, slice_axis, channels, loss=squares, half=False, **options):
    cases = find_images(folder, slice_axis)
    channel = torch.nn.Conv2d(channels, 1, 3)
    task = SimpleNamespace(seed=0, make_batch=lambda batch, step: (batch["image"], batch["image"][:, :1]))
    perform_dry_run(
        {"training": cases[1:], "validation": cases[:1]},
        build_preprocessing([16, 16], channels, spacing=2.0, slice_axis=slice_axis, resize_shorter_edge=24),
        build_random_crop([16, 16], slice_axis),
        channel,
        loss,
        {"dtype": torch.bfloat16, "enabled": half},
        batch_size=2,
        steps=10,
        task=task,
        **options,
    )


def test_table_of_images_and_slices(tmp_path, capsys):
    for number in range(3):
        save_image(tmp_path / f"p{number}.png")
        save_volume(tmp_path / f"v{number}.nii.gz")
    with pytest.raises(SystemExit) as end:
        run(tmp_path, None, 3)
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    header, row, *_ = (line.split() for line in lines if not line.startswith("note: "))
    assert header == ["case", "split", "channels", "size", "spacing", "(mm)", "prepared"]
    assert row == ["p1", "training", "3", "40", "x", "60", "-", "24", "x", "36"]
    with pytest.raises(SystemExit) as end:
        run(tmp_path, 1, 1)
    assert not end.value.code
    out = capsys.readouterr().out
    assert " ".join(out.splitlines()[2].split()).startswith("v1 training 1 20 x 21 x 22 2 x 2 x 2 ")
    assert "one training step takes" in out


@pytest.mark.parametrize(("half", "kind"), [(False, torch.float32), (True, torch.bfloat16)])
def test_step_uses_the_precision_of_the_run(tmp_path, half, kind):
    for number in range(3):
        save_image(tmp_path / f"p{number}.png")
    kinds = []
    with pytest.raises(SystemExit):
        run(tmp_path, None, 3, lambda output, target: kinds.append(output.dtype) or squares(output, target), half)
    assert kinds == [kind] * 2


def test_bad_images_are_listed(tmp_path, capsys):
    for number in range(3):
        save_image(tmp_path / f"p{number}.png")
    (tmp_path / "p3.png").write_text("no picture")
    with pytest.raises(InputError, match="1 of 4 cases cannot be used"):
        run(tmp_path, None, 3)
    assert "BAD:" in capsys.readouterr().out


def test_constant_image_is_usable(tmp_path, capsys):
    for number in range(2):
        save_image(tmp_path / f"p{number}.png")
    Image.new("RGB", (60, 40), (9, 9, 9)).save(tmp_path / "p2.png")
    with pytest.raises(SystemExit):
        run(tmp_path, None, 3)
    assert "3 of 3 cases usable" in capsys.readouterr().out


def write_classes(folder, classes):
    for number in range(8):
        (folder / classes[number % len(classes)]).mkdir(parents=True, exist_ok=True)
        save_image(folder / classes[number % len(classes)] / f"q{number}.png")


def test_the_cases_of_a_probe_are_read(tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        save_image(tmp_path / "pictures" / f"p{number}.png")
    write_classes(tmp_path / "probe", ["cat", "dog"])
    preprocessing = build_preprocessing([16, 16], 3, spacing=2.0, resize_shorter_edge=24)
    probe = LinearProbe(str(tmp_path / "probe"), preprocessing, [16, 16], [8, 8])
    with pytest.raises(SystemExit) as end:
        run(tmp_path / "pictures", None, 3, probe=probe)
    assert not end.value.code
    assert "probe: 2 labels in both halves" in capsys.readouterr().out
    (tmp_path / "probe/cat/q0.png").write_bytes(b"")
    with pytest.raises(InputError, match="probe cases cannot be used"):
        run(tmp_path / "pictures", None, 3, probe=probe)
    probe.probe_dir = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="probe_dir"):
        run(tmp_path / "pictures", None, 3, probe=probe)


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/configs/train.json")), ids=lambda path: path.parents[1].name)
def test_dry_run_of_every_bundle_includes_its_probe(path):
    config = json.loads(path.read_text())
    assert ("probe" in config["inspection"]) == ("probe_dir" in config)
