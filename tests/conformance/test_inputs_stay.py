"""No run changes a file of its data set, wherever its output folder is."""

import shutil
from contextlib import suppress
from hashlib import sha256

import pytest
from harness import Run, data_kind, tiny, write_data

from tools.errors import InputError, find_input_error


def contents(folder):
    """Hash of every file below a folder."""
    return {path: sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def attempt(call, *arguments, **settings):
    """Whether a run ended well; the one error that it may end with has one line."""
    try:
        call(*arguments, **settings)
    except Exception as error:
        found = find_input_error(error)
        if found is None:
            raise
        assert len(str(found).splitlines()) == 1
        return False
    return True


@pytest.fixture
def copied(data, tmp_path):
    """Gives a copy of a bundle's data."""
    return lambda bundle: shutil.copytree(data[data_kind(bundle)], tmp_path / "all" / "data", symlinks=True)


def test_inference_leaves_its_input_in_every_folder(trained, data, copied, tmp_path):
    bundle = trained.bundle
    source = data["scans"] if bundle == "vdt3d" else data[data_kind(bundle)]
    folder = shutil.copytree(source, tmp_path / "all" / "data")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    before = contents(folder)
    for place in (folder, tmp_path / "link", folder.parent):
        ended = attempt(trained.infer, folder, place)
        assert before.items() <= contents(folder).items()
        assert ended or contents(folder) == before
    below = folder / "found"
    trained.infer(folder, below)
    first = {path for path in below.rglob("*") if path.is_file()}
    assert first
    trained.infer(folder, below)  # in the place of its own files, for the same cases
    assert {path for path in below.rglob("*") if path.is_file()} == first
    assert before.items() <= contents(folder).items()


def test_evaluation_leaves_its_input(trained, copied):
    folder = copied(trained.bundle)
    before = contents(folder)
    for _ in range(2):
        attempt(trained.go, ("train", "evaluate"), dataset_dir=str(folder), output_dir=str(folder))
    assert before.items() <= contents(folder).items()
