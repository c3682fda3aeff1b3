"""Settings that must be equal in the checkpoint and in a resumed or evaluated run."""

import json
import re
import shutil

import pytest
import torch
from harness import BUNDLES, SUPERVISED, Run, read, workflow
from monai.utils import set_determinism

from tools.utils.errors import find_input_error

#: top-level keys that may change when a run is resumed, by the reason
FREE = {
    "place of code and files": ["imports", "bundle_root", "code", "own_tools", "models_dir", "output_dir", "cache_dir"],
    "what is run": [
        *("run", "resume", "dry_run", "network", "allow_test_leakage"),
        *("prepare", "preparation", "part", "parts", "plan", "gpu_memory_target"),
    ],
    "speed and rounding": [
        "device",
        "amp",
        "amp_dtype",
        "channels_last",
        "compile",
        "fused",
        "deterministic",
        "cache_dtype",
    ],
    "speed": ["cache", "num_workers", "prepare_workers"],
    "may change and take effect": ["learning_rate", "weight_decay", "epochs"],
    "measures without changing the training": ["val_interval", "probe_dir"],
    "compared through the cases, their images and annotations": [
        *("dataset_dir", "split_file", "val_fraction", "test_fraction", "fold", "skip_bad", "max_voxels"),
        *("label_file", "image_column", "label_column", "patient_column", "patient_pattern"),
        *("include_label_maps", "annotations", "max_quality_score"),
    ],
    "compared through batch_size and the number of processes": ["global_batch_size"],
}
#: keys whose value the handlers find in the network, in their own arguments or in the engine
FOUND = {"encoder", "norm", "pretrained", "protocol", "freeze_epochs", "steps_per_epoch"}


def compared_keys(content):
    """Top-level keys that the card, settings or task of a bundle depend on, directly or indirectly."""
    handlers = content["train"]["handlers"][-1]
    roots = [handlers["card"], handlers["settings"], content["train"].get("task", {})]
    found, left = set(), set(re.findall(r"@(\w+)", json.dumps(roots)))
    while left:
        key = left.pop().removeprefix("planned_")  # the plan's values of keys that may be "auto"
        found.add(key)
        if isinstance(content.get(key), dict) and key not in ("dataset_dir", "train"):  # the task is a root itself
            left |= set(re.findall(r"@(\w+)", json.dumps(content[key]))) - found
    return found


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_key_is_compared_or_may_change(bundle):
    """New keys must be added to the handlers' settings or to the list above."""
    content = read(bundle, "train")
    free = {key for keys in FREE.values() for key in keys}
    keys = {key for key, value in content.items() if not isinstance(value, dict) or key == "dataset_dir"}
    keys = {key for key in keys if not key.startswith("planned_")}  # derived from spacing and roi_size
    assert keys - free - FOUND - compared_keys(content) == set()
    handlers = content["train"]["handlers"][-1]
    given = {"pretrained", "protocol", "freeze_epochs"} & content.keys()
    assert {key: handlers[key] for key in given} == {key: f"@{key}" for key in given}


def failure(run, files=("train",), **overrides):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        run.go(files, **overrides)
    found = find_input_error(raised.value)
    assert found is not None, raised.value
    assert "\n" not in str(found)
    return str(found)


def copy_of(run, folder, **settings):
    """The same finished run in another folder."""
    copied = Run(run.bundle, folder, run.settings["dataset_dir"], **settings)
    shutil.copytree(run.models, copied.models)
    return copied


@pytest.mark.parametrize("bundle", ["cpc3d", "exemplar2d", "vdt3d", "pancreas", "deeplesion", "fundus"])
def test_another_norm_of_the_same_shape_is_refused(runs, tmp_path, bundle):
    """In resumed runs and evaluation, for a bundle per family; the number of groups does not change the tensors."""
    trained = runs(bundle)
    norm = "batch" if trained.bundle in SUPERVISED else "group"
    other = ["group", {"num_groups": 1}] if norm == "group" else ["batch", {"eps": 0.1}]
    run = copy_of(trained, tmp_path, norm=other)
    before = (run.models / "checkpoint.pt").read_bytes()
    for message in (failure(run, resume=True), failure(run, ("train", "evaluate"))):
        assert message.startswith("norm: ")
        assert f"trained with {norm}, found {other}" in message
    assert (run.models / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("bundle", "named", "overrides"),
    [
        ("rotation3d", "head_dropout", {"head_dropout": 0.3}),
        ("rotation3d", "encoder_dropout", {"network_def#dropout": 0.3}),
        ("rotation3d", "lr_warmup_epochs", {"lr_warmup_epochs": 1}),
        ("rotation3d", "val_steps", {"val_steps": 2}),
        ("rotation3d", "betas", {"optimizer#betas": [0.8, 0.9]}),
        ("cpc3d", "temperature", {"temperature": 0.2}),
        ("vdt3d", "crop_scale", {"crop_scale": [0.5, 1.0]}),
        ("pancreas", "lr_warmup_epochs", {"lr_warmup_epochs": 1}),
        ("pancreas", "sw_overlap", {"sw_overlap": 0.5}),
        ("pancreas", "encoder_dropout", {"encoder_def#dropout": 0.3}),
        ("lidc", "class_weighting", {"class_weighting": False}),
        ("deeplesion", "nms_thresh", {"nms_thresh": 0.4}),
        ("deeplesion", "depth_pooling", {"depth_pooling": "mean"}),
    ],
)
def test_a_resumed_run_refuses_other_settings(runs, tmp_path, bundle, named, overrides):
    run = copy_of(runs(bundle), tmp_path, **overrides)
    assert failure(run, resume=True).startswith(f"{named}: ")


