"""Weights on the Hugging Face Hub: addresses ``hf://owner/name[@revision][/file]``, downloaded once and cached."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tools.utils.errors import InputError, one_line
from tools.utils.packages import require_package

SCHEME = "hf://"
ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>\w[\w./ -]*))?/?")
WEIGHTS = (".pth", ".pt", ".ckpt")
CARD = "README.md"
#: folder of a file that huggingface_hub has downloaded
SNAPSHOT = re.compile(r"models--([\w.-]+)--([\w.-]+)/snapshots/([0-9a-f]{40})/(.+)")


def local_file(address: str | Path) -> Path:
    """Return the local path of a weights file, and download it if it is an address of the Hub.

    The model card is downloaded along with it, for the licence. Files in ``<cache>/owner/name`` (or ``name@revision``)
    take precedence and need neither a network nor huggingface_hub; the cache is huggingface_hub's.

    Args:
        address: path, or ``hf://owner/name[@revision][/file]``; without a file, the repository's only weights file.

    Raises:
        InputError: if the path or address is malformed, or the file is neither in the cache nor downloadable.
    """
    if not str(address).startswith(SCHEME):
        if not Path(address).name:
            raise InputError(f"pretrained: expected a weights file, found {str(address)!r}")
        return Path(address)
    parts = ADDRESS.fullmatch(str(address))
    if parts is None or ".." in re.split("[/@]", str(address)):
        raise InputError(f"{address}: expected hf://owner/name, hf://owner/name/file or hf://owner/name@revision/file")
    repo, revision, file = parts["repo"], parts["revision"], parts["file"]
    folder = cache_folder() / (repo if revision is None else f"{repo}@{revision}")
    if folder.is_dir():
        return folder / (file or _only_weights(address, [one.name for one in folder.iterdir()]))
    try:
        require_package("huggingface_hub", "huggingface_hub", str(address))
        return _download(str(address), repo, revision, file)
    except InputError as error:
        raise InputError(f"{error}; or {_by_hand(repo, revision, file, folder)}") from error


def describe_origin(path: Path) -> dict[str, str]:
    """Return address, revision and licence of a file, if its path and the model card next to it contain them."""
    found = SNAPSHOT.search(path.as_posix())
    known = {} if found is None else {"address": f"{SCHEME}{found[1]}/{found[2]}/{found[4]}", "revision": found[3]}
    card = path.parent / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    entries = dict(re.findall(r"^(license|license_name): *[\"']?(.+?)[\"']? *$", head[1], re.MULTILINE)) if head else {}
    license = entries.get("license_name") or entries.get("license")
    return known | ({"license": license} if license else {})


def cache_folder() -> Path:
    """Return the cache of huggingface_hub."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _download(address: str, repo: str, revision: str | None, file: str | None) -> Path:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        if file is None:
            file = _only_weights(address, HfApi().list_repo_files(repo, revision=revision))
        path = hf_hub_download(repo, file, revision=revision, cache_dir=cache_folder())
    except InputError:
        raise
    except Exception as error:  # of the network, the repository, its licence agreement, or the disk
        raise InputError(f"{address}: expected a file to download, found {one_line(error)[:200]}") from error
    try:
        hf_hub_download(repo, CARD, revision=Path(path).parents[file.count("/")].name, cache_dir=cache_folder())
    except EntryNotFoundError:
        pass  # a repository without a model card
    except Exception as error:
        raise InputError(f"{address}: expected its model card {CARD}, found {one_line(error)[:200]}") from error
    return Path(path)


def _only_weights(address: str | Path, names: Sequence[str]) -> str:
    found = sorted(name for name in names if name.endswith(WEIGHTS))
    if len(found) != 1:
        listed = ", ".join(found[:5]) or f"none among {len(names)} files"
        raise InputError(f"{address}: expected one file {' or '.join(WEIGHTS)}, found {listed}; add its name")
    return found[0]


def _by_hand(repo: str, revision: str | None, file: str | None, folder: Path) -> str:
    source = f"https://huggingface.co/{repo}/resolve/{revision or 'main'}"
    return f"download {source}/{file or '<weights file>'} and {source}/{CARD} elsewhere and put them into {folder}"
