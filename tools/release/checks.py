"""Checks of a bundle before release: rules of the Model Zoo, and self-contained content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

from tools.release.contents import LARGE_FILES, large_files, read_json, release_files
from tools.release.metadata import metadata_problems, version_problems
from tools.release.packages import package_problems
from tools.release.weights import weights_problems

CONFIGS = ("train", "inference", "evaluate", "multi_gpu_train", "paper", "metadata")
NEEDED = (
    *["LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf"],
    *[f"configs/{name}.json" for name in CONFIGS],
)
ALLOWED = re.compile(r"LICENSE|large_files\.(yml|yaml|json)|configs/\w+\.(json|conf)|docs/.+|models/.+|tools/.+\.py")
MAX_BYTES = 25 * 1024**2  # maximum file size in the Model Zoo
PROPERTIES = {"train": TrainProperties, "inference": InferProperties}
ABSOLUTE = re.compile(r"[/~]|[A-Za-z]:[\\/]|file:")


def check_bundle(bundle: str | Path) -> list[str]:
    """Return the problems of a bundle, one line each, without instantiating or running it.

    Args:
        bundle: folder of the bundle, with the bundle's name.
    """
    bundle = Path(bundle)
    if not (bundle / "configs").is_dir():
        return [f"{bundle}: expected the folder of a bundle, found {'no configs in it' if bundle.is_dir() else 'none'}"]
    return [f"{bundle.name}: {problem}" for check in CHECKS for problem in check(bundle)]


def name_problems(bundle: Path) -> list[str]:
    """Check the name, which MONAI splits at ``_v`` into name and version."""
    if re.fullmatch(r"\w+", bundle.name) and "_v" not in bundle.name:
        return []
    return ["name: expected letters, digits and underscores, without '_v'"]


def file_problems(bundle: Path) -> list[str]:
    """Check that all required files exist, and that no file is unexpected, empty, a link or too large."""
    files = release_files(bundle)
    problems = [f"{name}: expected this file, found none" for name in NEEDED if name not in files]
    for name, path in files.items():
        if path.is_symlink():
            problems.append(f"{name}: expected a file, found a link to {path.readlink()}")
        elif not ALLOWED.fullmatch(name):
            problems.append(f"{name}: expected a file in configs or docs, or LICENSE, found another file")
        elif not path.stat().st_size and name in NEEDED:
            problems.append(f"{name}: expected a file with content, found an empty file")
        elif path.stat().st_size > MAX_BYTES:
            size = f"{path.stat().st_size / 1024**2:.1f} MB"
            problems.append(f"{name}: expected at most {MAX_BYTES // 1024**2} MB, found {size}; see {LARGE_FILES[0]}")
    return problems


def large_file_problems(bundle: Path) -> list[str]:
    """Check that entries of downloaded files have a path inside the bundle, a URL and a SHA-256."""
    problems = []
    for name in LARGE_FILES:
        if (bundle / name).exists() and not large_files(bundle):
            problems.append(f"{name}: expected entries under large_files, found none")
    for number, entry in enumerate(large_files(bundle)):
        key = f"{LARGE_FILES[0]}: large_files[{number}]"
        missing = [name for name in ("path", "url", "hash_val", "hash_type") if not entry.get(name)]
        if missing:
            problems.append(f"{key}: expected path, url, hash_val and hash_type, found no {', '.join(missing)}")
            continue
        if ABSOLUTE.match(entry["path"]) or ".." in PurePosixPath(entry["path"]).parts:
            problems.append(f"{key}.path: expected a file inside the bundle, found {entry['path']}")
        if entry["hash_type"] != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", entry["hash_val"]):
            problems.append(f"{key}: expected a sha256 of 64 digits, found {entry['hash_type']} {entry['hash_val']}")
    return problems


def config_problems(bundle: Path) -> list[str]:
    """Check that configurations are JSON, have MONAI's required properties, and no absolute paths."""
    problems = []
    for path in sorted((bundle / "configs").glob("*.json")):
        name, content = f"configs/{path.name}", read_json(path)
        if not isinstance(content, dict):
            problems.append(f"{name}: expected JSON with keys, found something else")
            continue
        found = [(key, one) for key, text in _texts(content) for one in _absolute(text)]
        problems += [f"{name}: {key}: expected a relative path, found {one}" for key, one in found]
        parser = ConfigParser(content)
        for rule in PROPERTIES.get(path.stem, {}).values():
            if rule["required"] and rule["id"] not in parser:
                problems.append(f"{name}: expected the key {rule['id'].replace('::', '#')}, found none")
    return problems


def _texts(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the strings of a configuration with their keys."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for name, one in pairs:
            yield from _texts(one, f"{key}#{name}" if key else str(name))
    elif isinstance(content, str):
        yield key, content


def _absolute(text: str) -> list[str]:
    """Return the absolute paths in a string, or in the literals of an expression that are not concatenated."""
    if not text.startswith("$"):
        return [text] if ABSOLUTE.match(text) and not text.startswith("//") else []
    literals = re.findall(r"(\+\s*)?'([^']*)'", text)
    return [literal for added, literal in literals if not added and ABSOLUTE.match(literal)]


CHECKS: tuple[Callable[[Path], list[str]], ...] = (
    name_problems,
    file_problems,
    config_problems,
    metadata_problems,
    version_problems,
    package_problems,
    weights_problems,
    large_file_problems,
)
