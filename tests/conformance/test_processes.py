"""Properties of whole processes: working directory, SIGKILL, two ranks, two concurrent runs, one-line errors.

For rotation3d, the 3D pretext bundle with the smallest images.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from harness import ROOT, Run, data_kind, tiny, write_scans

from tools.phantoms.brain import brain_phantoms
from tools.release.pack import pack_bundle

BUNDLE = "rotation3d"
CONFIG = ROOT / "bundles" / BUNDLE / "configs"


def command(config, folder, *words, bundle=BUNDLE, **overrides):
    """Command line after ``python -m`` that runs a configuration."""
    settings = {**tiny(bundle), "models_dir": folder / "models", "output_dir": folder / "output", **overrides}
    pairs = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return ["monai.bundle", "run", "--config_file", str(config), *pairs, *words]


def succeed(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def succeed_with_torchrun(words):
    """Run on two ranks: gloo's threads now and then abort while the interpreter leaves, all work done.

    See pytorch/pytorch#179291; about one run in forty here. Anything else fails at once.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *launcher, *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if not done.returncode or "terminate called without an active exception" not in done.stderr:
            break
    return succeed(done)


def succeed_together(programs, words):
    """Run on two ranks and return the result of rank 0."""
    first, _ = [succeed(rank.wait()) for rank in start_together(programs, words)]
    return first


