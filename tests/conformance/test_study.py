"""Studies of every downstream bundle."""

import json

import pytest
import torch
from harness import DOWNSTREAM, ROOT, read, rows, run, tiny
from monai.networks.nets import BasicUNet

from tools.study.bundle import BundleConfig
from tools.study.records import read_records
from tools.study.study import Study
from tools.utils.errors import InputError


def settings(bundle):
    return {**tiny(bundle), "epochs": 1, "val_interval": 1}


def study(bundle, data, folder, **changes):
    arguments = {"encoders": {}, "protocols": ["finetune"], "label_fractions": [0.5, 1.0], "seeds": [0]}
    arguments |= {"dataset_dir": str(data), "settings": settings(bundle), **changes}
    return Study(str(ROOT / "bundles" / bundle), str(folder / "study"), **arguments)


@pytest.mark.parametrize("bundle", DOWNSTREAM)
def test_dry_run_prints_the_plan_and_its_cost(bundle, data, tmp_path, capsys):
    overrides = {"study_dir": str(tmp_path / "study"), "dataset_dir": str(data[bundle]), "settings": settings(bundle)}
    run(bundle, ["study"], None, dry_run=True, **overrides)
    message = capsys.readouterr().out
    assert f"{bundle}: 15 runs of 2 steps" in message
    assert "seeds: 0, 1, 2" in message
    assert "warning: some label fractions select equal numbers of cases" in message
    assert "one training step takes" in message
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("bundle", DOWNSTREAM)
def test_study_has_the_same_configuration_in_all_bundles(bundle):
    ours, other = ({k: v for k, v in read(one, "study").items() if k != "bundle_root"} for one in (bundle, "pancreas"))
    assert ours == other


def test_smaller_label_fractions_are_subsets_and_seeds_differ(data):
    bundle = BundleConfig(ROOT / "bundles/fundus", {"dataset_dir": str(data["fundus"])})
    parts = {
        (seed, share): bundle.split(label_fraction=share, seed=seed) for seed in range(4) for share in (0.4, 0.7, 1.0)
    }
    chosen = {key: {case["case"] for case in part["training"]} for key, part in parts.items()}
    assert all(chosen[seed, 0.4] < chosen[seed, 0.7] < chosen[seed, 1.0] for seed in range(4))
    assert len({frozenset(chosen[seed, 0.4]) for seed in range(4)}) > 1
    assert all(part["test"] == parts[0, 1.0]["test"] for part in parts.values())


def test_failed_run_is_reported_and_the_same_command_resumes(data, tmp_path):
    folder = tmp_path / "data"
    made = write_copy(data["pancreas"], folder)
    plan = BundleConfig(ROOT / "bundles/pancreas", {"dataset_dir": str(folder), **settings("pancreas")})
    few, all_cases = (plan.split(label_fraction=share, seed=0)["training"] for share in (0.5, 1.0))
    victim = next(case for case in all_cases if case not in few)["label"]
    good = made[victim]
    with open(victim, "wb") as file:
        file.write(good[:200])
    with pytest.raises(InputError, match=r"1 of 2 runs failed, first scratch, 100 % .*exit code 1"):
        study("pancreas", folder, tmp_path).run()
    assert states(tmp_path) == {"50pct_seed0": "done", "100pct_seed0": "failed"}
    assert "failed" in (tmp_path / "study/report.md").read_text()
    with open(victim, "wb") as file:
        file.write(good)
    first = read_records(tmp_path / "study").runs["scratch", 0.5, 0]
    own = {**tiny("rotation3d"), "spacing": 2.0, "bundle": "rotation3d", "pretrained": "published"}
    changes = {"encoders": {"published": write_published(tmp_path)}, "pretrain": {"continued": own}}
    changes |= {"pretrain_steps": 1, "label_fractions": [1.0], "jobs": 2}
    study("pancreas", folder, tmp_path, **changes).run()
    assert first == read_records(tmp_path / "study").runs["scratch", 0.5, 0], "not run again"
    results = rows(tmp_path / "study/results.csv")
    assert {row["arm"] for row in results} == {"scratch", "published", "continued"}
    card = json.loads((tmp_path / "study/pretrained/continued/models/model.json").read_text())
    assert {"file": "published.ckpt", "license": "cc-by-sa-4.0"}.items() <= card["origin"].items()
    seen, tested = ({case["case"] for case in cases} for cases in (card["cases"], results))
    assert seen
    assert not seen & tested
    assert not list((tmp_path / "study/cells").rglob("*.pt")), "networks are not kept"


def test_published_weights_are_compared_with_their_continuation_and_with_ours(data, tmp_path, capsys):
    own = {**tiny("rotation3d"), "spacing": 2.0, "bundle": "rotation3d"}
    encoders = {"published": write_published(tmp_path)}
    pretrain = {"mine": own, "continued": {**own, "pretrained": "published"}}
    study("pancreas", data["pancreas"], tmp_path, encoders=encoders, pretrain=pretrain).run(dry_run=True)
    printed = capsys.readouterr().out
    assert "initialisations: scratch, mine, continued, published" in printed
    assert f"pretraining of continued with rotation3d from {tmp_path / 'published.ckpt'}" in printed


def write_published(folder):
    """Made-up weights as another project would publish them, with a licence."""
    torch.manual_seed(0)
    network = BasicUNet(features=(16, 32, 64, 128, 256, 16), norm=("group", {"num_groups": 8}))
    weights = {f"model.encoder.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "pytorch-lightning_version": "2.4.0"}, folder / "published.ckpt")
    (folder / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n# Made up\n")
    return str(folder / "published.ckpt")


def write_copy(source, folder):
    """Copy a data set and return the content of its files by path."""
    content = {}
    for path in sorted(source.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            content[str(target)] = path.read_bytes()
    return content


def states(folder):
    records = read_records(folder / "study")
    found = dict.fromkeys(records.runs, "done") | dict.fromkeys(records.errors, "failed")
    return {f"{100 * key.fraction:g}pct_seed{key.seed}": state for key, state in found.items()}
