"""Check of the command line of ``monai.bundle run`` against the keys of the configuration and the key registry.

MONAI silently adds a mistyped ``--epoch 3`` to the configuration and passes ``--resume false`` as a string. Fire
parses the folder ``data#1`` as ``data`` and ``2021`` as a number.
"""

import difflib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any, NamedTuple

from fire.parser import DefaultParseValue
from monai.bundle import ConfigComponent, ConfigParser
from monai.utils import ensure_tuple

from tools.bundles import kinds
from tools.bundles.collection import all_keys
from tools.bundles.imports import check_imports
from tools.bundles.kinds import Kind
from tools.training.plan import AUTO
from tools.utils.errors import InputError
from tools.utils.excepthook import install_excepthook
from tools.utils.renamed_keys import RENAMED_KEYS

#: arguments of ``monai.bundle run``, in order
RUN_ARGUMENTS = (
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
    "workflow_type",
)  # fmt: skip
#: prefix of a flag in Fire; ``-1`` is a value
FLAG = re.compile("--|-[a-zA-Z]")


class Override(NamedTuple):
    """A value from the command line.

    Attributes:
        value: value parsed by Fire.
        text: text on the command line; None for values of an ``args_file``.
    """

    value: Any
    text: str | None = None


def check_arguments(bundle_root: str, argv: Sequence[str] | None = None) -> None:
    """Check the overrides of the command line against its configuration files, and check their imports.

    Also installs an exception hook that prints an `InputError` as one line. Nothing is checked without a
    ``monai.bundle`` command line, as in a notebook, a test or MONAI Label.

    Args:
        bundle_root: folder of the bundle, whose ``configs/*.json`` are searched for unknown keys.
        argv: command line, by default `sys.argv`.

    Raises:
        InputError: see `check_overrides` and `check_imports`.
    """
    install_excepthook()
    words = _parse_run_arguments(sys.argv if argv is None else argv)
    files = [Path(file) for file in ensure_tuple(words.pop("config_file", Override(())).value or ())]
    if not files:
        return
    config = ConfigParser.load_config_files(files)
    overrides = {key: override for key, override in words.items() if key not in RUN_ARGUMENTS}
    _refuse_renamed(overrides, files)
    missing = next((key for key in overrides if _check_path(key, config)), None)
    other = None if missing is None else _find_config_with(missing, Path(bundle_root, "configs"))
    if other is not None:
        raise InputError(
            f"--{missing}: expected a key of {' or '.join(file.name for file in files)}, found a key of {other}"
        )
    for key, override in overrides.items():
        _check_verbatim(key, override)
    check_overrides({key: override.value for key, override in overrides.items()}, config)
    check_imports(config)


def _refuse_renamed(overrides: Iterable[str], files: Iterable[Path]) -> None:
    """Raise an `InputError` for a key of an earlier version, on the command line or in a configuration file."""
    for key in overrides:
        if key in RENAMED_KEYS:
            raise InputError(f"--{key}: this key is now called --{RENAMED_KEYS[key]}")
    for file in files:
        for key in ConfigParser.load_config_file(file):
            if key in RENAMED_KEYS:
                raise InputError(f"{file}: key {key} is now called {RENAMED_KEYS[key]}; rename it")


def _find_config_with(key: str, folder: Path) -> str | None:
    """Return the name of a configuration in a folder that has a key, preferably ``train.json``."""
    names = (path.name for path in sorted(folder.glob("*.json")) if path.name != "metadata.json")
    for name in sorted(names, key=lambda name: name != "train.json"):
        if _check_path(key, _nested(ConfigParser.load_config_file(folder / name))) is None:
            return name
    return None


