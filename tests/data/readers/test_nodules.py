import io

import numpy as np
import pytest

from tools.data.annotated import find_nodules
from tools.data.formats.npz import array_shape, read_array, read_item
from tools.utils.errors import InputError

HEADER = "index,uid,scan,name,roi,malignancy_mode\n"
ROWS = {"lidc1_1": "LIDC-IDRI-0001,7,lidc1,1,5", "lidc2_1": "LIDC-IDRI-0002,8,lidc2,1,2"}
ROWS |= {"lidc2_2": "LIDC-IDRI-0002,8,lidc2,2,4", "lidc3_1": "LIDC-IDRI-0002,9,lidc3,1,1"}


def table(**rows):
    return HEADER + "".join(f"{name},{row}\n" for name, row in (ROWS | rows).items())


def folder(root, content=None, names=tuple(ROWS), file="info/nodules.csv"):
    for name in names:
        (root / "nodule").mkdir(parents=True, exist_ok=True)
        np.savez(root / "nodule" / name, voxel=np.full((3, 4, 5), 90, dtype=np.uint8), answer1=np.zeros((3, 4, 5)))
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(table() if content is None else content)
    return root


def medmnist(path, edge=4, **changes):
    arrays = {}
    for name, count in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{name}_images"] = np.arange(count * edge**3, dtype=np.uint8).reshape(count, edge, edge, edge)
        arrays[f"{name}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    arrays |= changes
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def labels(root, **settings):
    return {case["case"]: case["label"] for case in find_nodules(root, **settings)}


def test_published_crops(tmp_path):
    cases = find_nodules(folder(tmp_path))
    assert [case["case"] for case in cases] == sorted(ROWS)
    assert {case["case"]: case["label"] for case in cases} == {"lidc1_1": 1, "lidc2_1": 0, "lidc2_2": 1, "lidc3_1": 0}
    assert {case["patient"] for case in cases[1:]} == {"LIDC-IDRI-0002"}, "two scans of one patient"
    for case in cases:
        assert set(case) == {"case", "patient", "image", "label"}
        assert read_array(case["image"], "voxel").shape == (3, 4, 5)


def test_other_tables_in_the_folder_are_ignored(tmp_path):
    root = folder(tmp_path)
    (root / "train_test_split.csv").write_text(",train,test\n0,lidc1_1.npz,lidc2_1.npz\n")
    (root / "info/scans.csv").write_text("uid,scan,name\nLIDC-IDRI-0001,7,lidc1\n")
    assert len(find_nodules(root)) == 4


def test_the_scan_stands_for_the_patient_where_there_is_no_column(tmp_path, capsys):
    root = folder(tmp_path, "index,malignancy_mode\nlidc1_1.npz,5\nlidc2_1,2\nlidc2_2,4\nlidc3_1,1\n")
    assert [case["patient"] for case in find_nodules(root)] == ["lidc1", "lidc2", "lidc2", "lidc3"]
    assert "no patient column" in capsys.readouterr().out


def test_any_table_by_its_columns(tmp_path):
    root = folder(tmp_path, "Nodule;Person;Mode\nlidc1_1;a;5.0\nlidc2_1;b;2\n", file="mine.csv")
    names = {"image_column": "nodule", "label_column": "Mode"}
    assert labels(root, **names, patient_column="Person") == {"lidc1_1": 1, "lidc2_1": 0}
    assert labels(root, **names, label_file="mine.csv") == {"lidc1_1": 1, "lidc2_1": 0}
    with pytest.raises(InputError, match="expected columns Patient, found Nodule, Person, Mode"):
        labels(root, **names, patient_column="Patient")
    with pytest.raises(InputError, match=r"columns index and malignancy_mode, found mine\.csv \(Nodule,Person,Mode\)"):
        labels(root)


def test_excluded_files_are_reported(tmp_path, capsys):
    content = table(lidc5_1="p5,9,lidc5,1,3", lidc101_1="p101,9,lidc101,1,0") + f"lidc1_1,{ROWS['lidc1_1']}\n"
    assert len(find_nodules(folder(tmp_path, content, names=[*ROWS, "lidc9_1"]))) == 4
    message = capsys.readouterr().out
    assert "1 nodules of malignancy 3 " in message
    assert "1 nodules without a score (0) excluded: lidc101_1 (line 7)" in message
    assert "1 file is not used" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(lidc5_1="p5,9,lidc5,1,5"), r"expected 5 nodules in .* found 1 missing: lidc5_1 \(line 6\)"),
        (table(lidc1_1="p,7,lidc1,1,6"), "line 2: expected a nodule and a malignancy from 1 to 5, found 'lidc1_1'"),
        (table(lidc1_1="p,7,lidc1,1,2.5"), "line 2: .* and '2.5'"),
        (table(lidc1_1="p,7,lidc1,1,"), "line 2: .* and ''"),
        (table(lidc1_1="p,7,lidc1,1,-1"), "line 2"),
        (table(lidc1_1=",7,lidc1,1,5"), "line 2: expected the patient of a nodule"),
        (table() + "lidc1_1,LIDC-IDRI-0001,7,lidc1,1,4\n", "line 6: expected one .* of lidc1_1, found 4 .* and 5 of"),
        (table() + "lidc1_1,LIDC-IDRI-0003,7,lidc1,1,5\n", "line 6: expected one .* found 5 of 'LIDC-IDRI-0003' here"),
        (HEADER, "expected nodules of malignancy 1, 2, 4 or 5, found none"),
        ("index,malignancy_mode\nmine,5\n", "line 2: expected a name .* such as lidc12_3, .* --patient_column"),
        ("name,malignancy\nlidc1_1,5\n", r"found info/nodules\.csv \(name,malignancy\); set --label_file"),
    ],
)
def test_tables_that_are_wrong_are_named_with_the_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        find_nodules(folder(tmp_path, content))


