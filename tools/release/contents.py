"""What a release holds: a bundle's configurations and documentation, the code, and weights that may be given away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

import tools

CODE = Path(tools.__file__).parent
#: folders of the code that measure, serve or publish the collection, and that no bundle runs
NOT_SHIPPED = ("benchmarks", "label", "release")
#: what runs and installed applications leave in a bundle's folder
LEFT_BEHIND = ("models", "output", "phantoms", "eval", "configs/monailabel_train.json")
WEIGHTS = ("models/model.pt", "models/model.json")
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None when it is missing or no JSON (`tools.release.checks` says which)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_metadata(bundle: Path) -> dict[str, Any]:
    """Return a bundle's ``metadata.json``; empty when it cannot be read."""
    content = read_json(bundle / "configs/metadata.json")
    return content if isinstance(content, dict) else {}


def large_files(bundle: Path) -> list[dict[str, str]]:
    """Return the entries of ``large_files.yml`` (or ``.yaml``, ``.json``): files that are downloaded, not packed.

    Empty when it cannot be read, which another check says.
    """
    found = [str(bundle / name) for name in LARGE_FILES if (bundle / name).exists()]
    try:
        entries = ConfigParser.load_config_files(found)["large_files"] if found else []
    except Exception:  # whatever the parser of either format raises
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def release_files(bundle: str | Path) -> dict[str, Path]:
    """Name the files of a release.

    The bundle's own files but what runs left behind, weights only where ``metadata.json`` says under ``weights`` what
    they were trained on (see `tools.release.weights`), and the code of `tools` without what no bundle runs. Large
    files stay out: they are downloaded.

    Returns:
        path below the bundle's folder, with forward slashes, to the file; in alphabetical order. Links are named too:
        it is for `check_bundle` to refuse them.
    """
    bundle = Path(bundle)
    left_out = {*LEFT_BEHIND, *(entry.get("path", "") for entry in large_files(bundle))}
    own = {path.relative_to(bundle).as_posix(): path for path in _below(bundle)}
    files = {name: path for name, path in own.items() if name not in left_out and name.split("/")[0] not in left_out}
    if "weights" in read_metadata(bundle):
        files |= {name: own[name] for name in WEIGHTS if name in own and name not in left_out}
    return dict(sorted((files | code_files()).items()))


def code_files() -> dict[str, Path]:
    """Name the files of `tools` that every release holds."""
    names = {path.relative_to(CODE): path for path in _below(CODE)}
    return {f"tools/{name.as_posix()}": path for name, path in names.items() if name.parts[0] not in NOT_SHIPPED}


def _below(folder: Path) -> Iterator[Path]:
    """Files and links below a folder, but hidden ones and Python's caches; a linked folder is not entered."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path
