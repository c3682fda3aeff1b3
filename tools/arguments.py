"""What the command line may say: keys that exist, values of the right kind and in the possible range.

MONAI adds a mistyped ``--epoch 3`` to the configuration without a word and hands ``--resume false`` over as text.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any, NamedTuple

from fire.parser import DefaultParseValue
from monai.bundle import ConfigComponent, ConfigParser
from monai.utils import ensure_tuple

from tools.data.choice import CACHES
from tools.ending import watch_processes
from tools.errors import InputError, install_excepthook

#: arguments of ``monai.bundle run`` itself, in its order
RUN_ARGUMENTS = (
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
    "workflow_type",
)  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_counts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_count, value))


def _is_window(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]


def _are_patterns(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


class Rule(NamedTuple):
    """What the value of a shared key must be.

    Attributes:
        expected: the same in words.
        holds: whether a value is.
        any_kind: the value need not be of the kind of the bundle's default.
    """

    expected: str
    holds: Callable[[Any], bool]
    any_kind: bool = False


_AT_LEAST_1 = Rule("a number of at least 1", lambda v: _is_number(v) and v >= 1)
_AT_LEAST_0 = Rule("a number of at least 0", lambda v: _is_number(v) and v >= 0)
_BELOW_1 = Rule("a number from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1)
_ABOVE_0 = Rule("a number above 0", lambda v: _is_number(v) and v > 0)
_BETWEEN = Rule("a number between 0 and 1, both excluded", lambda v: _is_number(v) and 0 < v < 1)
_SHARE = Rule("a number above 0, up to 1", lambda v: _is_number(v) and 0 < v <= 1)
_TEXT = Rule("text or None", lambda v: v is None or isinstance(v, str))

#: keys that mean the same in every bundle, as patterns
RULES: dict[str, Rule] = {
    **dict.fromkeys(("epochs", "steps_per_epoch", "batch_size", "accumulation_steps", "val_interval"), _AT_LEAST_1),
    "jobs": _AT_LEAST_1,
    **dict.fromkeys(("validation_steps", "context_rows", "prediction_steps"), _AT_LEAST_1),
    **dict.fromkeys(("code_channels", "context_channels", "views_per_volume", "picture_size"), _AT_LEAST_1),
    **dict.fromkeys(("num_permutations", "min_distance", "num_rotations", "crops_per_case"), _AT_LEAST_1),
    **dict.fromkeys(("num_workers", "warmup_epochs", "frozen_epochs", "overlap", "negatives_*"), _AT_LEAST_0),
    **dict.fromkeys(
        ("weight_decay", "seed", "bank_size", "brightness", "intensity_change", "gap", "jitter", "shift"), _AT_LEAST_0
    ),
    **dict.fromkeys(("learning_rate", "temperature", "spacing", "margin"), _ABOVE_0),
    **dict.fromkeys(
        ("max_zoom", "zoom", "contrast", "head_dropout", "window_overlap", "momentum", "label_smoothing"), _BELOW_1
    ),
    **dict.fromkeys(
        ("zoom_probability", "flip_chance"), Rule("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
    ),
    "slice_axis": Rule("None, 0, 1 or 2", lambda v: v is None or (type(v) is int and v in (0, 1, 2))),
    **dict.fromkeys(("validation_fraction", "mask_ratio"), _BETWEEN),
    **dict.fromkeys(("label_fraction", "test_fraction"), _SHARE),
    "num_classes": Rule("a whole number of at least 2, or None", lambda v: v is None or (_is_count(v) and v > 1)),
    "flip_axes": Rule("a list of axes among 0, 1 and 2", lambda v: isinstance(v, (list, tuple)) and {*v} <= {0, 1, 2}),
    "labels": Rule("a dictionary of structure to stored value", lambda v: isinstance(v, Mapping)),
    **dict.fromkeys(
        ("grid", "mask_patch"),
        Rule("a whole number of at least 1, or a list of such", lambda v: _is_count(v) or _are_counts(v), True),
    ),
    **dict.fromkeys(("pretrained", "probe_dir", "split_file", "label_file", "split_by", "schedule"), _TEXT),
    "cache": Rule(f"one of {', '.join(CACHES)}", lambda v: v in CACHES),
    **dict.fromkeys(("image_column", "label_column", "patient_column"), _TEXT),
    **dict.fromkeys(("amp", "channels_last", "compile", "fused"), Rule("True or False", lambda v: isinstance(v, bool))),
    "amp_dtype": Rule("bfloat16 or float16", lambda v: v in ("bfloat16", "float16")),
    "channels": Rule("a dictionary of text to text, or None", lambda v: v is None or _are_patterns(v)),
    "hu_window": Rule("a list of two increasing numbers, or None", lambda v: v is None or _is_window(v)),
}
#: how a word that Fire takes for a name begins; ``-1`` is a value
FLAG = re.compile("--|-[a-zA-Z]")
#: keys whose value, where the default is a list, is a list of as many voxel counts
SIZES = ("roi_size", "patch_size", "stride")


def check_arguments(bundle_root: str, argv: Sequence[str] | None = None) -> None:
    """Compare the command line's overrides with the keys of the configurations that it runs.

    Also lets an `InputError` end the process, and all others of the run, with one line. Without a ``monai.bundle``
    command line (in a notebook, a test, MONAI Label) nothing is compared.

    Args:
        bundle_root: the bundle's folder; an error names its ``configs/*.json`` that have a key which those run lack.
        argv: command line, default `sys.argv`.

    Raises:
        InputError: see `check_overrides`.
    """
    install_excepthook()
    watch_processes()
    words = _run_words(sys.argv if argv is None else argv)
    files = [Path(file) for file in ensure_tuple(words.get("config_file") or ())]
    if not files:
        return
    config = ConfigParser.load_config_files(files)
    overrides = {key: value for key, value in words.items() if key not in RUN_ARGUMENTS}
    missing = next((key for key in overrides if _check_path(key, config)), None)
    holder = None if missing is None else _find_holder(missing, Path(bundle_root, "configs"))
    if holder is not None:
        raise InputError(f"--{missing}: a key of {holder}, not of {' or '.join(file.name for file in files)}")
    check_overrides(overrides, config)


def _find_holder(key: str, folder: Path) -> str | None:
    """Name of the first configuration in a folder, ``train.json`` before others, that has a key."""
    names = (path.name for path in sorted(folder.glob("*.json")) if path.name != "metadata.json")
    for name in sorted(names, key=lambda name: name != "train.json"):
        if _check_path(key, _nested(ConfigParser.load_config_file(folder / name))) is None:
            return name
    return None


def check_overrides(overrides: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Compare overrides with the configuration that they override.

    Args:
        overrides: values by key; ``#`` or ``::`` separates the parts of a nested key.
        config: default values, as `monai.bundle.ConfigParser.load_config_files` merges them from files.

    Raises:
        InputError: for an unknown key, or a value of the wrong kind or out of range.
    """
    for key, value in overrides.items():
        error = _check_path(key, config)
        if error is not None:
            raise error
        if len(_parts(key)) == 1 and not _is_expression(value):
            default = config[key]
            _check_value(key, value, None if _is_expression(default) else default)


