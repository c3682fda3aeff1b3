import json

import pytest

from tools.arguments import check_arguments
from tools.errors import InputError

CONFIG = {
    "epochs": 10,
    "learning_rate": 0.001,
    "resume": False,
    "roi_size": [64, 64, 64],
    "dataset_dir": {"_target_": "x"},
    "pretrained": None,
    "amp": "$torch.cuda.is_available()",
    "train": {"trainer": {}},
}


@pytest.fixture
def check(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.json").write_text(json.dumps(CONFIG))
    (tmp_path / "configs/evaluate.json").write_text(json.dumps({"validate#handlers": []}))
    (tmp_path / "configs/metadata.json").write_text(json.dumps({"version": "0.1.0"}))
    return lambda *words: check_arguments(tmp_path, ["/site/monai/bundle/__main__.py", "run", *words])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--epochs", "3", "--resume", "True"),
        ("--epochs=3", "--resume=True"),
        ("--resume",),
        ("--learning_rate", "1"),
        ("--epochs", "$2 * 3"),
        ("--roi_size", "[32,32,32]"),
        ("--dataset_dir", "/scans", "--pretrained", "model.pt"),
        ("--train#trainer#max_epochs", "1"),
        ("--amp", "False"),
        ("--config_file", "train.json", "--run_id", "run"),
        ("--validate#handlers", "[]"),
    ],
)
def test_good_arguments_pass(check, words):
    check(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epoch", "3"), "--epoch: this bundle has no such key; did you mean --epochs?"),
        (("--version", "3"), "--version: this bundle has no such key"),
        (("--resume", "true"), "--resume: expected True or False.* found 'true'"),
        (("--resume", "1"), "--resume: expected True or False, found 1"),
        (("--amp", "false"), "--amp: expected True or False.* found 'false'"),
        (("--epochs", "ten"), "--epochs: expected a number like 10, found 'ten'"),
        (("--epochs", "2.5"), "--epochs: expected a whole number like 10, found 2.5"),
        (("--epochs", "True"), "--epochs: expected a number like 10, found True"),
        (("--roi_size", "64"), r"--roi_size: expected a list like"),
        (("--trian#trainer#max_epochs", "1"), "did you mean --train"),
    ],
)
def test_bad_arguments_are_named(check, words, message):
    with pytest.raises(InputError, match=message):
        check(*words)


def test_arguments_in_a_file_count_too(check, tmp_path):
    (tmp_path / "args.json").write_text(json.dumps({"epoch": 3}))
    with pytest.raises(InputError, match="--epoch:"):
        check("--args_file", str(tmp_path / "args.json"))


def test_other_programs_are_left_alone(tmp_path):
    check_arguments(tmp_path, ["/usr/bin/pytest", "--epoch", "3"])
