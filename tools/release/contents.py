"""Content of a release: configurations, documentation, code, and redistributable weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

import tools
from tools.utils import inputs
from tools.utils.errors import InputError

CODE = Path(tools.__file__).parent
#: packages that no bundle needs
EXCLUDED_PACKAGES = ("benchmarks", "label", "release")
#: outputs of runs and applications in a bundle's folder
RUN_OUTPUTS = ("models", "output", "phantoms", "eval", "configs/monailabel_train.json")
WEIGHTS = ("models/model.pt", "models/model.json")
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or invalid, which `tools.release.checks` reports."""
    try:
        return inputs.read_json(path)
    except InputError:
        return None


def read_metadata(bundle: Path) -> dict[str, Any]:
    """Return a bundle's ``metadata.json``; empty if it cannot be read."""
    content = read_json(bundle / "configs/metadata.json")
    return content if isinstance(content, dict) else {}


def large_files(bundle: Path) -> list[dict[str, str]]:
    """Return the entries of ``large_files.yml`` (or ``.yaml``, ``.json``): files that are downloaded, not packed.

    Empty if the file cannot be read, which another check reports.
    """
    found = [str(bundle / name) for name in LARGE_FILES if (bundle / name).exists()]
    try:
        entries = ConfigParser.load_config_files(found)["large_files"] if found else []
    except Exception:  # the parsers raise various errors
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def release_files(bundle: str | Path) -> dict[str, Path]:
    """Return the files of a release.

    A release has the bundle's files without outputs of runs, weights if ``metadata.json`` has an entry ``weights`` (see
    `tools.release.weights`), and the required code of `tools`. Large files are excluded, since they are downloaded.

    Returns:
        Paths relative to the bundle, with forward slashes, to files, in alphabetical order. Links are included, since
        `check_bundle` reports them.
    """
    bundle = Path(bundle)
    excluded = {*RUN_OUTPUTS, *(entry.get("path", "") for entry in large_files(bundle))}
    own = {path.relative_to(bundle).as_posix(): path for path in _below(bundle)}
    files = {name: path for name, path in own.items() if name not in excluded and name.split("/")[0] not in excluded}
    if "weights" in read_metadata(bundle):
        files |= {name: own[name] for name in WEIGHTS if name in own and name not in excluded}
    return dict(sorted((files | code_files()).items()))


def code_files() -> dict[str, Path]:
    """Return the files of `tools` that are part of every release: all files except documentation."""
    names = {path.relative_to(CODE): path for path in _below(CODE) if path.suffix != ".md"}
    return {f"tools/{name.as_posix()}": path for name, path in names.items() if name.parts[0] not in EXCLUDED_PACKAGES}


def _below(folder: Path) -> Iterator[Path]:
    """Yield files and links in a folder and its subfolders, without hidden files and Python caches."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path
