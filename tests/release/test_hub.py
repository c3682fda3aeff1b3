"""Upload to the Hugging Face Hub as in the README, with MONAI's function and a simulated hub."""

import json
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
from monai.bundle import scripts

from tools.release.card import model_card
from tools.release.contents import release_files
from tools.release.pack import archive_name, pack_bundle

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles/cpc3d"


class Hub:
    """Stub of `huggingface_hub.HfApi` for a release, without a network: repositories of files, and tags of them."""

    repositories: dict

    def __init__(self, token=None):
        pass

    def create_repo(self, repo_id, private, exist_ok=False):
        assert exist_ok or repo_id not in self.repositories
        self.repositories.setdefault(repo_id, {"private": private, "files": {}, "tags": {}})

    def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
        self.repositories[repo_id]["files"][path_in_repo] = Path(path_or_fileobj).read_bytes()

    def upload_folder(self, repo_id, folder_path, ignore_patterns=()):
        for path in Path(folder_path).rglob("*"):
            name = path.relative_to(folder_path).as_posix()
            if path.is_file() and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                self.repositories[repo_id]["files"][name] = path.read_bytes()

    def create_tag(self, repo_id, tag, exist_ok=False):
        repository = self.repositories[repo_id]
        assert exist_ok or tag not in repository["tags"]
        repository["tags"][tag] = dict(repository["files"])


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """What the README's lines leave on the hub, from a folder with nothing but the release."""
    folder = tmp_path_factory.mktemp("shop")
    with zipfile.ZipFile(pack_bundle(BUNDLE, folder / "dist")) as archive:
        archive.extractall(folder / "bundles")
    text = (ROOT / "tools/release/README.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    hub = type("HfApi", (Hub,), {"repositories": {}})
    module = SimpleNamespace(HfApi=hub)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setitem(sys.modules, "huggingface_hub", module)
        patched.setattr(scripts, "huggingface_hub", module)
        exec(code, {})
    (name,) = hub.repositories
    return name, hub.repositories[name]


def test_a_push_uploads_the_release_and_its_card(pushed):
    name, repository = pushed
    assert name.endswith("/cpc3d")
    assert repository["private"]
    files = dict(repository["files"])
    assert files.pop("README.md").decode() == model_card(BUNDLE)
    assert files == {name: path.read_bytes() for name, path in release_files(BUNDLE).items()}


def test_the_tag_is_the_version_and_holds_all_of_it(pushed):
    _, repository = pushed
    version = json.loads(repository["files"]["configs/metadata.json"])["version"]
    assert repository["tags"] == {version: repository["files"]}
    assert archive_name(BUNDLE).endswith(version)
