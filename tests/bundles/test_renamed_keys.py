"""Keys of earlier versions: refused with the new name on the command line and in files, renamed in cards."""

import json

import pytest

from tools.bundles.arguments import check_arguments
from tools.bundles.collection import all_keys
from tools.transfer import read_card
from tools.utils.errors import InputError
from tools.utils.renamed_keys import RENAMED_KEYS, rename_settings


def argv(*words):
    return ["monai/bundle/__main__.py", "run", *words]


def test_only_present_keys_are_named():
    assert set(RENAMED_KEYS.values()) <= set(all_keys())
    assert not set(RENAMED_KEYS) & set(all_keys())


@pytest.mark.parametrize("old", ["picture_size", "allow_overlap"])
def test_an_old_key_is_refused_with_its_new_name(old, tmp_path):
    (tmp_path / "train.json").write_text("{}")
    (tmp_path / "own.json").write_text(json.dumps({old: 1}))
    file, own = (str(tmp_path / name) for name in ("train.json", "own.json"))
    with pytest.raises(InputError, match=f"^--{old}: .*--{RENAMED_KEYS[old]}$"):
        check_arguments(str(tmp_path), argv("--config_file", file, f"--{old}", "1"))
    with pytest.raises(InputError, match=rf"own\.json: key {old} .*{RENAMED_KEYS[old]}"):
        check_arguments(str(tmp_path), argv("--config_file", f"['{file}','{own}']"))


def test_recorded_settings_are_renamed():
    settings = {"picture_size": 96, "protocol": "warmup", "head": "places", "epochs": 3}
    assert rename_settings(settings) == {
        "resize_shorter_edge": 96, "protocol": "freeze_then_finetune", "head": "positions", "epochs": 3
    }  # fmt: skip


def test_an_old_card_gives_its_values_to_inference(tmp_path):
    card = {"sha256": "0" * 64, "encoder": {"name": "unet"}, "picture_size": 64}
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert read_card(tmp_path / "model.pt")["resize_shorter_edge"] == 64
