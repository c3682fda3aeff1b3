import gzip
import json
import shutil
import zipfile

import nibabel
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tools.training.engine import model_paths
from tools.utils import figures, outputs
from tools.utils.errors import InputError
from tools.utils.files import atomic_write, write_json, write_table
from tools.utils.outputs import MARK, check_not_input, is_output, output_path


def write_label_map(path):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    image.header["descrip"] = MARK
    nibabel.save(image, path)


def write_figure(path, outside=False):
    figure = Figure(figsize=(1, 1))
    if outside:  # what sticks out of the figure is saved in another way
        figure.text(0, 0.5, "text")
    else:
        figure.text(0.5, 0.5, "text")
    figures.save(figure, path)


def write_embeddings(path):
    np.savez_compressed(path, embeddings=np.zeros((2, 2, 3)), patch_size=np.ones(2), affine=np.eye(3))


OURS = {
    "scan.nii": write_label_map,
    "scan.nii.gz": write_label_map,
    "eye.png": write_figure,
    "eye2.png": lambda path: write_figure(path, outside=True),
    "crop.npz": write_embeddings,
    "scan.npy": lambda path: np.save(path, np.zeros(12, np.float32)),
    "embeddings.csv": lambda path: write_table(path, [{"case": "a", "patient": "b", "file": "a.npy"}]),
    "metrics.csv": lambda path: write_table(path, [{"epoch": 1, "step": 2, "seconds": 0.5, "learning_rate": 1}]),
    "evaluation.csv": lambda path: write_table(path, [{"case": "a", "patient": "b", "mean_dice": 1.0}]),
    "grades.csv": lambda path: write_table(path, [{"case": "a", "grade": 1, "probability_0": 1.0}]),
    "answers.csv": lambda path: write_table(path, [{"case": "a", "probability_malignant": 1.0, "answer": "no"}]),
    "split.json": lambda path: write_json(path, {"training": ["a"], "validation": ["b"], "test": []}),
    "evaluation.json": lambda path: write_json(path, {"cases": 1, "scores": {}}),
    "detections.json": lambda path: write_json(path, {"min_score": 0.1, "scans": []}),
}


def write_scan(path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)


def write_image(path):
    Image.new("RGB", (8, 8)).save(path)


COCO = {"images": [], "annotations": [], "scores": {}}
OTHERS = {
    "scan.nii": write_scan,
    "scan.nii.gz": write_scan,
    "damaged.nii.gz": lambda path: path.write_bytes(gzip.compress(b"x" * 999)[:30]),
    "eye.png": write_image,
    "damaged.png": lambda path: path.write_bytes(b"no picture"),
    "crop.npz": lambda path: np.savez_compressed(path, voxel=np.zeros((4, 4, 4), np.uint8)),
    "scan.npy": lambda path: np.save(path, np.zeros((4, 4, 4), np.float32)),
    "labels.npy": lambda path: np.save(path, np.zeros(12, np.int64)),
    "objects.npy": lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True),
    "embeddings.csv": lambda path: path.write_text("case,patient,files\n"),
    "metrics.csv": lambda path: path.write_text("image,level\n1_left,0\n"),
    "evaluation.csv": lambda path: path.write_text("case,grade\na,1\n"),
    "grades.csv": lambda path: path.write_text("id_code;diagnosis\n1;2\n"),
    "answers.csv": lambda path: path.write_text("index,uid,malignancy_mode\n"),
    "results.csv": lambda path: path.write_text("File_name,Key_slice_index\n"),
    "split.json": lambda path: path.write_text(json.dumps({"training": [{"image": "a"}], "validation": []})),
    "detections.json": lambda path: path.write_text(json.dumps(COCO)),
    "evaluation.json": lambda path: path.write_text('{"cases": '),
    "model.json": lambda path: path.write_text("[1, 2]"),
    "folder.pt": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", OURS)