def start_together(programs, words):
    """Start two ranks with the environment and store of torchrun, but faster."""
    programs.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # outlives the ranks
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(programs.store.port)}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    return [programs.start(words, ROOT, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]


def packed(folder):
    """An unpacked release: a folder with one bundle and the code it needs."""
    with zipfile.ZipFile(pack_bundle(ROOT / "bundles" / BUNDLE, folder / "dist")) as archive:
        archive.extractall(folder)
    return folder / BUNDLE


@pytest.mark.parametrize("place", ["bundle", "foreign", "packed, foreign"])
def test_it_runs_from_anywhere(programs, tmp_path, scans, place):
    home = packed(tmp_path / "zip") if "packed" in place else ROOT / "bundles" / BUNDLE
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    cwd = home if place == "bundle" else foreign
    config = home / "configs/train.json"
    config = config.relative_to(cwd) if config.is_relative_to(cwd) else config
    succeed(programs.start(command(config, tmp_path, epochs=1, dataset_dir=scans), cwd).wait())
    assert (tmp_path / "models/model.json").exists()


def test_another_package_named_tools_is_an_error(programs, tmp_path, scans):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/__init__.py").write_text("")
    done = programs.start(command(CONFIG / "train.json", tmp_path, dataset_dir=scans), tmp_path).wait()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: found another package named tools")
    assert "Traceback" not in done.stderr


TWO_BUNDLES = """
import json, sys
from monai.bundle import ConfigWorkflow

made = []
for root, settings in json.loads(sys.argv[1]):
    workflow = ConfigWorkflow(root + "/configs/train.json", workflow_type="train", bundle_root=root, **settings)
    workflow.initialize()
    made.append(workflow)
for workflow in made:
    workflow.run()
    workflow.finalize()
"""


def test_two_bundles_in_one_process(programs, tmp_path, scans):
    """One of the repository and one unpacked elsewhere; both are initialised before either runs."""
    homes = [ROOT / "bundles" / BUNDLE, packed(tmp_path / "zip")]
    arguments = []
    for name, home in zip("ab", homes, strict=True):
        own = {"models_dir": str(tmp_path / name), "output_dir": str(tmp_path / name), "dataset_dir": str(scans)}
        arguments.append([str(home), {**tiny(BUNDLE), "epochs": 1, **own}])
    (tmp_path / "two_bundles.py").write_text(TWO_BUNDLES)
    succeed(programs.start(["two_bundles", json.dumps(arguments)], tmp_path).wait())
    weights = [(tmp_path / name / "model.pt").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_killed_and_resumed_equals_uninterrupted(programs, tmp_path, scans):
    """After SIGKILL in the middle of an epoch, --resume True gives the same weights bit for bit."""
    settings = {"epochs": 3, "steps_per_epoch": 3}
    Run(BUNDLE, tmp_path / "whole", scans, **settings).go()
    words = command(CONFIG / "train.json", tmp_path / "killed", dataset_dir=scans, **settings)
    checkpoint = tmp_path / "killed/models/checkpoint.pt"
    process = programs.start(words, ROOT)
    while not checkpoint.exists():
        assert process.running()
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    epoch = torch.load(checkpoint, weights_only=True)["progress"]["epoch"]
    assert epoch < 3
    done = succeed(programs.start([*words, "--resume", "True"], ROOT).wait())
    assert f"continues after epoch {epoch} of 3" in done.stdout
    whole, killed = (
        torch.load(tmp_path / name / "models/checkpoint.pt", weights_only=True) for name in ("whole", "killed")
    )
    assert all(torch.equal(v, killed["network"][k]) for k, v in whole["network"].items())
    moments = [s["optimizer"]["state"] for s in (whole, killed)]
    assert all(torch.equal(v, moments[1][i][k]) for i, state in moments[0].items() for k, v in state.items())
    tables = [(tmp_path / name / "output/metrics.csv").read_text() for name in ("whole", "killed")]
    rows = [[(r["epoch"], r["train_loss"], r["val_accuracy"]) for r in csv.DictReader(t.splitlines())] for t in tables]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("bundle", ["cpc3d", "pancreas"])
def test_two_ranks_train_like_one_process(programs, tmp_path, data, bundle):
    """With gloo on half the batch each; the weights agree to rounding, and only rank 0 writes and runs the probe.

    The first is started by torchrun, what follows in processes that torch is imported in already.
    Every task and loss, in processes that share their start, is in ``tests/test_distributed.py``.
    """
    files = [str(ROOT / f"bundles/{bundle}/configs" / name) for name in ("train.json", "multi_gpu_train.json")]
    probe = {"probe_dir": data["pancreas"]} if bundle == "cpc3d" else {}
    data = data[data_kind(bundle)]
    settings = {"epochs": 1, "learning_rate": 1e-4, "val_fraction": 0.4, "dataset_dir": str(data)}
    own = {**settings, "batch_size": 1, "bundle": bundle, "cache_dir": tmp_path / "cache"}
    places = {f"{kind}_dir": f"$'{tmp_path}/two/{kind}' + os.environ['RANK']" for kind in ("models", "output")}
    words = command(files, tmp_path / "two", **own, **places, **probe)
    done = succeed_with_torchrun(words) if bundle == "cpc3d" else succeed_together(programs, words)
    assert done.stdout.count("epoch 1/1") == 1
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"models0", "output0"}
    assert done.stdout.count("probe before training") == len(probe)
    one = Run(bundle, tmp_path / "one", data, **settings, batch_size=2)
    one.go()
    two = torch.load(tmp_path / "two/models0/checkpoint.pt", weights_only=True)["network"]
    unchanged = {**settings, "learning_rate": 0.0, "steps_per_epoch": 1}
    start = Run(bundle, tmp_path / "start", data, **unchanged, batch_size=2)
    start.go()
    initial = start.weights()
    moved = sum((v - initial[k]).abs().sum() for k, v in one.weights().items())
    apart = sum((v - two[k]).abs().sum() for k, v in one.weights().items())
    assert apart < 0.01 * moved
    if bundle == "pancreas":
        tables = [(tmp_path / place / "metrics.csv").read_text() for place in ("one/output", "two/output0")]
        rows = [next(csv.DictReader(table.splitlines())) for table in tables]
        for name, apart in (("train_loss", 1e-5), ("val_mean_dice", 1e-3)):  # Dice counts voxels that are undecided
            assert float(rows[1][name]) == pytest.approx(float(rows[0][name]), rel=apart)
    if bundle != "cpc3d":
        return  # it is evaluated by one process

    evaluate = [*files, files[0].replace("train.json", "evaluate.json")]
    models = str(tmp_path / "two/models0")
    succeed_together(programs, command(evaluate, tmp_path / "two", **own, models_dir=models, val_steps=4))
    one.go(("train", "evaluate"), models_dir=models, val_steps=4)
    results = [json.loads((tmp_path / name / "output/evaluation.json").read_text()) for name in ("one", "two")]
    assert results[0]["cases"].keys() == results[1]["cases"].keys()
    assert results[0]["accuracy"] == pytest.approx(results[1]["accuracy"], abs=0.01)


def with_another_scan(folder):
    write_scans(folder, 5)
    shutil.copy(folder / "scan_0.nii.gz", folder / "scan_4.nii.gz")


@pytest.mark.parametrize(
    ("change", "words"), [(Path.mkdir, "scan_0 (other content)"), (with_another_scan, "scan_4 (other content)")]
)
def test_rank_with_other_data_ends_the_run_with_one_line(programs, tmp_path, scans, change, words):
    change(tmp_path / "1")
    (tmp_path / "0").symlink_to(scans, target_is_directory=True)
    files = [str(CONFIG / name) for name in ("train.json", "multi_gpu_train.json")]
    folders = f"$'{tmp_path}/' + os.environ['RANK']"
    started = command(files, tmp_path / "out", dataset_dir=folders, epochs=1, batch_size=1)
    done = [rank.wait() for rank in start_together(programs, started)]
    assert all(one.returncode > 0 for one in done)
    (line,) = [line for one in done for line in one.stderr.splitlines() if "error: " in line]
    assert words in line
    assert not any("Traceback" in one.stderr for one in done)
    assert not (tmp_path / "out/models").exists()


def test_concurrent_runs_use_the_same_phantoms(programs, tmp_path):
    """Both runs generate or wait for the same phantoms and train on them."""
    folder = tmp_path / "phantoms"
    phantoms = {"dataset_dir#folder": folder, "dataset_dir#num_cases": 3, "epochs": 1}
    runs = [programs.start(command(CONFIG / "train.json", tmp_path / name, **phantoms), ROOT) for name in "ab"]
    for started in runs:
        succeed(started.wait())
    assert len(list(folder.glob("*.nii.gz"))) == 3
    assert brain_phantoms(str(folder), num_cases=3) == str(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "error: --epoch: this bundle has no such key; did you mean --epochs?"),
        (["--dataset_dir", "nowhere"], "nowhere: expected a folder of volumes, found nothing"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(programs, tmp_path, words, message):
    done = programs.start(command(CONFIG / "train.json", tmp_path, *words), ROOT).wait()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()


def test_two_ranks_that_diverge_end_together_with_one_line(programs, tmp_path, scans):
    """The only step of an epoch makes weights infinite after a finite loss."""
    config = [str(CONFIG / name) for name in ("train.json", "multi_gpu_train.json")]
    settings = {"learning_rate": 1e39, "steps_per_epoch": 1, "batch_size": 1, "val_fraction": 0.4}
    ranks = start_together(programs, command(config, tmp_path, dataset_dir=scans, **settings))
    done = [rank.wait() for rank in ranks]
    assert [one.returncode for one in done] == [1, 1]
    [line] = [line for one in done for line in one.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: weights: ")
    assert "at step 1 (learning rate 1e+39" in line
    assert not list((tmp_path / "models").glob("*.pt"))
