"""No run changes a file of its data set, for any output folder."""

import json
import shutil
from hashlib import sha256

import pytest
from harness import PRETEXT, data_kind

from tools.utils.errors import find_input_error


def contents(folder):
    """Hash of every file below a folder."""
    return {path: sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def attempt(call, *arguments, **settings):
    """Return whether a run succeeded; errors have one line."""
    try:
        call(*arguments, **settings)
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        assert len(str(found).splitlines()) == 1
        return False
    return True


@pytest.fixture(params=["exemplar2d", "pancreas", "fundus", "lidc", "deeplesion"])
def finished(request, runs):
    """A run of each kind of task, with its own kind of output files."""
    return runs(request.param)


@pytest.fixture
def folder(finished, data, tmp_path):
    """A copy of the bundle's data."""
    return shutil.copytree(data[data_kind(finished.bundle)], tmp_path / "data")


def test_inference_leaves_its_input_and_ignores_earlier_outputs(finished, folder):
    own = {"pretrained": str(finished.models / "model.pt")} if finished.bundle in PRETEXT else {}
    before = contents(folder)
    ended = attempt(finished.infer, folder, folder, **own)
    assert before.items() <= contents(folder).items()
    assert ended or contents(folder) == before
    below = folder / "found"
    finished.infer(folder, below, **own)
    written = contents(below).keys()
    assert written
    finished.infer(folder, below, **own)  # the same cases again, whose files replace those of the first run
    assert contents(below).keys() == written
    assert before.items() <= contents(folder).items()


def test_evaluation_leaves_its_input(finished, folder):
    before = contents(folder)
    for _ in range(2):
        finished.go(("train", "evaluate"), dataset_dir=str(folder), output_dir=str(folder))
    assert before.items() < contents(folder).items()


@pytest.mark.parametrize("finished", ["exemplar2d"], indirect=True)
def test_training_leaves_its_input_and_ignores_earlier_outputs(finished, folder):
    before = contents(folder)
    for _ in range(2):  # the second run finds the photographs that the first has drawn
        finished.go(**dict.fromkeys(("dataset_dir", "output_dir", "models_dir"), str(folder)))
        names = {case for part in json.loads((folder / "split.json").read_text()).values() for case in part}
        assert names == {path.stem for path in before}
    assert before.items() < contents(folder).items()
    assert any(path.suffix == ".png" for path in contents(folder).keys() - before.keys())
