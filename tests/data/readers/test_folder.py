"""File list of a data set folder, and number of unused files."""

import os
import socket

import pytest
from data.readers.layouts import decathlon, label_map, nnunet, scan, write_json

from tools.data.cases import find_cases, find_labelled_cases
from tools.data.label_values import read_labels
from tools.data.readers import Folder
from tools.utils.errors import InputError


def names(folder):
    return [folder.relative(file) for file in folder.files]


def test_what_is_no_readable_file_is_counted_and_not_opened(tmp_path, monkeypatch):
    scan(tmp_path / "a.nii.gz")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "table.tsv").symlink_to(".git/annex/objects/x")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s.nii")
        folder = Folder.open(tmp_path, "volumes")
    assert names(folder) == ["a.nii.gz"]
    line = folder.describe_ignored([{"image": str(tmp_path / "a.nii.gz")}])
    assert "4 files are not used" in line
    assert "broken links: 2 (self, table.tsv)" in line
    assert "pipes, sockets and devices: 2 (pipe.nii.gz, s.nii)" in line
    assert len(find_cases(tmp_path)) == 1


def test_the_recipe_of_generated_data_is_not_counted(tmp_path):
    scan(tmp_path / "a.nii.gz")
    for name in ("phantom_recipe.json", "notes.json"):
        (tmp_path / name).write_text("{}")
    line = Folder.open(tmp_path, "volumes").describe_ignored([{"image": str(tmp_path / "a.nii.gz")}])
    assert line == "1 file is not used: other formats: 1 (.json)"


def test_folders_and_files_without_permission_are_counted(tmp_path, monkeypatch):
    for name in ("a/x.nii.gz", "b/y.nii.gz", "c.nii.gz"):
        scan(tmp_path / name)
    scandir, access = os.scandir, os.access

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("c.nii.gz") and access(path, mode))
    folder = Folder.open(tmp_path, "volumes")
    assert names(folder) == ["a/x.nii.gz"]
    assert "no permission to read: 2 (c.nii.gz, b)" in folder.describe_ignored()


def test_names_are_shown_on_one_line(tmp_path, capsys):
    scan(tmp_path / "a.nii.gz")
    label_map(tmp_path / "x\n\x1b[31m_seg.nii.gz")
    assert len(find_cases(tmp_path)) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line


def test_voxels_of_detached_headers_are_used(tmp_path):
    for name in ("a.mhd", "a.raw", "b.nhdr", "b.raw.gz"):
        (tmp_path / name).touch()
    folder = Folder.open(tmp_path, "volumes")
    assert folder.describe_ignored([{"image": str(tmp_path / name)} for name in ("a.mhd", "b.nhdr")]) == ""
    assert folder.describe_ignored([{"image": str(tmp_path / "a.mhd")}]).startswith("2 files are not used")


def test_images_a_list_names_may_be_absent_unless_they_train(tmp_path, capsys):
    decathlon(tmp_path)
    training = [{"image": f"./imagesTr/c_{i}.nii.gz", "label": f"./labelsTr/c_{i}.nii.gz"} for i in range(3)]
    write_json(tmp_path / "dataset.json", {"labels": {"1": "x"}, "training": training, "test": ["./imagesTs/t.nii.gz"]})
    assert len(find_cases(tmp_path)) == len(find_labelled_cases(tmp_path)) == 3
    assert "missing files listed in dataset.json: 1 (imagesTs/t.nii.gz)" in capsys.readouterr().out


def test_a_data_set_below_the_folder_is_named(tmp_path):
    for name in ("Dataset001_A", "Dataset002_B"):
        nnunet(tmp_path / name)
    patients = [case["patient"] for case in find_cases(tmp_path)]
    assert len(patients) == 12
    assert len({*patients}) == 6, "channels of a case are together, and cases of two data sets are not"
    for ask in (find_labelled_cases, read_labels):
        with pytest.raises(InputError, match=r"set dataset_dir to the folder of Dataset001_A/dataset\.json"):
            ask(tmp_path)


@pytest.mark.parametrize("place", ["__MACOSX", "@eaDir", "sub/$RECYCLE.BIN"])
def test_folders_of_the_system_are_no_data(tmp_path, place, capsys):
    scan(tmp_path / "a.nii.gz")
    scan(tmp_path / place / "b.nii.gz")
    assert [case["case"] for case in find_cases(tmp_path)] == ["a"]
    assert capsys.readouterr().out == ""


def test_paths_of_windows_in_a_dataset_file(tmp_path):
    decathlon(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text(encoding="utf-8").replace("./imagesTr/", r".\\imagesTr\\"), encoding="utf-8")
    assert len(find_labelled_cases(tmp_path)) == 3


def test_several_images_of_an_entry_are_channels(tmp_path):
    pairs = [{"image": [f"t1/{i}.nii.gz", f"t2/{i}.nii.gz"], "label": f"seg/{i}.nii.gz"} for i in range(3)]
    for pair in pairs:
        label_map(tmp_path / pair["label"])
        for name in pair["image"]:
            scan(tmp_path / name)
    content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "organ"}, "training": pairs}
    write_json(tmp_path / "dataset.json", content)
    cases = find_labelled_cases(tmp_path)
    assert [[os.path.relpath(one, tmp_path) for one in case["image"]] for case in cases] == [p["image"] for p in pairs]
    assert [os.path.relpath(case["label"], tmp_path) for case in cases] == [pair["label"] for pair in pairs]
    pairs[1]["image"].pop()
    write_json(tmp_path / "dataset.json", content)
    with pytest.raises(InputError, match=r"expected 2 images in every entry, found 1 .* t1/1"):
        find_cases(tmp_path)