def check_overrides(overrides: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check overrides against the configuration that they override.

    Args:
        overrides: values by key; ``#`` or ``::`` separates the levels of a nested key.
        config: default values, as merged by `monai.bundle.ConfigParser.load_config_files`.

    Raises:
        InputError: if a key is unknown, or a value is of the wrong kind or out of range.
    """
    for key, value in overrides.items():
        error = _check_path(key, config)
        if error is not None:
            raise error
        planned = value == AUTO and f"planned_{key}" in config
        if len(_parts(key)) == 1 and not _is_expression(value) and not planned:
            _check_value(key, value, _plain_default(key, config))
        if value == "$None" and key in all_keys() and not all_keys()[key].kind.contains(None):
            raise InputError(f"--{key}: expected {all_keys()[key].kind.expected}, found None")


def _parse_run_arguments(argv: Sequence[str]) -> dict[str, Override]:
    """Return the arguments of a ``python -m monai.bundle run`` command line; empty for other programs."""
    if not argv or Path(argv[0]).parent.name != "bundle" or "run" not in argv[1:2]:
        return {}
    words, found, i = list(argv[2:]), {}, 0
    unnamed = iter(RUN_ARGUMENTS)
    while i < len(words):
        word = words[i]
        i += 1
        if not FLAG.match(word):
            found[next(unnamed, "")] = Override(DefaultParseValue(word), word)
            continue
        key, equals, text = word.lstrip("-").partition("=")
        if equals:
            found[key] = Override(DefaultParseValue(text), text)
        elif i < len(words) and not FLAG.match(words[i]):
            found[key] = Override(DefaultParseValue(words[i]), words[i])
            i += 1
        else:
            found[key] = Override(True)
    file = found.get("args_file", Override(None)).value
    if isinstance(file, str):
        found = {key: Override(value) for key, value in ConfigParser.load_config_file(file).items()} | found
    return {key.replace("-", "_"): value for key, value in found.items()}


def _parts(key: str) -> list[str]:
    return key.replace("#", "::").split("::")


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with nested dictionaries instead of keys such as ``validate#handlers``."""
    tree: dict[str, Any] = {}
    for key, value in config.items():
        *path, last = _parts(key)
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _check_path(key: str, config: Any) -> InputError | None:
    """Return the error for a key that a configuration does not have, or None."""
    parts = _parts(key)
    for depth, part in enumerate(parts):
        if not isinstance(config, dict):
            return None
        if part not in config:
            known: set[str] = set(config)
            if "_target_" in config and part == parts[-1]:
                parameters = _parameters(config)
                if parameters is None or part in parameters:
                    return None
                known |= parameters
            return _unknown(key, depth, known)
        config = config[part]
    return None


def _parameters(component: Mapping[str, Any]) -> set[str] | None:
    """Return the parameter names of a component's target; None if unknown or unrestricted."""
    target = ConfigComponent(component).resolve_module_name()
    try:
        parameters = inspect.signature(locate(str(target))).parameters.values()
    except (ErrorDuringImport, TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters} | ConfigComponent.non_arg_keys


def _unknown(key: str, depth: int, known: Iterable[str]) -> InputError:
    parts = _parts(key)
    near = difflib.get_close_matches(parts[depth], sorted(known), n=1)
    hint = "#".join([*parts[:depth], *near, *parts[depth + 1 :]])
    return InputError(f"--{key}: this bundle has no such key" + (f"; did you mean --{hint}?" if near else ""))


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


def _check_verbatim(key: str, override: Override) -> None:
    """Raise an `InputError` if Fire has parsed a path or a name to another value."""
    if (
        key not in all_keys()
        or not all_keys()[key].kind.verbatim
        or override.text is None
        or _is_expression(override.text)
    ):
        return
    text = override.text
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if text != "None" and override.value != (text[1:-1] if quoted else text):
        raise InputError(
            f"--{key}: expected {all_keys()[key].kind.expected}, found {text}, which is parsed as "
            f"{override.value!r}; quote it twice: --{key} '\"{text}\"'"
        )


def _check_value(key: str, value: Any, default: Any) -> None:
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        raise InputError(f"--{key}: expected True or False (capitalised), found {value!r}")
    kind = all_keys()[key].kind if key in all_keys() else _kind_of(default)
    if value is None and default is not None and kind.contains(None):
        raise InputError(f"--{key}: None on the command line is ignored by MONAI; write --{key} '$None'")
    if isinstance(value, str) and value.startswith("~") and kind.verbatim:
        raise InputError(f"--{key}: expected {kind.expected}, found {value}; write the path without ~")
    if (value is not None or default is not None) and not kind.contains(value):
        raise InputError(f"--{key}: expected {kind.expected}, found {value!r}")
    if isinstance(default, list) and not isinstance(value, (list, tuple, type(None))) and kind is kinds.WIDTH_OR_WIDTHS:
        raise InputError(f"--{key}: expected a list such as {default}, found {value!r}")
    if kind.per_axis and isinstance(default, list) and len(value) != len(default):
        raise InputError(f"--{key}: expected {len(default)} {kind.expected}, found {value!r}")


def _plain_default(key: str, config: Mapping[str, Any]) -> Any:
    """Return the default of a key, also in an expression such as ``$recorded.get(key, [64, 64])``."""
    default = config[key]
    found = re.search(r"\[[\d, ]+\](?=\)$)", default) if _is_expression(default) else None
    slices = "slice_axis" in config  # crops of slices have two edges
    return default if found is None or slices else json.loads(found[0])


def _kind_of(default: Any) -> Kind:
    """Return the kind of an unregistered key, for example of a user's configuration, from its default."""
    if isinstance(default, bool):
        return kinds.BOOLEAN
    if isinstance(default, int):
        return kinds.INTEGER
    if isinstance(default, float):
        return kinds.NUMBER
    return kinds.LIST if isinstance(default, list) else kinds.ANY
