"""Property-based tests: readers of JSON files and tables return something or raise an `InputError`."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="pip install hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.data.annotated import find_graded_images, find_lesions, find_nodules
from tools.data.cases import find_cases, find_labelled_cases
from tools.data.readers.base import Folder
from tools.data.readers.dataset_file import read_dataset_file, read_label_values
from tools.data.readers.tables import read_header, read_table
from tools.data.split import split_cases, split_labelled_cases
from tools.release.checks import check_bundle
from tools.study.outcome import read_outcome
from tools.study.plan import read_plan
from tools.study.records import RESULTS, RUNS, read_records
from tools.training.metrics_table import read_rows
from tools.training.settings import compare_settings
from tools.transfer.card import card_settings, read_card
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

ROOT = Path(__file__).parents[2]
WORDS = (
    "sha256 encoder name cases case hashes channels spacing intensity hu_window labels roi_size selected epoch "
    "training validation test image label modality channel_names numTraining file_ending bundle score arms fractions "
    "seeds settings protocol arm fraction seed status done failed seconds training_cases images annotations categories "
    "id file_name image_id bbox category_id background version changelog network_data_format eval_metrics weights"
)
KEYS = st.sampled_from(WORDS.split()) | st.text(max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../a", "a.nii.gz"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=12
)
CASES = [{"case": str(number), "patient": str(number), "image": "a"} for number in range(4)]
DEEP = ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000]


def graded(path):
    find_graded_images(path.parent, path.name)


JSON_READERS = {
    "card": ("model.json", lambda path: card_settings(read_card(path.with_suffix(".pt")))),
    "split": ("split.json", lambda path: split_cases(CASES, split_file=path)),
    "labelled split": ("split.json", lambda path: split_labelled_cases(CASES, split_file=path)),
    "dataset.json": ("dataset.json", lambda path: read_dataset_file(Folder.open(path.parent, "volumes"))),
    "structures": ("dataset.json", lambda path: read_label_values(Folder.open(path.parent, "volumes"))),
    "cases": ("dataset.json", lambda path: find_cases(path.parent)),
    "labelled cases": ("dataset.json", lambda path: find_labelled_cases(path.parent)),
    "lesions": ("lesions.json", lambda path: find_lesions(path.parent, path)),
    "plan": ("plan.json", read_plan),
    "outcome": ("plan.json", lambda path: read_outcome(path.parent)),
    "metadata": ("configs/metadata.json", lambda path: check_bundle(path.parents[1])),
    "settings": ("settings.json", lambda path: compare_settings(path, json.loads(path.read_text()), {"seed": 0})),
    "outputs": ("a.json", is_output),
}


def read_runs(path):
    for name in (RUNS, RESULTS):
        shutil.copy(path, path.with_name(name))
    return read_records(path.parent)


TABLE_READERS = {
    "header": read_header,
    "rows": lambda path: read_table(path, ["image"]),
    "grades": graded,
    "nodules": lambda path: find_nodules(path.parent, path.name),
    "lesions": lambda path: find_lesions(path.parent, path),
    "metrics": read_rows,
    "runs": read_runs,
}

QUIET = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def check(read, path, fault):
    with fault(), contextlib.suppress(InputError):
        read(path)


#: files as they should be, of which one value is replaced
DATASET = {
    "modality": {"0": "CT"},
    "channel_names": {"0": "CT"},
    "labels": {"0": "background", "1": "organ"},
    "numTraining": 1,
    "file_ending": ".nii.gz",
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    "test": ["./imagesTs/a.nii.gz"],
}
ARM = {"name": "scratch", "protocol": "scratch", "pretrained": None, "sha256": None}
PLAN = {"bundle": "a", "score": "dice", "arms": [ARM], "fractions": [1.0], "seeds": [0], "settings": {}, "files": []}
CARD = {"sha256": "0" * 64, "encoder": {"name": "unet", "norm": "group", "in_channels": 1}, "spacing": 1.0}
CARD |= {"cases": [{"case": "a", "hashes": ["0"]}], "intensity": {"hu_window": [0, 1]}, "selected": {"epoch": 1}}
COCO = {"images": [{"id": 1, "file_name": "000001_01_01/109.png", "height": 512, "width": 512}]}
COCO |= {"annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}], "categories": []}
VALID = {
    "card": CARD,
    "split": {"training": ["0", "1"], "validation": ["2", "3"]},
    "labelled split": {"training": ["0", "1"], "validation": ["2"], "test": ["3"]},
    **dict.fromkeys(("dataset.json", "structures", "cases", "labelled cases"), DATASET),
    "lesions": COCO,
    "plan": PLAN,
    "outcome": PLAN,
    "cell": {"arm": "a", "fraction": 1.0, "seed": 0, "status": "done", "seconds": 1.0, "training_cases": 3},
    "metadata": json.loads((ROOT / "bundles/cpc3d/configs/metadata.json").read_text()),
    "settings": {"seed": 0},
    "outputs": {"training": ["a"], "validation": ["b"]},
}


def places(content, place=()):
    """Places of all values within a value."""
    yield place
    if isinstance(content, dict | list):
        for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
            yield from places(inner, (*place, key))


def replace(content, place, value):
    if not place:
        return value
    content = content.copy()
    content[place[0]] = replace(content[place[0]], place[1:], value)
    return content


@pytest.mark.parametrize("reader", JSON_READERS)
@QUIET
@given(data=st.data())
def test_json_with_one_wrong_value(tmp_path_factory, fault, reader, data):
    valid = VALID[reader]
    place = data.draw(st.sampled_from(sorted(places(valid), key=str)))
    write_and_check(tmp_path_factory, fault, reader, replace(valid, place, data.draw(VALUES)))


@pytest.mark.parametrize("reader", JSON_READERS)
@QUIET
@given(content=VALUES)
def test_json(tmp_path_factory, fault, reader, content):
    write_and_check(tmp_path_factory, fault, reader, content)


def write_and_check(tmp_path_factory, fault, reader, content):
    name, read = JSON_READERS[reader]
    path = tmp_path_factory.getbasetemp() / reader.replace(" ", "_") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if reader == "settings" and not isinstance(content, dict):
        return
    path.write_text(json.dumps(content))
    check(read, path, fault)


@pytest.mark.parametrize("text", [*DEEP, "", "\0", "nul", "1e999999", "9" * 5000, "\ufeff{}", "{" + '"a":1,' * 9])
@pytest.mark.parametrize("reader", [reader for reader in JSON_READERS if reader != "settings"])
def test_what_is_hardly_json(tmp_path, fault, reader, text):
    name, read = JSON_READERS[reader]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    check(read, tmp_path / name, fault)


@pytest.mark.parametrize("reader", TABLE_READERS)
@QUIET
@given(content=st.binary(max_size=300) | st.text(alphabet='image,level;"\t\n1-0.9|eé\0', max_size=200).map(str.encode))
def test_tables(tmp_path_factory, fault, reader, content):
    path = tmp_path_factory.getbasetemp() / f"table_{reader}" / "table.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    check(TABLE_READERS[reader], path, fault)
