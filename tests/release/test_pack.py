"""Zip archives of releases: reproducible bytes, one folder, no path outside it, and the list of the Model Zoo."""

import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from tools.release.card import model_card
from tools.release.contents import release_files
from tools.release.pack import archive_name, pack_bundle
from tools.utils.errors import InputError

BUNDLE = Path(__file__).parents[2] / "bundles/rotation2d"
FILES = shutil.ignore_patterns("models", "output", "phantoms", "eval")


def test_the_same_input_gives_the_same_bytes(tmp_path):
    copy = Path(shutil.copytree(BUNDLE, tmp_path / "elsewhere/rotation2d", ignore=FILES))
    for path in copy.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (10**9, 10**9))
    (copy / "output").mkdir()
    (copy / "output/metrics.csv").write_text("left by a run")
    (copy / "models").mkdir()
    (copy / "models/model.pt").write_bytes(b"trained on phantoms")
    first, second = pack_bundle(BUNDLE, tmp_path / "a"), pack_bundle(copy, tmp_path / "b")
    assert first.name == "rotation2d_v0.1.0.zip"
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert second.stat().st_size < 25 * 1024**2


def test_it_holds_one_bundle_and_its_code(tmp_path):
    with zipfile.ZipFile(pack_bundle(BUNDLE, tmp_path)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert archive.read("rotation2d/LICENSE") == (BUNDLE / "LICENSE").read_bytes()
    assert {name.split("/")[0] for name in names} == {"rotation2d"}
    assert {"configs", "docs", "tools", "LICENSE"} == {name.split("/")[1] for name in names}
    assert not [name for name in names if ".." in name or "\\" in name or "__pycache__" in name]


def test_checksum_and_list_describe_the_zip(tmp_path):
    archive = pack_bundle(BUNDLE, tmp_path, source="https://example.org/releases/")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (tmp_path / "rotation2d_v0.1.0.zip.sha256").read_text() == f"{digest}  rotation2d_v0.1.0.zip\n"
    entry = {
        "checksum": hashlib.sha1(archive.read_bytes()).hexdigest(),
        "source": "https://example.org/releases/rotation2d_v0.1.0.zip",
    }
    assert json.loads((tmp_path / "model_info.json").read_text()) == {archive_name(BUNDLE): entry}


def test_a_released_version_is_not_written_again_with_other_content(tmp_path):
    copy = Path(shutil.copytree(BUNDLE, tmp_path / "rotation2d", ignore=FILES))
    pack_bundle(copy, tmp_path / "dist")
    before = (tmp_path / "dist/rotation2d_v0.1.0.zip").read_bytes()
    pack_bundle(copy, tmp_path / "dist")
    (copy / "docs/data_license.txt").write_text("something else")
    with pytest.raises(InputError, match=r"rotation2d: version.*rotation2d_v0\.1\.0"):
        pack_bundle(copy, tmp_path / "dist")
    assert (tmp_path / "dist/rotation2d_v0.1.0.zip").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rotation2d_v0.1.0.zip", "another", r"rotation2d: version: expected a new one, .*/rotation2d_v0.1.0.zip with"),
        ("model_info.json", "{", r"/model_info.json: expected JSON with an entry for each release"),
        ("model_info.json", '{"a": 1}', r"/model_info.json: expected JSON with an entry for each release"),
    ],
)
def test_what_lies_there_already_is_not_overwritten(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        pack_bundle(BUNDLE, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == [content]


def test_what_was_not_checked_is_not_packed(tmp_path):
    copy = Path(shutil.copytree(BUNDLE, tmp_path / "rotation2d", ignore=FILES))
    (copy / "docs/passwords").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"docs/passwords.*/etc/passwd"):
        pack_bundle(copy, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_other_entries_of_the_list_stay(tmp_path):
    other = {"cpc2d_v0.1.0": {"checksum": "", "source": "https://example.org/cpc2d"}}
    (tmp_path / "model_info.json").write_text(json.dumps(other))
    pack_bundle(BUNDLE, tmp_path)
    found = json.loads((tmp_path / "model_info.json").read_text())
    assert list(found) == ["cpc2d_v0.1.0", "rotation2d_v0.1.0"]
    assert found["cpc2d_v0.1.0"] == other["cpc2d_v0.1.0"]


def test_the_card_has_the_required_content():
    metadata = json.loads((BUNDLE / "configs/metadata.json").read_text())
    card = model_card(BUNDLE)
    assert card.startswith("---\nlibrary_name: monai\n")
    for text in (metadata["intended_use"], metadata["image_classes"], *metadata["references"], "Apache License 2.0"):
        assert text in card
    assert f"{metadata['eval_metrics']['accuracy']:g}" in card
    assert "](docs/preview.png)" in card
    assert "\n# " not in card.split("# Rotation, 2D", 1)[1]


def test_links_of_a_card_lead_to_files_of_the_release():
    for bundle in BUNDLE.parent.iterdir():
        links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", model_card(bundle))
        assert links
        assert {link.partition("#")[0] for link in links} <= release_files(bundle).keys()
