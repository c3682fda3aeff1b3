import json

import numpy as np
from PIL import Image

from tools.benchmarks import step


def test_the_table_has_every_figure(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"scan_{number}.png")
    settings = {"roi_size": [32, 32], "picture_size": 40, "batch_size": 2, "code_channels": 8, "head_channels": [8]}
    output = tmp_path / "out/figures.json"
    output.parent.mkdir()
    step.main("bundles/rotation2d", steps=1, output=str(output), dataset_dir=str(tmp_path), **settings)
    found = json.loads(output.read_text())["rotation2d"]
    assert found["overhead"] == found["step_ms"] / found["bare_step_ms"] - 1
    assert found["times_faster_than_off"] == found["all_keys_off_ms"] / found["step_ms"]
    assert all(value > 0 for name, value in found.items() if name.startswith("times_faster_by_"))
    assert "times_faster_than_off" in capsys.readouterr().out


def test_by_default_all_that_pretrain_and_one_more():
    names = step.default_bundles()
    assert len(names) == len(set(names)) == 14
    assert step.DOWNSTREAM in names
