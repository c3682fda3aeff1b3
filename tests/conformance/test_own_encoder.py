"""The custom encoder of the README of `tools/networks` in every kind of bundle."""

import json
import re
import sys

import pytest
from harness import ROOT, Run, config, read, run, tiny

from tools.networks import ENCODERS

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "tools/networks/README.md").read_text(encoding="utf-8"), re.S)
EXAMPLE = next(block for block in BLOCKS if "@register_encoder" in block)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Module and configuration of the README, in a folder on the Python path."""
    (tmp_path / "my_encoders.py").write_text(EXAMPLE)
    (tmp_path / "mine.json").write_text(json.dumps({"+imports": ["$import my_encoders"], "encoder": "my_dynunet"}))
    monkeypatch.syspath_prepend(tmp_path)
    yield str(tmp_path / "mine")
    sys.modules.pop("my_encoders", None)
    ENCODERS.pop("my_dynunet", None)


@pytest.mark.parametrize(
    ("pretext", "downstream"),
    [("cpc3d", "pancreas"), ("rotation2d", "fundus"), ("mae3d", "lidc"), ("vdt3d", "deeplesion")],
)
def test_it_pretrains_transfers_evaluates_and_infers(own, data, tmp_path, pretext, downstream):
    short = {"epochs": 1, "steps_per_epoch": 1, "norm": "auto"}
    source = data["photographs" if pretext == "rotation2d" else "vdt3d" if pretext == "vdt3d" else "scans"]
    first = Run(pretext, tmp_path / "first", source, **short)
    first.go(("train", own))
    first.go(("train", "evaluate", own), output_dir=str(tmp_path / "scored"))
    weights = str(first.models / "model.pt")
    second = Run(downstream, tmp_path / "second", data[downstream], pretrained=weights, protocol="finetune", **short)
    second.go(("train", own))
    second.go(("train", "evaluate", own), output_dir=str(tmp_path / "tested"))
    card = json.loads((second.models / "model.json").read_text())
    assert (card["encoder"]["name"], card["pretrained"]) == ("my_dynunet", weights)
    keys = {key: value for key, value in second.settings.items() if key in read(downstream, "inference")}
    run(downstream, ["inference", own], "inference", **keys | {"output_dir": str(tmp_path / "found")})
    assert any((tmp_path / "found").iterdir())


def test_the_command_line_finds_it_from_any_folder(own, tmp_path, programs, scans):
    files = [config("rotation3d", "train"), f"{own}.json"]
    settings = tiny("rotation3d") | {
        "dataset_dir": scans,
        "models_dir": tmp_path / "models",
        "output_dir": tmp_path / "output",
        "dry_run": True,
    }
    words = [
        "monai.bundle",
        "run",
        "--config_file",
        str(files),
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    ended = programs.start(words, tmp_path).wait()
    assert ended.returncode == 0, ended.stderr
    assert "one training step takes" in ended.stdout
