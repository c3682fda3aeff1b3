"""What the command line may say: keys that exist, values of the right kind.

MONAI adds a mistyped ``--epoch 3`` to the configuration without a word and hands ``--resume false`` over as text.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from tools.errors import InputError, install_excepthook

#: arguments of ``monai.bundle run`` itself
RUN_ARGUMENTS = {
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
    "workflow_type",
}  # fmt: skip


def check_arguments(bundle_root: str, argv: Sequence[str] | None = None) -> None:
    """Compare the command line's overrides with the keys of the bundle's own ``configs/*.json``.

    Also lets an `InputError` end the process with one line. Without a ``monai.bundle`` command line (in a notebook, a
    test, MONAI Label) nothing is compared.

    Args:
        bundle_root: the bundle's folder.
        argv: command line, default `sys.argv`.

    Raises:
        InputError: for an unknown key, or text where a number or a boolean belongs.
    """
    install_excepthook()
    defaults: dict[str, Any] = {}
    for file in sorted(Path(bundle_root, "configs").glob("*.json")):
        if file.name != "metadata.json":
            for key, value in json.loads(file.read_text()).items():
                defaults.setdefault(key.partition("#")[0], value)
    for key, value in _overrides(sys.argv if argv is None else argv).items():
        _check(key, value, defaults)


def _overrides(argv: Sequence[str]) -> dict[str, Any]:
    """Overrides of a ``python -m monai.bundle run`` command line, values parsed as Fire parses them."""
    if not argv or Path(argv[0]).parent.name != "bundle" or "run" not in argv[1:2]:
        return {}
    words, found, i = list(argv[2:]), {}, 0
    while i < len(words):
        word = words[i]
        i += 1
        if not word.startswith("--"):
            continue
        key, equals, text = word[2:].partition("=")
        if equals:
            found[key] = DefaultParseValue(text)
        elif i < len(words) and not words[i].startswith("--"):
            found[key] = DefaultParseValue(words[i])
            i += 1
        else:
            found[key] = True
    if isinstance(found.get("args_file"), str):
        found = dict(ConfigParser.load_config_file(found["args_file"])) | found
    return {k.replace("-", "_"): v for k, v in found.items() if k.replace("-", "_") not in RUN_ARGUMENTS}


def _check(key: str, value: Any, defaults: Mapping[str, Any]) -> None:
    name = key.replace("#", "::").partition("::")[0]
    if name not in defaults:
        near = difflib.get_close_matches(name, defaults, n=1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise InputError(f"--{key}: this bundle has no such key{hint}")
    if name == key:
        _check_kind(key, value, defaults[name])


def _check_kind(key: str, value: Any, default: Any) -> None:
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        return
    wrong = f"found {value!r}"
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        raise InputError(f"--{key}: expected True or False (capitalised) or another value, {wrong}")
    if isinstance(default, bool) and not isinstance(value, bool):
        raise InputError(f"--{key}: expected True or False, {wrong}")
    if _is_number(default) and not _is_number(value):
        raise InputError(f"--{key}: expected a number like {default}, {wrong}")
    if isinstance(default, int) and isinstance(value, float) and not value.is_integer():
        raise InputError(f"--{key}: expected a whole number like {default}, {wrong}")
    if isinstance(default, list) and not isinstance(value, (list, tuple)):
        raise InputError(f'--{key}: expected a list like "{default}", {wrong}')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
