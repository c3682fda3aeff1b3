"""Properties of every bundle. A new bundle is one line of TINY in harness.py."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import (
    BUNDLES,
    DETECTION,
    DISTINCT,
    DOWNSTREAM,
    EXTRA,
    PRETEXT,
    ROOT,
    SEGMENTATION,
    SOME,
    SUPERVISED,
    TINY,
    Run,
    config,
    data_kind,
    dims,
    has_accuracy,
    has_figure,
    home,
    read,
    rows,
    run,
    stem,
    workflow,
)
from matplotlib.image import imread
from monai.bundle import ConfigParser, ckpt_export, load
from monai.networks.nets import BasicUNet, resnet18

from tools.networks.encoders import build_encoder
from tools.release.network import EXEMPT, shape_problems
from tools.transfer.load import load_encoder
from tools.utils.errors import find_input_error


@pytest.fixture(params=BUNDLES)
def bundle(request):
    return request.param


def test_every_bundle_has_tiny_settings():
    assert sorted(TINY) == sorted([*BUNDLES, *EXTRA])


def test_overrides_name_existing_keys(bundle):
    """An override file changes what train.json has, or adds what it uses itself."""
    parser = ConfigParser(read(bundle, "train"))
    special = {"initialize", "finalize", "run", "card", "recorded"}
    for name in ("evaluate", "multi_gpu_train", "paper"):
        content = read(bundle, name)
        for key in content:
            assert key in special or key in parser or f"@{key}" in json.dumps(content), f"{name}.json: {key}"


def test_mean_loss_stays_on_the_device(bundle):
    """Otherwise every step would synchronise with the device; meta tensors have no values."""
    parser = ConfigParser(read(bundle, "train"))
    parser["device"] = "meta"
    metric = parser.get_parsed_content(f"train#{'key_metric' if bundle in DOWNSTREAM else 'additional_metrics'}#loss")
    metric.update(torch.zeros((), device="meta"))
    assert metric.num_examples == 1


@pytest.mark.parametrize("name", ["train", "inference"])
def test_config_rules(bundle, name):
    """Rules that configurations must follow to run from any folder."""
    text = (ROOT / "bundles" / bundle / "configs" / f"{name}.json").read_text()
    content = json.loads(text)
    assert "_v" not in bundle
    assert f"os.path.basename(p) == '{bundle}'" in content["bundle_root"]
    assert content["bundle_root"].endswith(f"'bundles/{bundle}')")
    assert content["code"] == "$sys.path.extend([@bundle_root, @bundle_root + '/../..'])"
    assert content["own_tools"].startswith("$@code or pydoc.locate('tools.bundles.arguments') or sys.exit(")
    rest = re.sub(r'"_target_": "tools\.[\w.]+"|"own_tools": .*', "", text)
    assert "tools." not in rest, "tools is named by _target_ alone"
    assert not any("import" in e for e in re.findall(r'"\$(?!import )([^"]*)"', text))
    assert not any("bundle_root" in e or "tools" in e for e in content.get("initialize", []))
    for key, value in content.items():
        if isinstance(value, dict) and str(value.get("_target_", "")).startswith("tools."):
            assert value.get("_requires_") == "@code", key


@pytest.mark.parametrize("name", ["train", "inference"])
def test_every_key_is_used(bundle, name):
    text = (ROOT / "bundles" / bundle / "configs" / f"{name}.json").read_text()
    special = {"imports", "run", "initialize", "finalize"}
    special |= {"detector", "detector_ops"} if name == "inference" else set()  # used by MONAI Label
    assert [key for key in json.loads(text) if key not in special and not re.search(rf"@{key}\b", text)] == []


def test_handlers_are_dictionaries_and_intervals_references(bundle):
    content = read(bundle, "train")
    for part in ("train", "validate"):
        for handler in content[part]["handlers"]:
            assert isinstance(handler, dict)
            assert handler.get("interval", "@val_interval") == "@val_interval"


@pytest.mark.parametrize("bundle", [bundle for bundle in DISTINCT if bundle in BUNDLES])
def test_required_properties_resolve(bundle, data, tmp_path):
    made = Run(bundle, tmp_path, data[data_kind(bundle)])
    for files in (["train"], ["train", "evaluate"]):
        assert workflow(bundle, files, **made.settings).check_properties() in (None, [])
    images = data["scans"] if bundle in SUPERVISED else made.settings["dataset_dir"]
    inference = {"dataset_dir": str(images), "output_dir": str(tmp_path)}
    assert workflow(bundle, ["inference"], "inference", **inference).check_properties() in (None, [])


@pytest.mark.parametrize("bundle", PRETEXT)
def test_paper_settings_can_be_built(bundle, data, tmp_path):
    """Task and network of paper.json match; its data is too large for a test."""
    data = {"dataset_dir": str(data[data_kind(bundle)]), "output_dir": str(tmp_path)}
    made = workflow(bundle, ["train", "paper"], in_channels=1, **data)
    task, network = (made.parser.get_parsed_content(key) for key in ("train#task", "network"))
    params = task.draw_params(made.parser.get_parsed_content("batch_size"), 1)
    assert all(len(value) in (1, made.parser.get_parsed_content("batch_size")) for value in params.values())
    network.encoder.check_size(task.patch_size)


def test_training_leaves_its_files(pretrained):
    for name in ("model.pt", "model.json", "checkpoint.pt"):
        assert (pretrained.models / name).stat().st_size > 0
    with open(pretrained.output / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(v)) for row in rows for v in row.values())
    assert {"train_loss", "val_loss", "learning_rate"} <= rows[0].keys()
    scores = {"train_accuracy", "val_accuracy", "chance"} & rows[0].keys()
    assert len(scores) == (3 if has_accuracy(pretrained.bundle) else 0)
    assert imread(pretrained.output / "curves.png").std() > 0.05
    if has_figure(pretrained.bundle):
        assert imread(pretrained.output / "preview.png").std() > 0.05
    else:
        assert not (pretrained.output / "preview.png").exists()
    assert list((pretrained.output / "tensorboard").iterdir())
    assert not [p for p in pretrained.models.iterdir() if p.name.startswith(".")]


def test_the_encoder_of_the_best_epoch_is_exported(pretrained):
    """The epoch with the highest accuracy, or with the lowest loss for tasks without accuracy."""
    table = rows(pretrained.output / "metrics.csv")
    selected = json.loads((pretrained.models / "model.json").read_text())["selected"]
    name, best = ("accuracy", max) if has_accuracy(pretrained.bundle) else ("loss", min)
    scores = [float(row[f"val_{name}"]) for row in table]
    assert selected[name] == pytest.approx(best(scores))
    assert scores[selected["epoch"] - 1] == best(scores)


def test_dry_run_times_a_step(pretrained_distinct, tmp_path, capsys):
    message = Run(pretrained_distinct.bundle, tmp_path, pretrained_distinct.settings["dataset_dir"]).check(capsys)
    assert "one training step takes" in message


def test_each_loss_of_a_method_is_a_column(runs):
    for row in rows(runs("thumbnail2d").output / "metrics.csv"):
        parts = float(row["rotation_loss"]) + float(row["thumbnail_loss"])
        assert float(row["train_loss"]) == pytest.approx(parts, rel=1e-4)


def test_state_of_a_method_is_saved(runs):
    """BYOL's teacher is close to the network but not equal."""
    content = torch.load(runs("byol2d").models / "checkpoint.pt", weights_only=True)
    teacher, network = content["extra_state"]["teacher"], content["network"]
    assert teacher.keys() == network.keys()
    apart = [(teacher[key] - network[key]).abs().max() for key in network]
    assert 0 < max(apart) < 0.1


