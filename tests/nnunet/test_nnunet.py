"""Fine-tuning of an exported encoder by nnU-Net itself, and import of the result. Takes about two minutes.

Needs the source tree of nnU-Net's main branch and an environment of its own, see tools/transfer/README.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tools.networks import build_encoder
from tools.transfer import export_encoder, load_encoder
from tools.transfer.formats.checkpoint import read_checkpoint
from tools.transfer.formats.table import find_format

SOURCE = os.environ.get("NNUNET_SOURCE")
pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not SOURCE, reason="NNUNET_SOURCE is not set, see tools/transfer/README.md"),
]
ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
OPTIONS = {"features": [8, 16, 32], "blocks": [1, 2, 1], "strides": [1, 2, [2, 2, 1]]}
CARD = {"task": "mae3d", "spacing": [1.0, 1.0, 2.0], "roi_size": [32, 32, 16], "intensity": {"hu_window": None}}


def write_data(folder, channels, cases=6):
    """A nnU-Net data set of bright balls in noise, of different edges along x, y and z."""
    raw = folder / "raw/Dataset001_Made"
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for case in range(cases):
        label = np.zeros((48, 40, 24), np.uint8)
        label[16:32, 12:28, 8:16] = 1
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(label, affine), raw / f"labelsTr/case{case}.nii.gz")
        for channel in range(channels):
            image = (draw.normal(size=label.shape) + 3 * label).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(image, affine), raw / f"imagesTr/case{case}_{channel:04}.nii.gz")
    description = {
        "channel_names": {str(channel): f"MR{channel}" for channel in range(channels)},
        "labels": {"background": 0, "ball": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))


def run(folder, *words):
    """Run a Python command with nnU-Net's folders in `folder`; returns what it prints."""
    places = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    settings = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    path = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)])}
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, **places, **settings, **path},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{words}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    print(result.stdout[-3000:])
    return result.stdout


def entry_point(name):
    """Call of a console script of nnU-Net."""
    module, _, function = {
        "extract_fingerprint": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:extract_fingerprint_entry",
        "plan_experiment": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_experiment_entry",
        "preprocess_like_nnssl": "nnunetv2.experiment_planning.like_nnssl:preprocess_like_nnssl_entrypoint",
    }[name].partition(":")
    return "-c", f"from {module} import {function}; {function}()"


@pytest.fixture(scope="module", params=[1, 4], ids=["1 channel", "4 channels"])
def trained(request, tmp_path_factory):
    """An encoder, its export, and what nnU-Net made of it on data with some channels."""
    folder, channels = tmp_path_factory.mktemp("nnunet"), request.param
    torch.manual_seed(0)
    encoder = build_encoder(["resenc", OPTIONS]).eval()
    export_encoder(encoder, folder / "model.pt", CARD)
    file = folder / "encoder.pth"
    run(folder, "-m", "tools.transfer", "export", "--model", folder / "model.pt", "--to", "nnunet", "--out", file)
    write_data(folder, channels)
    run(folder, *entry_point("extract_fingerprint"), "-d", "1", "-np", "1")
    run(folder, *entry_point("plan_experiment"), "-d", "1")
    like = ("-d", "1", "-n", "made", "-pc", file, "-am", "like_pretrained", "-np", "1")
    run(folder, *entry_point("preprocess_like_nnssl"), *like)
    (plans,) = (folder / "preprocessed/Dataset001_Made").glob("ptPlans__made*.json")
    log = run(folder, HERE / "train.py", plans.stem, folder / "features.pt")
    return encoder, channels, folder, json.loads(plans.read_text()), log


def test_the_plans_take_spacing_and_patch_size_of_the_pretraining(trained):
    configuration = trained[3]["configurations"]["3d_fullres"]
    assert configuration["spacing"] == CARD["spacing"][::-1]
    assert configuration["patch_size"] == CARD["roi_size"][::-1]
    assert configuration["normalization_schemes"] == ["ZScoreNormalization"] * trained[1]


def test_an_epoch_is_trained(trained):
    assert "Loaded Network from" in trained[4]
    losses = torch.load(trained[2] / "features.pt", weights_only=True)["losses"]
    assert len(losses) == 1
    assert np.isfinite(losses).all()


def test_features_agree_on_the_transposed_scan(trained):
    _, channels, folder, *_ = trained
    found = torch.load(folder / "features.pt", weights_only=True)
    ours = build_encoder(["resenc", OPTIONS], in_channels=channels).eval()
    load_encoder(ours, folder / "model.pt")
    with torch.no_grad():
        maps = ours.features(found["image"].permute(0, 1, 4, 3, 2))
    for one, other in zip(maps, found["maps"], strict=True):
        torch.testing.assert_close(one.permute(0, 1, 4, 3, 2), other, rtol=1e-4, atol=1e-4)


def test_the_checkpoint_of_nnu_net_comes_back(trained):
    _, channels, folder, *_ = trained
    (path,) = (folder / "results").rglob("checkpoint_final.pth")
    assert find_format(read_checkpoint(path)).name == "nnU-Net checkpoint"
    encoder = build_encoder(["resenc", OPTIONS], in_channels=channels).eval()
    assert load_encoder(encoder, path).percent == 100
    final = torch.load(folder / "features.pt", weights_only=True)["final"]
    assert torch.equal(encoder.state_dict()["stem.convs.0.conv.weight"], final.permute(0, 1, 4, 3, 2))
