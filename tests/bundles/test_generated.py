"""The committed bundles equal the generated files."""

import inspect
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from pydoc import locate

import pytest

from tools.bundles.collection import all_keys, bundle_names, read_bundle
from tools.bundles.config import component, to_json
from tools.bundles.generate import differences, generate, write
from tools.bundles.keys import KEYS, REGISTRY

ROOT = Path(__file__).parents[2]
NAMES = bundle_names()
#: top-level entries that are structure, not keys of a user
STRUCTURE = {"imports", "bundle_root", "code", "own_tools", "network", "run", "initialize", "finalize"}
STRUCTURE |= {"train", "validate", "handlers", "detector_ops", "card", "recorded", "folders"}


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that the generator reads and writes."""
    shutil.copytree(
        ROOT / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("models", "output", "phantoms")
    )
    shutil.copy(ROOT / "LICENSE", tmp_path)
    return tmp_path


def test_committed_bundles_equal_the_generated_ones():
    assert differences(ROOT) == "", "edit tools/bundles, then: python -m tools.bundles"


def test_every_bundle_has_a_source_and_every_source_a_bundle():
    found = [path.parents[1].name for path in ROOT.glob("bundles/*/configs/train.json")]
    assert sorted(found) == NAMES
    assert [read_bundle(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize(
    "file", ["configs/train.json", "configs/logging.conf", "docs/README.md", "docs/keys.md", "LICENSE"]
)
def test_edited_file_is_found_and_regenerated(copy, file):
    path = copy / "bundles" / NAMES[0] / file
    before = path.read_text(encoding="utf-8")
    changed = before.replace("epochs", "epoch", 1) if "epochs" in before else before + "x"
    path.write_text(changed if file != "docs/README.md" else before.replace("| key |", "| keys |", 1), encoding="utf-8")
    assert file in differences(copy)
    assert write(copy) == [path.relative_to(copy)]
    assert path.read_text(encoding="utf-8") == before
    assert differences(copy) == ""


def test_a_configuration_without_a_source_is_found(copy):
    (copy / "bundles" / NAMES[0] / "configs/extra.json").write_text("{}")
    assert "extra.json" in differences(copy)


def test_check_option():
    run = subprocess.run([sys.executable, "-m", "tools.bundles", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_users_keys_are_registered_and_their_defaults_accepted(name):
    """Top-level values of configurations are registered keys with accepted values."""
    registry = read_bundle(name).registry
    for file, config in read_bundle(name).configs().items():
        if file == "metadata":
            continue
        for key, value in config.items():
            plain = not (isinstance(value, dict) and "_target_" in value) and "#" not in key
            expression = isinstance(value, str) and value[:1] in "$@"
            if key in STRUCTURE or not plain or (expression and key not in registry):
                continue
            assert key in registry, f"{name}/{file}: {key}"
            assert expression or value is None or registry[key].kind.contains(value), f"{name}/{file}: {key} {value}"


def test_every_key_is_registered_once():
    assert len(REGISTRY) == len(KEYS)


def test_every_registered_key_is_used():
    used = {key for name in NAMES for config in read_bundle(name).configs().values() for key in config}
    assert all_keys().keys() <= used


def test_a_key_accepts_the_same_values_in_all_bundles():
    """The command-line check uses one description per key for all bundles."""
    kinds = defaultdict(set)
    for name in NAMES:
        for key in read_bundle(name).registry.values():
            kinds[key.name].add((key.kind.expected, key.kind.verbatim, key.kind.per_axis))
    assert [name for name, found in kinds.items() if len(found) > 1] == []


def test_generated_files_are_the_same_on_a_second_call():
    bundle = read_bundle(NAMES[0])
    assert generate(bundle, ROOT) == generate(bundle, ROOT)


def test_json_is_valid_short_and_keeps_its_order():
    config = {"b": 1, "a": {"x": list(range(60)), "é": None}, "c": [], "d": component("tools.x.y", "seed", z=1)}
    text = to_json(config)
    assert json.loads(text) == config
    assert list(json.loads(text)) == list(config)
    assert max(map(len, text.splitlines())) <= 120
    assert '"d": {"_target_": "tools.x.y", "_requires_": "@code", "seed": "@seed", "z": 1}' in text


#: defaults of the Python interface that differ on purpose: one case at a time, plain memory, and no sizes of images
OWN_DEFAULTS = {"batch_size", "cache", "val_interval", "in_channels", "resize_shorter_edge", "spacing", "milestones"}


def referenced_defaults(part, keys):
    """Yield component, key, default in Python and default in the bundle for arguments that are keys."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return
    target = locate(part["_target_"]) if str(part.get("_target_", "")).startswith("tools.") else None
    parameters = inspect.signature(target).parameters if target else {}
    for argument, value in part.items():
        yield from referenced_defaults(value, keys)
        key = value[1:] if isinstance(value, str) and value.startswith("@") else None
        if key in keys and argument in parameters and parameters[argument].default is not inspect.Parameter.empty:
            yield part["_target_"], key, parameters[argument].default, keys[key]


def test_a_default_in_python_is_that_of_a_bundle():
    """Every default in Python is the default of some bundle."""
    found = defaultdict(list)
    for name in NAMES:
        bundle = read_bundle(name)
        configs = bundle.configs()
        for part, keys in ((configs["train"], bundle.train_keys), (configs["inference"], bundle.infer_keys)):
            for target, key, ours, theirs in referenced_defaults(part, keys):
                if key not in OWN_DEFAULTS and not str(theirs).startswith("$"):
                    found[target, key, json.dumps(ours)].append(json.dumps(theirs))
    assert len(found) > 50
    assert [place for place, values in found.items() if place[2] not in values] == []
