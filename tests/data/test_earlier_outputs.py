"""Outputs of earlier runs in a data set are not inputs, and tables cannot name files outside the data set."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tools.data.annotated import find_classified_images, find_graded_images, find_lesions, find_unlabelled_nodules
from tools.data.cases import find_cases, find_images, image_channels
from tools.data.readers.base import Folder
from tools.data.readers.tables import list_tables
from tools.data.split import split_cases, split_labelled_cases
from tools.utils import figures
from tools.utils.errors import InputError
from tools.utils.files import write_table
from tools.utils.outputs import MARK


def write_scan(path, mark=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header["descrip"] = mark
    nibabel.save(image, path)


def write_image(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8)).save(path)


def write_figure(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(Figure(figsize=(1, 1)), path)


def write_crop(path, name="voxel"):
    np.savez_compressed(path, **{name: np.zeros((4, 4, 4), np.uint8)})


def ids(cases):
    return [case["case"] for case in cases]


@pytest.mark.parametrize("place", ["segmentations/a.nii.gz", "a_1.nii.gz", "other/deep/renamed.nii"])
def test_label_maps_of_earlier_runs_are_no_scans(tmp_path, capsys, place):
    write_scan(tmp_path / "a.nii.gz")
    write_scan(tmp_path / place, MARK)
    assert ids(find_cases(tmp_path)) == ["a"]
    [note] = capsys.readouterr().out.splitlines()
    assert f"outputs of earlier runs: 1 ({place})" in note


def test_label_maps_alone_are_no_data_set(tmp_path):
    write_scan(tmp_path / "a.nii.gz", MARK)
    for source in (tmp_path, tmp_path / "a.nii.gz"):
        with pytest.raises(InputError, match=r"output of a run|outputs of earlier runs"):
            find_cases(source)


def test_label_maps_of_earlier_runs_are_no_channels(tmp_path):
    for name in ("s_t1.nii.gz", "s_t2.nii.gz"):
        write_scan(tmp_path / "s" / name)
    write_scan(tmp_path / "found/s_t1.nii.gz", MARK)
    assert ids(find_cases(tmp_path, {"T1": "*_t1.nii.gz", "T2": "*_t2.nii.gz"})) == ["s/s"]


def test_figures_of_earlier_runs_are_not_images(tmp_path, capsys):
    write_image(tmp_path / "eye.jpg", "L")
    for place in ("eye.png", "output/curves.png", "moved.png"):
        write_figure(tmp_path / place)
    assert ids(find_images(tmp_path)) == ["eye"]
    assert "outputs of earlier runs: 3" in capsys.readouterr().out
    assert image_channels(tmp_path) == ["grey"]
    (tmp_path / "eye.jpg").unlink()
    with pytest.raises(InputError, match="outputs of earlier runs: 3"):
        find_images(tmp_path)


def test_figures_of_earlier_runs_are_no_class(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        write_image(tmp_path / name)
    write_figure(tmp_path / "cat/2.png")
    write_figure(tmp_path / "output/curves.png")
    assert ids(find_classified_images(tmp_path)) == ["cat/1", "dog/1"]


def test_embeddings_of_earlier_runs_are_no_crops(tmp_path):
    write_crop(tmp_path / "lidc1_1.npz")
    write_crop(tmp_path / "found.npz", "embeddings")
    assert ids(find_unlabelled_nodules(tmp_path)) == ["lidc1_1"]
    with pytest.raises(InputError, match="output of a run"):
        find_unlabelled_nodules(tmp_path / "found.npz")


def test_tables_of_earlier_runs_are_no_labels(tmp_path):
    write_image(tmp_path / "a.png")
    write_table(tmp_path / "grades.csv", [{"case": "a", "grade": 1, "probability_0": 0.5}])
    (tmp_path / "labels.csv").write_text("case,grade\na,2\n")
    assert list_tables(Folder.open(tmp_path, "tables")) == [tmp_path / "labels.csv"]
    columns = {"image_column": "case", "label_column": "grade"}
    assert [case["label"] for case in find_graded_images(tmp_path, **columns)] == [2]
    with pytest.raises(InputError, match="label_file"):
        find_graded_images(tmp_path, label_file="grades.csv", **columns)


@pytest.mark.parametrize("split", [split_cases, split_labelled_cases])
def test_a_split_file_that_is_followed_is_not_written(tmp_path, split):
    cases = [{"case": one, "patient": one} for one in "abcd"]
    parts = {"training": ["a", "b"], "validation": ["c"], "test": ["d"]}
    content = json.dumps(parts)  # formatted as no run does
    (tmp_path / "split.json").write_text(content)
    (tmp_path / "alias.json").symlink_to(tmp_path / "split.json")
    for name in ("split.json", "alias.json"):
        found = split(cases, split_file=tmp_path / name, output_dir=tmp_path)
        found.write()
        assert ids(found["training"]) == ["a", "b"]
        assert (tmp_path / "split.json").read_text() == content


@pytest.mark.parametrize("name", ["split.json", "metrics.csv", "curves.png"])
def test_nothing_is_written_where_a_later_file_would_replace_one_of_the_data_set(tmp_path, name):
    (tmp_path / name).write_text("image,level\n")
    cases = [{"case": one, "patient": one} for one in "abcd"]
    with pytest.raises(InputError, match=name):
        split_cases(cases, output_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "image,level\n"


def test_tables_cannot_name_images_outside_the_folder(tmp_path):
    write_image(tmp_path / "data/a.png")
    write_image(tmp_path / "b.png")
    for name in ("../b", "../a", "..\\a.png"):
        (tmp_path / "data/labels.csv").write_text(f"image,level\na,1\n{name},2\n")
        with pytest.raises(InputError, match="1 missing"):
            find_graded_images(tmp_path / "data")


@pytest.mark.parametrize("name", ["../x_1_1_9.png", "..", "/etc_9.png", "a/../../b_9.png", ".._9.png", "..\\b_9.png"])
def test_lesions_are_read_below_the_folder_alone(tmp_path, name):
    header = "File_name,Key_slice_index,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    header += "Spacing_mm_px_,Image_size,Train_Val_Test"
    row = f'{name},9,"1, 1, 20, 20",1,0,"8, 10","0.8, 0.8, 5","64, 64",1'
    (tmp_path / "DL_info.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(InputError, match="File_name"):
        find_lesions(tmp_path)


def test_data_lists_stay_below_their_folder_and_may_name_links(tmp_path):
    root = tmp_path / "data"
    write_scan(tmp_path / "store/a.nii.gz")
    root.mkdir()
    (root / "imagesTr").symlink_to(tmp_path / "store", target_is_directory=True)
    (root / "dataset.json").write_text(json.dumps({"training": [{"image": "./imagesTr/a.nii.gz"}]}))
    assert ids(find_cases(root)) == ["imagesTr/a"]
    for name in ("../store/a.nii.gz", str(tmp_path / "store/a.nii.gz"), "imagesTr/../../store/a.nii.gz"):
        (root / "dataset.json").write_text(json.dumps({"training": [{"image": name}]}))
        with pytest.raises(InputError, match=Path(name).name):
            find_cases(root)