def _run_words(argv: Sequence[str]) -> dict[str, Any]:
    """Arguments of a ``python -m monai.bundle run`` command line, values parsed as Fire parses them."""
    if not argv or Path(argv[0]).parent.name != "bundle" or "run" not in argv[1:2]:
        return {}
    words, found, i = list(argv[2:]), {}, 0
    unnamed = iter(RUN_ARGUMENTS)
    while i < len(words):
        word = words[i]
        i += 1
        if not FLAG.match(word):
            found[next(unnamed, "")] = DefaultParseValue(word)
            continue
        key, equals, text = word.lstrip("-").partition("=")
        if equals:
            found[key] = DefaultParseValue(text)
        elif i < len(words) and not FLAG.match(words[i]):
            found[key] = DefaultParseValue(words[i])
            i += 1
        else:
            found[key] = True
    if isinstance(found.get("args_file"), str):
        found = dict(ConfigParser.load_config_file(found["args_file"])) | found
    return {key.replace("-", "_"): value for key, value in found.items()}


def _parts(key: str) -> list[str]:
    return key.replace("#", "::").split("::")


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration whose keys such as ``validate#handlers`` are dictionaries within dictionaries."""
    tree: dict[str, Any] = {}
    for key, value in config.items():
        *path, last = _parts(key)
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _check_path(key: str, config: Any) -> InputError | None:
    """The error of a key that a configuration does not have, as far as its dictionaries show."""
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
    """Names that a component's target accepts; None when that is any, or cannot be told."""
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


def _check_value(key: str, value: Any, default: Any) -> None:
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        raise InputError(f"--{key}: expected True or False (capitalised) or another value, found {value!r}")
    rule = next((rule for pattern, rule in RULES.items() if fnmatchcase(key, pattern)), None)
    if value is None and default is not None:  # MONAI passes over it without a word
        raise InputError(f"--{key}: None on the command line changes nothing; write --{key} '$None'")
    expected = None if rule is not None and rule.any_kind else _other_kind(value, default)
    if expected is None and rule is not None and not rule.holds(value):
        expected = rule.expected
    if expected is None and key in SIZES and isinstance(default, list):
        fits = len(value) == len(default) and _are_counts(value)
        expected = None if fits else f"{len(default)} whole numbers of at least 1"
    if expected is not None:
        raise InputError(f"--{key}: expected {expected}, found {value!r}")


def _other_kind(value: Any, default: Any) -> str | None:
    """What was expected of a value that is not of the default's kind."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if _is_number(default) and not _is_number(value):
        return f"a number like {default}"
    if isinstance(default, int) and isinstance(value, float) and not value.is_integer():
        return f"a whole number like {default}"
    if isinstance(default, list) and not isinstance(value, (list, tuple)):
        return f'a list like "{default}"'
    return None
