"""Properties of the bundle that pretrains 3D networks on photographs."""

import json
import shutil

import pytest
import torch
from harness import Run, run, workflow
from matplotlib.image import imread
from monai.networks.nets import resnet18
from test_bad_input import failure

from tools.networks.encoders import build_encoder
from tools.pretext.vdt.network import VolumeClassifier
from tools.transfer.load import load_encoder

BUNDLE = "vdt3d"


@pytest.fixture
def trained(runs):
    return runs(BUNDLE)


def test_training_leaves_its_files(trained):
    head = (trained.output / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_loss", "train_accuracy", "val_accuracy", "val_top5_accuracy", "chance"} <= set(head)
    for image in ("curves.png", "preview.png"):
        assert imread(trained.output / image).std() > 0.05
    assert (trained.output / "split.json").exists()


def test_the_encoder_loads_into_stock_monai_and_runs_with_other_strides(trained):
    weights = torch.load(trained.models / "model.pt", weights_only=True)
    stock = resnet18(
        spatial_dims=3, n_input_channels=1, shortcut_type="B", bias_downsample=False, feed_forward=False
    ).eval()
    stock.load_state_dict(weights, strict=True)
    encoder = build_encoder("resnet18", norm="batch").eval()
    report = load_encoder(encoder, trained.models / "model.pt")
    assert report.percent == 100
    assert "depth_stride: the encoder was trained with False, here it has True" in str(report)
    image = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder(image).flatten(2).mean(-1), stock(image), rtol=1e-5, atol=1e-5)


def test_evaluation_scores_every_validation_image_once(trained, tmp_path):
    results = []
    for name in ("a", "b"):
        trained.go(("train", "evaluate"), output_dir=str(tmp_path / name))
        results.append(json.loads((tmp_path / name / "evaluation.json").read_text()))
    assert results[0] == results[1]
    split = json.loads((trained.output / "split.json").read_text())
    assert sorted(results[0]["cases"]) == sorted(split["validation"])
    assert results[0]["top5_accuracy"] == 1.0  # of two classes


def test_inference_embeds_scans(trained, scans, tmp_path):
    settings = {"pretrained": str(trained.models / "model.pt"), "patch_size": [32] * 3, "stride": [32] * 3}
    run(BUNDLE, ["inference"], "inference", dataset_dir=str(scans), output_dir=str(tmp_path), spacing=4.0, **settings)
    assert len(list(tmp_path.glob("*.npz"))) == len(list(scans.iterdir()))


@pytest.mark.parametrize("depth", [5])
def test_more_slices_and_pseudo_3d_encoders(data, tmp_path, depth):
    settings = {
        "depth": depth,
        "encoder": "mp3d18ba",
        "norm": "group",
        "shuffle_channels": False,
        "lr_schedule": "step",
    }
    made = Run(BUNDLE, tmp_path, data[BUNDLE], epochs=1, steps_per_epoch=1, **settings)
    made.go()
    assert load_encoder(build_encoder("p3d18ba"), made.models / "model.pt").percent == 100


def test_learning_rate_scales_with_the_global_batch(data, tmp_path, monkeypatch):
    folders = {"dataset_dir": str(data[BUNDLE]), "output_dir": str(tmp_path)}
    rates = []
    for world in ("1", "4"):
        monkeypatch.setenv("WORLD_SIZE", world)
        made = workflow(BUNDLE, ["train"], batch_size=32, accumulation_steps=2, learning_rate=0.1, **folders)
        rates.append(made.parser.get_parsed_content("optimizer").defaults["lr"])
    assert rates == pytest.approx([0.1 * 64 / 256, 0.1])


def test_paper_settings_can_be_built(data, tmp_path):
    folders = {"dataset_dir": str(data[BUNDLE]), "output_dir": str(tmp_path)}
    made = workflow(BUNDLE, ["train", "paper"], **folders)
    assert made.parser.get_parsed_content("train#task").patch_size == (3, 224, 224)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"depth": 4}, "depth: expected an odd number"),
        ({"crop_scale": [0.5, 0.1]}, "crop_scale: expected two increasing numbers"),
        ({"lr_schedule": "cosin"}, "did you mean cosine?"),
    ],
)
def test_invalid_settings_are_named(data, tmp_path, overrides, message):
    assert message in failure(Run(BUNDLE, tmp_path, data[BUNDLE], **overrides))


def test_bad_image_is_named_or_excluded(data, tmp_path, capsys):
    shutil.copytree(data[BUNDLE], tmp_path / "set")
    for path in (tmp_path / "set/across").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    made = Run(BUNDLE, tmp_path, tmp_path / "set", epochs=1, steps_per_epoch=1, batch_size=4)
    message = failure(made)
    assert "across/" in message
    assert "--skip_bad True" in message
    made.go(skip_bad=True)
    assert "is ignored" in capsys.readouterr().out


def test_dry_run_lists_everything(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        Run(BUNDLE, tmp_path, data[BUNDLE], dry_run=True).go()
    assert left.value.code == 0
    assert "16 of 16 cases usable" in capsys.readouterr().out


def test_scores_are_float32():
    """The validation loss is computed outside autocast."""
    network = VolumeClassifier(build_encoder("resnet18"), 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(1, 1, 3, 32, 32)).dtype is torch.float32