def test_the_table_has_the_throughput(trained):
    for row in rows(trained.output / "metrics.csv"):
        assert 0 <= float(row["loader_wait"]) <= 1
        assert float(row["samples_per_second"]) > 0
        assert float(row["step_ms"]) > 0


def test_card_names_cases_and_weights(pretrained):
    card = json.loads((pretrained.models / "model.json").read_text())
    assert card["sha256"] == hashlib.sha256((pretrained.models / "model.pt").read_bytes()).hexdigest()
    assert card["task"] == pretrained.bundle
    split = json.loads((pretrained.output / "split.json").read_text())
    assert sorted(case["case"] for case in card["cases"]) == sorted(split["training"] + split["validation"])
    assert all(len(h) == 64 for case in card["cases"] for h in case["hashes"])
    encoder = build_encoder(**card["encoder"])
    assert load_encoder(encoder, pretrained.models / "model.pt").percent == 100


def test_resumed_run_equals_an_uninterrupted_one(trained_distinct, tmp_path, monkeypatch):
    """A run killed after epoch 1 of 2 and resumed has the same weights bit for bit, and one table."""
    trained = trained_distinct
    again = Run(trained.bundle, tmp_path, trained.settings["dataset_dir"])
    again.die_after_saving(monkeypatch)
    assert not again.equals(trained)
    again.go(resume=True)
    assert again.equals(trained)
    assert (again.models / "model.pt").read_bytes() == (trained.models / "model.pt").read_bytes()
    rows = (again.output / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3


def test_workers_and_caches_do_not_change_the_run(trained_some, tmp_path):
    other = Run(trained_some.bundle, tmp_path, trained_some.settings["dataset_dir"], num_workers=2, cache="disk")
    other.go()
    assert other.equals(trained_some)


def test_evaluation_repeats_itself(pretrained_distinct, tmp_path):
    pretrained, results = pretrained_distinct, []
    for name in ("a", "b"):
        pretrained.go(("train", "evaluate"), output_dir=str(tmp_path / name), val_steps=2)
        results.append(json.loads((tmp_path / name / "evaluation.json").read_text()))
    assert results[0] == results[1]
    trained_on = json.loads((pretrained.output / "split.json").read_text())["training"]
    assert not set(results[0]["cases"]) & set(trained_on)
    if not has_accuracy(pretrained.bundle):
        assert results[0].keys() == {"loss", "cases"}
        return
    assert 0 <= results[0]["accuracy"] <= 1
    assert (results[0]["interval_95"] == [None, None]) == (len(results[0]["cases"]) < 3)


@pytest.mark.parametrize("bundle", [*SOME, "rpl2d"])
def test_inference_covers_every_image(bundle, runs, tmp_path):
    """The configurations of inference of other methods differ in numbers."""
    pretrained, space, folder = runs(bundle), dims(bundle), tmp_path / "images"
    folder.mkdir()
    for image in sorted(Path(pretrained.settings["dataset_dir"]).iterdir())[:2]:
        shutil.copy(image, folder)
    settings = {"pretrained": str(pretrained.models / "model.pt"), "output_dir": str(tmp_path), "stride": [16] * space}
    run(bundle, ["inference"], "inference", dataset_dir=str(folder), **settings)
    for image in folder.iterdir():
        check_embeddings(tmp_path / f"{stem(image)}.npz", space)


def check_embeddings(path, space):
    with np.load(path) as content:
        embeddings = content["embeddings"]
        assert embeddings.shape[:-1] == tuple(len(content[f"corners_{axis}"]) for axis in range(space))
        assert np.isfinite(embeddings).all()
    assert imread(path.with_suffix(".png")).std() > 0.05


def test_options_of_an_encoder_come_from_the_card(tmp_path, data):
    options = {"init_filters": 8, "blocks_down": [1, 1, 1]}
    made = Run("pancreas", tmp_path, data["pancreas"], encoder=["segresnet_ds", options], epochs=1, steps_per_epoch=1)
    made.go()
    card = json.loads((made.models / "model.json").read_text())
    assert {key: card["encoder"][key] for key in options} == options
    del made.settings["encoder"]
    made.infer(data["pancreas"], tmp_path / "found")
    assert any((tmp_path / "found").rglob("*.nii.gz"))
    made.settings["encoder"] = "segresnet_ds"
    with pytest.raises(RuntimeError) as caught:
        made.infer(data["pancreas"], tmp_path / "found")
    assert str(find_input_error(caught.value)).startswith("encoder_")


def test_one_vector_per_scan_is_the_mean_of_its_embeddings(trained_some, tmp_path):
    """As linear probes of whole scans take it: a finite vector of float32, of equal length for all."""
    images, weights = trained_some.settings["dataset_dir"], str(trained_some.models / "model.pt")
    folder, settings = tmp_path / "vectors", {"pretrained": weights, "stride": [24] * dims(trained_some.bundle)}
    trained_some.infer(images, tmp_path / "maps", **settings)
    for _ in range(2):  # the second run replaces the files of the first
        trained_some.infer(images, folder, per_scan=True, **settings)
    table = rows(folder / "embeddings.csv")
    assert {row["file"] for row in table} == {path.name for path in folder.glob("*.npy")}
    assert {row["case"] for row in table} == {path.stem for path in (tmp_path / "maps").glob("*.npz")}
    assert all(row["patient"] for row in table)
    for row in table:
        vector = np.load(folder / row["file"], allow_pickle=False)
        with np.load(tmp_path / "maps" / f"{row['case']}.npz") as content:
            mean = content["embeddings"].reshape(-1, len(vector)).mean(0)
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, mean, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bundle", ["cpc2d", "mae2d", "byol2d"])
def test_slices_of_volumes_train_and_infer_too(bundle, tmp_path, scans):
    made = Run(bundle, tmp_path, scans, draw=True, slice_axis=1, spacing=2.0, epochs=1, steps_per_epoch=1)
    made.go()
    card = json.loads((made.models / "model.json").read_text())
    assert (card["slice_axis"], card["orientation"], card["resize_shorter_edge"]) == (1, "RAS", None)
    settings = {"pretrained": str(made.models / "model.pt"), "output_dir": str(tmp_path / "embeddings")}
    sizes = {"patch_size": [32, 32], "stride": [32, 32], "spacing": 4.0}
    run(bundle, ["inference"], "inference", dataset_dir=str(scans), slice_axis=1, **sizes, **settings)
    check_embeddings(tmp_path / "embeddings/scan_0.npz", 3)


def test_network_matches_the_metadata(bundle):
    assert shape_problems(ROOT / "bundles" / bundle) == []


def test_only_detection_is_exempt_from_one_tensor_out():
    assert list(EXEMPT) == DETECTION


def test_trained_encoder_loads_into_stock_monai(runs, tmp_path, scans):
    """No unexpected keys; missing keys belong to the decoder (BasicUNet) or do not exist (ResNet); equal features."""
    image = torch.randn(2, 1, 32, 32, 32)
    resnet = Run("rotation3d", tmp_path, scans, encoder="resnet18", norm="batch", epochs=1, steps_per_epoch=1)
    resnet.go()
    for encoder, norm, made in (("unet", "group", runs("cpc3d")), ("resnet18", "batch", resnet)):
        weights = torch.load(made.models / "model.pt", weights_only=True)
        ours = build_encoder(encoder, 3, 1, norm).eval()
        ours.load_state_dict(weights)
        if encoder == "unet":
            stock = BasicUNet(3, 1, 2, features=(16, 32, 64, 128, 256, 16), norm=("group", {"num_groups": 8})).eval()
            result = stock.load_state_dict(weights, strict=False)
            decoder = {k for k in stock.state_dict() if k.startswith(("upcat_", "final_conv"))}
            assert set(result.missing_keys) == decoder
            maps = [stock.conv_0(image)]
            for down in (stock.down_1, stock.down_2, stock.down_3, stock.down_4):
                maps.append(down(maps[-1]))
            for found, expected in zip(ours.features(image), maps, strict=True):
                assert torch.equal(found, expected)
        else:
            stock = resnet18(spatial_dims=3, n_input_channels=1, bias_downsample=False, feed_forward=False).eval()
            result = stock.load_state_dict(weights, strict=False)
            assert result.missing_keys == []
            torch.testing.assert_close(ours(image).flatten(2).mean(-1), stock(image))
        assert result.unexpected_keys == []


@pytest.mark.parametrize("bundle", [*SOME, *SUPERVISED, *SEGMENTATION, "fundus", "lidc", *DETECTION])
def test_export_and_load(bundle, runs, tmp_path):
    """The scripted network and `monai.bundle.load` give the features of the trained encoder."""
    trained, root = runs(bundle), home(bundle)
    weights = torch.load(trained.models / "model.pt", weights_only=True)
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained.models / "model.pt"),
        meta_file=config(trained.bundle, "metadata"),
        config_file=config(trained.bundle, "inference"),
        bundle_root=str(root),
    )
    loaded = load(
        trained.bundle,
        bundle_dir=str(root.parent),
        model_file=str(trained.models / "model.pt"),
        source="local",
        workflow_type="inference",
        args_file={"bundle_root": str(root)},
    )
    assert all(torch.equal(v, weights[k]) for k, v in loaded.state_dict().items())
    scripted = torch.jit.load(tmp_path / "model.ts").eval()
    form = read(trained.bundle, "metadata")["network_data_format"]["inputs"]["image"]
    image = torch.randn(1, form["num_channels"], *[32] * len(form["spatial_shape"]))
    torch.testing.assert_close(scripted(image), loaded.eval()(image))


