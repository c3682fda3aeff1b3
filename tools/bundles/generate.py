"""Generator of the bundles' files, and comparison with the files on disk."""

from __future__ import annotations

import difflib
from pathlib import Path

from tools.bundles.bundle import Bundle
from tools.bundles.collection import bundle_names, read_bundle
from tools.bundles.config import to_json
from tools.bundles.readme import empty_readme, fill_readme, key_reference

LOGGING = """\
[loggers]
keys=root,tools,ignite

[handlers]
keys=terminal

[formatters]
keys=plain

[logger_root]
level=WARNING
handlers=terminal

[logger_tools]
level=INFO
qualname=tools
handlers=terminal
propagate=0

[logger_ignite]
level=CRITICAL
qualname=ignite
handlers=

[handler_terminal]
class=StreamHandler
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(message)s
"""
DATA_LICENSE = """\
The generated default data are made by this repository's code and fall under its Apache License 2.0.
{terms}
{shipped}
"""


def generate(bundle: Bundle, root: Path) -> dict[Path, str]:
    """Return the text of every generated file by its path relative to `root`.

    Args:
        bundle: bundle.
        root: folder of the repository, with the licence and the README of the bundle.
    """
    folder = Path("bundles") / bundle.name
    configs = {folder / "configs" / f"{name}.json": to_json(config) for name, config in bundle.configs().items()}
    readme = folder / "docs/README.md"
    return configs | {
        folder / "configs/logging.conf": LOGGING,
        folder / "LICENSE": (root / "LICENSE").read_text(encoding="utf-8"),
        folder / "docs/data_license.txt": DATA_LICENSE.format(terms=bundle.data_terms, shipped=bundle.shipped_terms),
        folder / "docs/keys.md": key_reference(bundle),
        readme: fill_readme(bundle, _read_text(root / readme) or empty_readme(bundle)),
    }


def write(root: Path) -> list[Path]:
    """Write the generated files that differ from the files on disk; return their paths."""
    changed = []
    for name in bundle_names():
        for path, text in generate(read_bundle(name), root).items():
            if _read_text(root / path) != text:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
                changed.append(path)
    return changed


def differences(root: Path) -> str:
    """Return the unified diff from the files on disk to the generated files; empty if they are equal.

    Configurations on disk that no bundle generates are included.
    """
    found = []
    for name in bundle_names():
        generated = generate(read_bundle(name), root)
        present = {path.relative_to(root) for path in (root / "bundles" / name / "configs").glob("*")}
        for path in sorted(generated.keys() | present):
            before, after = _read_text(root / path), generated.get(path, "")
            found += difflib.unified_diff(
                before.splitlines(), after.splitlines(), f"{path}", f"{path} (generated)", lineterm=""
            )
    return "\n".join(found)


def is_generated(bundle: Path) -> bool:
    """Return whether all configurations in the folder of a bundle equal the output of `generate`."""
    if bundle.name not in bundle_names():
        return False
    root = Path(__file__).parents[2]
    folder = Path("bundles", bundle.name)
    generated = {path.relative_to(folder): text for path, text in generate(read_bundle(bundle.name), root).items()}
    configs = {path.relative_to(bundle) for path in bundle.glob("configs/*.json")}
    return all(_read_text(bundle / path) == generated.get(path) for path in configs)


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
