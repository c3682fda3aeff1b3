"""SIGKILL, SIGTERM and Ctrl-C at random moments: the resumed run equals an uninterrupted one bit for bit."""

import os
import random
import signal
import time

import pytest
import torch
from harness import ROOT, tiny

KINDS = ["cpc3d", "exemplar3d", "rotation2d", "fundus", "pancreas", "deeplesion"]
SETTINGS = {"epochs": 3, "steps_per_epoch": 3}


def command(bundle, folder, data, *words, **overrides):
    settings = {**tiny(bundle), **SETTINGS, "dataset_dir": data, "cache": "disk", "cache_dir": folder / "cache"}
    settings |= {"models_dir": folder / "models", "output_dir": folder / "output", **overrides}
    pairs = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return ["monai.bundle", "run", "--config_file", str(ROOT / f"bundles/{bundle}/configs/train.json"), *pairs, *words]


def checkpoint(folder):
    return torch.load(folder / "models/checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("bundle", KINDS)
def test_a_killed_run_resumes_to_the_same_bits(programs, tmp_path, made, fault, bundle):
    whole = programs.start(command(bundle, tmp_path / "whole", made(bundle)), ROOT)
    begin = time.monotonic()
    assert whole.wait().returncode == 0
    length = time.monotonic() - begin
    random.seed(bundle)
    words = command(bundle, tmp_path / "killed", made(bundle), "--resume", "True")
    for _ in range(3):
        with fault():
            run = programs.start(words, ROOT)
            time.sleep(random.uniform(0.2, 0.9) * length)
            if run.running():
                run.kill()
    with fault():
        done = programs.start(words, ROOT).wait()
        assert done.returncode == 0, done.stderr[-2000:]
        one, other = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed")
        assert all(torch.equal(value, other["network"][key]) for key, value in one["network"].items())
        assert not list(tmp_path.glob("killed/**/.*.partial-*"))


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_an_interrupted_run_names_resume_in_one_line(programs, tmp_path, scans, fault, number, cause):
    run = programs.start(command("cpc3d", tmp_path, scans, epochs=500), ROOT)
    while not (tmp_path / "models/checkpoint.pt").exists():
        assert run.running()
        time.sleep(0.05)
    with fault():
        os.kill(run.pid, number)
        done = run.wait()
        (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
        assert cause in line
        assert "--resume True" in line
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "models/run.lock").exists()
