from types import SimpleNamespace

import pytest

from tools.training.case_outputs import CaseOutputs
from tools.utils.errors import InputError


def check(folder, cases, suffixes=(".png",)):
    dataset = SimpleNamespace(data=cases)
    engine = SimpleNamespace(state=SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)))
    CaseOutputs(folder, suffixes).check(engine)


@pytest.mark.parametrize(
    ("image", "case", "folder"),
    [
        ("data/a.png", "a", "data"),
        ("data/a/a.png", "a/a", "data"),
        ("all/data/data/a.png", "data/a", "all/data"),
        ("all/data/data/a.png", "a", "all/data/data"),
        ("data/b/a.png", "a", "data/b"),
        ("data/a.png", "a", "data/b/.."),
    ],
)
def test_all_cases_are_checked_before_inference(tmp_path, image, case, folder):
    path = tmp_path / image
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a picture")
    (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "data/b").mkdir(parents=True, exist_ok=True)
    cases = [{"case": "first", "image": "first.png"}, {"case": case, "image": str(path)}]
    with pytest.raises(InputError, match=r"a\.png"):
        check(tmp_path / folder, cases)
    check(tmp_path / folder, cases, (".npz",))  # there is room next to it
    assert path.read_bytes() == b"a picture"


def test_input_is_not_overwritten(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK..embeddings.npy")
    check(tmp_path, [{"case": "a", "image": ["other.npz"]}], (".npz",))
    (tmp_path / "alias.npz").symlink_to(path)
    for image in (str(path), [str(tmp_path / "alias.npz")]):
        with pytest.raises(InputError, match="input"):
            check(tmp_path, [{"case": "a", "image": image}], (".npz",))


@pytest.mark.parametrize("case", ["../../evil/Z", "/evil", "a/../../b", "x" * 256])
def test_ids_that_leave_the_folder_are_refused(tmp_path, case):
    with pytest.raises(InputError, match=str(tmp_path)):
        check(tmp_path, [{"case": case, "image": "a.png"}])
    assert not list(tmp_path.iterdir())