def test_folders_that_hold_something_else(tmp_path):
    with pytest.raises(InputError, match="expected npz files of nodules, found none"):
        find_nodules(tmp_path)
    root = folder(tmp_path / "two")
    (root / "copy").mkdir()
    np.savez(root / "copy/lidc1_1.npz", voxel=np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"1 ambiguous: lidc1_1"):
        find_nodules(root)
    (root / "more.csv").write_text(table())
    with pytest.raises(InputError, match=r"found info/nodules\.csv .*; more\.csv"):
        find_nodules(root)
    with pytest.raises(InputError, match=r"label_file nowhere\.csv"):
        find_nodules(root, label_file="nowhere.csv")


@pytest.mark.parametrize("whole_folder", [True, False])
def test_medmnist(tmp_path, whole_folder, capsys):
    path = medmnist(tmp_path / "nodulemnist3d_64.npz")
    cases = find_nodules(tmp_path if whole_folder else path)
    assert capsys.readouterr().out.count("patients are unknown") == 1
    assert {part: sum(case["split"] == part for case in cases) for part in ("training", "validation", "test")} == {
        "training": 5,
        "validation": 2,
        "test": 3,
    }
    for case in cases:
        images = read_array(path, case["array"])
        np.testing.assert_array_equal(read_item(case["image"], case["array"], case["index"]), images[case["index"]])
        assert case["label"] == case["index"] % 2
    assert len({case["case"] for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": None}, "expected an array 'val_labels', found train_images, train_labels"),
        ({"train_labels": np.array([[0], [1], [7], [0], [1]])}, r"in train_labels\[2\], found 7"),
        ({"test_labels": np.zeros((3, 2))}, r"test_labels of size \(N, 1\), found \(3, 2\)"),
        ({"test_images": np.zeros((4, 4, 4, 4))}, r"test_images of size \(3, D, H, W\), found \(4, 4, 4, 4\)"),
        ({"test_images": np.zeros((3, 28, 28))}, r"found \(3, 28, 28\)"),
    ],
)
def test_medmnist_files_that_are_wrong(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        find_nodules(medmnist(tmp_path / "nodulemnist3d.npz", **changes))


def test_several_medmnist_files_are_refused(tmp_path):
    medmnist(tmp_path / "nodulemnist3d.npz")
    large = medmnist(tmp_path / "nodulemnist3d_64.npz", edge=6)
    with pytest.raises(InputError, match=r"found nodulemnist3d\.npz, nodulemnist3d_64\.npz"):
        find_nodules(tmp_path)
    assert len(find_nodules(large)) == 10


def damaged(kind):
    stream = io.BytesIO()
    np.savez_compressed(stream, voxel=np.random.default_rng(0).random((9, 9, 9)))
    content = stream.getvalue()
    if kind == "pickled":
        np.savez(stream := io.BytesIO(), voxel=np.array([{}, ()], dtype=object))
        return stream.getvalue()
    if kind == "single":
        np.save(stream := io.BytesIO(), np.zeros(3))
        return stream.getvalue()
    half = len(content) // 2
    return {
        "empty": b"",
        "text": b"voxel,1,2\n",
        "cut": content[:half],
        "flipped": content[:half] + bytes(255 - byte for byte in content[half : half + 9]) + content[half + 9 :],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "flipped", "pickled", "single"])
def test_damaged_files_are_named_and_never_unpickled(tmp_path, kind):
    path = tmp_path / "lidc1_1.npz"
    path.write_bytes(damaged(kind))
    with pytest.raises(InputError, match=rf"lidc1_1\.npz: expected .*{'never loaded' if kind == 'pickled' else ''}"):
        read_array(path, "voxel")


def test_arrays_by_name_and_item(tmp_path):
    path = medmnist(tmp_path / "a.npz")
    assert array_shape(path, "train_images") == (5, 4, 4, 4)
    with pytest.raises(InputError, match="expected an array 'voxel', found train_images, "):
        read_array(path, "voxel")
    with pytest.raises(InputError, match=r"expected item 5 in 'train_images', found size \(5, 4, 4, 4\)"):
        read_item(path, "train_images", 5)
    with pytest.raises(InputError, match="found nothing"):
        read_item(tmp_path / "b.npz", "train_images", 0)
    before = read_item(path, "test_images", 0).copy()
    medmnist(path, test_images=np.full((3, 4, 4, 4), 7, dtype=np.uint8))
    assert not np.array_equal(read_item(path, "test_images", 0), before), "a file that changed is read again"