@pytest.mark.filterwarnings("ignore:TF32")  # of Intel's GPUs, when oneDNN is switched
@pytest.mark.parametrize("bundle", [*SEGMENTATION, "fundus", "lidc", *DETECTION, "cpc2d", "exemplar2d", "rpl2d"])
def test_a_step_in_bfloat16_is_finite(bundle, data, tmp_path):
    """Network and loss under the CPU's autocast, without the engine."""
    small = {"roi_size": [16, 16, 16], "batch_size": 2} if bundle in SEGMENTATION else {}
    made = workflow(bundle, ["train"], **Run(bundle, tmp_path, data[data_kind(bundle)], **small).settings)
    content = made.parser.get_parsed_content
    network, batch = content("network").train(), next(iter(content("train#dataloader")))
    task = content("train#task") if "task" in read(bundle, "train")["train"] else None
    inputs, targets = task.make_batch(batch, 1) if task else (batch["image"], batch["label"])
    # oneDNN's weight gradients of 3³ kernels on maps of 2³ hold memory it never wrote (torch 2.13, AVX512_BF16)
    with torch.backends.mkldnn.flags(enabled=False):
        with torch.autocast("cpu", torch.bfloat16):
            loss = content("loss_function")(network(inputs), targets)
        loss.backward()
    assert torch.isfinite(loss)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