def test_outputs_are_recognised_wherever_they_are_moved_and_may_be_replaced(tmp_path, name):
    OURS[name](tmp_path / name)
    moved = tmp_path / "elsewhere" / f"of_another_name{''.join((tmp_path / name).suffixes)}"
    moved.parent.mkdir()
    shutil.copyfile(tmp_path / name, moved)
    assert is_output(tmp_path / name)
    assert is_output(moved)
    assert output_path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_file_is_replaced(tmp_path, name):
    OTHERS[name](tmp_path / name)
    assert not is_output(tmp_path / name)
    with pytest.raises(InputError, match=name):
        output_path(tmp_path, name)


def test_an_input_is_refused_under_every_alias(tmp_path):
    data, found = tmp_path / "data", tmp_path / "found"
    (data / "a").mkdir(parents=True)
    found.mkdir()
    write_scan(data / "a/scan.nii.gz")
    (tmp_path / "link").symlink_to(data, target_is_directory=True)
    (found / "soft.nii.gz").symlink_to(data / "a/scan.nii.gz")
    (found / "hard.nii.gz").hardlink_to(data / "a/scan.nii.gz")
    for folder, name in (
        (tmp_path / "link", "a/scan.nii.gz"),
        (data / "../data", "a/scan.nii.gz"),
        (found, "soft.nii.gz"),
        (found, "hard.nii.gz"),
    ):
        with pytest.raises(InputError, match="found another file"):
            output_path(folder, name)


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "a/..", "/etc/x.png", "", "a//x.png", "./x.png", "..", "a/", "a\0.png"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="below this folder"):
        output_path(tmp_path / "found", name)
    assert not list(tmp_path.iterdir())


def test_links_inside_the_folder_do_not_lead_out_of_it(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "found").symlink_to(tmp_path / "real", target_is_directory=True)  # the folder itself may be one
    (tmp_path / "real/out").symlink_to(tmp_path / "other", target_is_directory=True)
    assert output_path(tmp_path / "found", "in/x.png").parent.name == "in"
    with pytest.raises(InputError, match="other"):
        output_path(tmp_path / "found", "out/x.png")


def test_a_file_is_no_output_folder(tmp_path):
    write_scan(tmp_path / "scan.nii.gz")
    for name in ("scan.png", "below/scan.png"):
        with pytest.raises(InputError, match=r"scan\.nii\.gz"):
            output_path(tmp_path / "scan.nii.gz", name)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_names_of_any_length_that_a_file_may_have(tmp_path, letter):
    size = len(letter.encode())
    name = letter * ((255 - 7) // size) + "." * ((255 - 7) % size) + ".nii.gz"
    with atomic_write(output_path(tmp_path, name)) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
    with pytest.raises(InputError, match="255"):
        output_path(tmp_path, "a" + name)


def test_names_that_windows_keeps_are_refused_there_alone(tmp_path, monkeypatch):
    names = ["CON.png", "a/nul", "com1.nii.gz", "12:30.png", "why?.png", "back\\slash.png", "dot.", "line\n.png"]
    for name in names:
        output_path(tmp_path, name)
    monkeypatch.setattr(outputs, "WINDOWS", True)
    for name in names:
        with pytest.raises(InputError, match="Windows"):
            output_path(tmp_path, name)
    output_path(tmp_path, "console/common.nii.gz")


def test_weights_to_start_from_are_not_written_over(tmp_path):
    for name in ("model.pt", "model.json", "mine.pt"):
        (tmp_path / name).write_text(json.dumps({"sha256": "", "versions": {}}))
    (tmp_path / "alias.pt").symlink_to(tmp_path / "model.pt")
    for pretrained in ("model.pt", "alias.pt", "model.pth", "../" + tmp_path.name + "/model.pt"):
        with pytest.raises(InputError, match=r"model\.(pt|json)"):
            model_paths(tmp_path, tmp_path / pretrained)
    model_paths(tmp_path, tmp_path / "mine.pt")
    model_paths(tmp_path, None)


def test_an_input_path_is_refused_under_any_name(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    check_not_input([tmp_path / "a"], [tmp_path / "c"])
    with pytest.raises(InputError, match="input"):
        check_not_input([tmp_path / "a"], [tmp_path / "b"])


def test_an_archive_of_other_arrays_is_no_output(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("voxel.npy", b"")
    assert not is_output(tmp_path / "x.npz")
