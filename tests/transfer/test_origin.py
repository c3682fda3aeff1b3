"""Origin of weights: addresses of the Hub, model cards, licences."""

import json
import sys
import types

import pytest
import torch

from tools.networks import build_encoder
from tools.transfer import export_encoder, load_encoder, local_file, read_origin
from tools.transfer.hub import describe_origin
from tools.utils.errors import InputError

REVISION = "0123456789abcdef0123456789abcdef01234567"
README = "---\ntags:\n- mri\nlicense: other\nlicense_name: 'cc-by-nc-4.0'\n---\n# Encoder\nlicense: none of these\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache, monkeypatch):
    """A stand-in for huggingface_hub with one repository; returns its files, by name."""
    files = {"weights/encoder.pth": b"", "README.md": README.encode(), "config.json": b"{}"}
    errors = types.ModuleType("huggingface_hub.errors")
    errors.EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})

    def hf_hub_download(repo, file, revision, cache_dir):
        if file not in files:
            raise errors.EntryNotFoundError(file)
        path = cache_dir / f"models--{repo.replace('/', '--')}" / "snapshots" / REVISION / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[file])
        return str(path)

    module = types.ModuleType("huggingface_hub")
    module.__spec__ = types.SimpleNamespace()
    module.hf_hub_download = hf_hub_download
    module.HfApi = lambda: types.SimpleNamespace(list_repo_files=lambda repo, revision: list(files))
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return files


def weights():
    torch.manual_seed(0)
    return build_encoder(["unet", {"features": [8, 8, 8, 8, 8]}], norm="batch")


def test_a_file_of_the_hub_loads_with_its_origin(hub, tmp_path):
    torch.save({"state_dict": weights().state_dict()}, tmp_path / "encoder.pth")
    hub["weights/encoder.pth"] = (tmp_path / "encoder.pth").read_bytes()
    for address in (
        "hf://owner/name",
        "hf://owner/name/weights/encoder.pth",
        "hf://owner/name@main/weights/encoder.pth",
    ):
        assert load_encoder(weights(), address).percent == 100
    hub["encoder.pth"] = hub.pop("weights/encoder.pth")
    path = local_file("hf://owner/name")
    origin = read_origin(path)["origin"]
    known = {"address": "hf://owner/name/encoder.pth", "revision": REVISION, "license": "cc-by-nc-4.0"}
    assert known.items() <= origin.items()
    assert origin["format"] == "training checkpoint"


def test_several_files_are_listed(hub):
    hub["second.pt"] = b""
    with pytest.raises(InputError, match=r"found second.pt, weights/encoder.pth; add its name"):
        local_file("hf://owner/name")


def test_a_repository_without_a_card_has_no_licence(hub):
    del hub["README.md"]
    assert "license" not in describe_origin(local_file("hf://owner/name"))


def test_offline_the_message_names_file_and_place_and_the_file_is_found_there(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        local_file("hf://owner/name/encoder.pth")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "huggingface_hub",
        "https://huggingface.co/owner/name/resolve/main/encoder.pth",
        str(cache / "owner/name"),
    ):
        assert part in message
    (cache / "owner/name").mkdir(parents=True)
    torch.save(weights().state_dict(), cache / "owner/name/encoder.pth")
    (cache / "owner/name/README.md").write_text(README)
    assert load_encoder(weights(), "hf://owner/name/encoder.pth").percent == 100
    assert read_origin(local_file("hf://owner/name"))["origin"]["license"] == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://owner", "hf://o/n/../../x", "hf://../n/f", "hf://o/n@../x", "hf://o/n//etc/passwd"],
)
def test_malformed_addresses_and_paths_out_of_the_cache_are_refused(cache, address):
    with pytest.raises(InputError, match="expected hf://owner/name"):
        local_file(address)


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_paths_without_a_name_are_refused(path):
    with pytest.raises(InputError, match="expected a weights file"):
        local_file(path)


def test_the_origin_passes_through_runs_of_this_project(tmp_path):
    torch.save(weights().state_dict(), tmp_path / "other.pth")
    first = read_origin(tmp_path / "other.pth")
    assert first["origin"]["file"] == "other.pth"
    export_encoder(weights(), tmp_path / "model.pt", {"task": "mae3d", **first})
    assert read_origin(tmp_path / "model.pt") == first
    export_encoder(weights(), tmp_path / "scratch.pt", {"task": "mae3d"})
    assert read_origin(tmp_path / "scratch.pt") == read_origin(None) == {}
    assert json.loads((tmp_path / "model.json").read_text())["origin"] == first["origin"]