@pytest.mark.parametrize(
    ("bundle", "named", "overrides"),
    [
        ("rotation3d", "head_dropout", {"head_dropout": 0.3}),
        ("rotation3d", "encoder_dropout", {"network_def#dropout": 0.3}),
        ("rotation3d", "num_rotations", {"num_rotations": 24}),
        ("rotation3d", "spacing", {"spacing": 3.0}),
        ("rotation3d", "intensity", {"hu_window": [0.0, 500.0]}),
        ("pancreas", "roi_size", {"roi_size": [16, 16, 16]}),
        ("pancreas", "encoder_dropout", {"encoder_def#dropout": 0.3}),
        ("deeplesion", "depth_pooling", {"depth_pooling": "mean"}),
    ],
)
def test_evaluation_refuses_other_settings(runs, tmp_path, bundle, named, overrides):
    run = copy_of(runs(bundle), tmp_path, **overrides)
    assert failure(run, ("train", "evaluate")).startswith(f"{named}: ")


def test_evaluation_refuses_other_channels(runs, tmp_path):
    """The same number of channels in another order."""
    trained = runs("brats")
    shutil.copytree(trained.settings["dataset_dir"], tmp_path / "set")
    content = json.loads((tmp_path / "set/dataset.json").read_text())
    content["modality"] |= {"0": content["modality"]["1"], "1": content["modality"]["0"]}
    (tmp_path / "set/dataset.json").write_text(json.dumps(content))
    run = copy_of(trained, tmp_path, dataset_dir=str(tmp_path / "set"))
    assert failure(run, ("train", "evaluate")).startswith("channels: ")


def test_rates_length_and_speed_may_change(runs, tmp_path):
    trained = runs("rotation3d")
    settings = {"learning_rate": 1e-4, "weight_decay": 0.1, "epochs": 3, "cache": "disk"}
    run = copy_of(trained, tmp_path, norm=["group", {"num_groups": 8}], **settings)
    run.go(resume=True)
    assert not run.equals(trained)
    run.go(("train", "evaluate"), batch_size=3, lr_warmup_epochs=1, val_steps=2)


def test_other_images_under_the_same_names_are_refused(runs, tmp_path):
    trained = runs("rotation2d")
    run = copy_of(trained, tmp_path)
    shutil.copytree(trained.settings["dataset_dir"], tmp_path / "set")
    shutil.copy(tmp_path / "set/scan_0.png", tmp_path / "set/scan_1.png")
    assert failure(run, resume=True, dataset_dir=str(tmp_path / "set")).startswith("images: ")


@pytest.mark.parametrize("exported", [True, False])
def test_checkpoint_without_a_setting_is_resumed_with_a_warning(runs, tmp_path, caplog, exported):
    """A checkpoint of an earlier version; the norm may be in the card of the exported encoder."""
    run = copy_of(runs("rotation3d"), tmp_path, epochs=3)
    content = torch.load(run.models / "checkpoint.pt", weights_only=True)
    for key in ("norm", "head_dropout", "lr_warmup_epochs"):
        del content["settings"][key]
    torch.save(content, run.models / "checkpoint.pt")
    if exported:
        assert failure(run, resume=True, norm=["group", {"num_groups": 1}]).startswith("norm: ")
    else:
        (run.models / "model.json").unlink()
    run.go(resume=True)
    [line] = [record.message for record in caplog.records if "does not record" in record.message]
    listed = {"lr_warmup_epochs", "head_dropout"} | ({"norm"} if not exported else set())
    found = line.partition("does not record ")[2].partition(";")[0]
    assert set(found.split(", ")) == listed


def test_non_finite_gradient_loses_only_its_epoch(runs, tmp_path):
    """The loss is finite; the files of the previous epoch remain, and the run can be resumed."""
    run = Run("rotation3d", tmp_path, runs("rotation3d").settings["dataset_dir"])
    message = poisoned(run, step=4)
    assert all(word in message for word in ("at step 4", "learning rate", "gradient norm", "--resume True"))
    content = torch.load(run.models / "checkpoint.pt", weights_only=True)
    assert content["progress"]["epoch"] == 1
    weights = torch.load(run.models / "model.pt", weights_only=True)
    assert all(value.isfinite().all() for value in (*content["network"].values(), *weights.values()))
    run.go(resume=True)
    assert run.equals(runs("rotation3d"))


def test_nothing_is_saved_after_a_non_finite_first_epoch(runs, tmp_path):
    run = Run("rotation3d", tmp_path, runs("rotation3d").settings["dataset_dir"])
    message = poisoned(run, step=2)
    assert "at step 2" in message
    assert "--resume" not in message
    assert not list(run.models.glob("*.pt"))


def poisoned(run, step):
    """Return the error of a run with one infinite gradient value at a step."""
    made = workflow(run.bundle, ["train"], **run.settings)
    set_determinism(0)  # as the run does before it builds anything
    trainer = made.parser.get_parsed_content("train#trainer")
    weight = next(iter(trainer.network.encoder.parameters()))

    def poison(gradient):
        gradient.view(-1)[0] = gradient.view(-1)[0] / (0.0 if trainer.state.iteration == step else 1.0)
        return gradient

    weight.register_hook(poison)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        made.run()
    return str(find_input_error(raised.value))
