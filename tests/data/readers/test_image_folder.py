import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tools.data.cases import find_images, image_channels
from tools.data.split import split_cases
from tools.utils.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def image(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (5, 4)).save(path)
    return path


def test_tree_of_images(tmp_path):
    for name in ("b/x.PNG", "a.jpg", "c.jpeg", "d.tif", "e.v2.TIFF", "f.bmp"):
        touch(tmp_path / name)
    for name in (".hidden.png", ".cache/x.png", "notes.txt", "scan.nii.gz", "g.gif"):
        touch(tmp_path / name)
    cases = find_images(tmp_path)
    assert [case["case"] for case in cases] == ["a", "b/x", "c", "d", "e.v2", "f"]
    assert cases[1] == {"case": "b/x", "patient": "x", "image": str(tmp_path / "b" / "x.PNG")}
    assert find_images(tmp_path) == cases
    assert [case["case"] for case in find_images(tmp_path, slice_axis=2)] == ["scan"]


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("10_left", "10"),
        ("10_RIGHT", "10"),
        ("site/P-3_L", "P-3"),
        ("site/P-3-r", "P-3"),
        ("x_OD", "x"),
        ("x_os", "x"),
        ("17/left", "17"),
        ("left", "left"),
        ("10_leftover", "10_leftover"),
        ("animal", "animal"),
        ("sub-04/micr/sub-04_sample-B", "sub-04"),
    ],
)
def test_both_eyes_are_one_patient(tmp_path, case, patient):
    touch(tmp_path / f"{case}.png")
    (found,) = find_images(tmp_path)
    assert (found["case"], found["patient"]) == (case, patient)


def test_eyes_of_a_patient_are_not_split(tmp_path):
    for number in range(20):
        for eye in ("left", "right"):
            touch(tmp_path / f"{number}_{eye}.jpeg")
    parts = split_cases(find_images(tmp_path), 0.3)
    patients = [{case["patient"] for case in cases} for cases in parts.values()]
    assert not set.intersection(*patients)
    assert len(parts["validation"]) == 12


def test_masks_are_excluded(tmp_path, capsys):
    for name in (
        "a.png",
        "a_mask.png",
        "b.jpg",
        "b_segmentation.png",
        "masks/a.png",
        "train_labels/a.png",
        "maskrade.png",
    ):
        touch(tmp_path / name)
    assert [case["case"] for case in find_images(tmp_path)] == ["a", "b", "maskrade"]
    note = "label maps by name: 4 (a_mask.png, b_segmentation.png, masks/a.png, …); --include_label_maps True"
    assert note in capsys.readouterr().out
    assert len(find_images(tmp_path, include_label_maps=True)) == 7
    with pytest.raises(InputError, match=r"expected images .*, found label maps by name: 1"):
        find_images(touch(tmp_path / "only" / "x_mask.png").parent)
    assert len(find_images(tmp_path / "masks")) == 1
    assert image_channels(image(tmp_path / "new" / "a.png").parent) == ["red", "green", "blue"]


def test_two_files_of_one_id(tmp_path):
    touch(tmp_path / "a.png")
    touch(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.png.*a\.jpg"):
        find_images(tmp_path)


@pytest.mark.parametrize("make", ["missing", "file", "empty", "other"])
@pytest.mark.parametrize("ask", [find_images, image_channels])
def test_nothing_to_use(tmp_path, make, ask):
    place = tmp_path / "place"
    if make == "file":
        touch(place)
    elif make != "missing":
        place.mkdir()
    if make == "other":
        touch(place / "a.txt")
    found = {"missing": "nothing", "file": "a file", "empty": "no files", "other": "1 file with .txt"}[make]
    with pytest.raises(InputError, match=f"place: expected .*images.*, found {found}") as error:
        ask(place)
    assert "slice_axis" not in str(error.value)


def dicom(path):
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = pydicom.uid.MRImageStorage
    one.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("name", "found"), [("a.nii.gz", r"1 file with \.nii\.gz"), ("a.dcm", r"1 file with \.dcm"), ("im1", "no suffix")]
)
def test_volumes_instead_of_images(tmp_path, name, found):
    if name.endswith("gz"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4)), tmp_path / name)
    else:
        dicom(tmp_path / name)
    with pytest.raises(InputError, match=f"expected images .*{found}.*--slice_axis 2"):
        find_images(tmp_path)


def test_images_instead_of_volumes(tmp_path):
    touch(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"expected volumes .*found 1 file with \.png"):
        find_images(tmp_path, slice_axis=0)


def test_channel_patterns_are_for_volumes(tmp_path):
    image(tmp_path / "a.png")
    for ask in (find_images, image_channels):
        with pytest.raises(InputError, match=r"channels: expected None for images.*--slice_axis"):
            ask(tmp_path, channels={"T1": "*"})
    touch(tmp_path / "a_t1.nii")
    assert find_images(tmp_path, 1, {"T1": "*_t1.nii"})[0]["image"] == [str(tmp_path / "a_t1.nii")]
    assert image_channels(tmp_path, 1, {"T1": "*_t1.nii"}) == ["T1"]
    assert image_channels(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("name", "mode", "grey"),
    [
        ("a.png", "RGB", False),
        ("a.png", "RGBA", False),
        ("a.png", "P", False),
        ("a.jpg", "CMYK", False),
        ("a.png", "L", True),
        ("a.png", "LA", True),
        ("a.png", "1", True),
        ("a.png", "I;16", True),
        ("a.tif", "I;16B", True),
        ("a.tif", "I", True),
        ("a.tif", "F", True),
        ("a.bmp", "L", True),
    ],
)
def test_channels_of_most_images(tmp_path, name, mode, grey):
    image(tmp_path / name, mode)
    image(tmp_path / name.replace("a.", "c."), mode)
    image(tmp_path / "b.png", "RGB" if grey else "L")
    assert image_channels(tmp_path) == (["grey"] if grey else ["red", "green", "blue"])


def test_channels_of_readable_images(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InputError, match="expected readable images, found none among 1 file"):
        image_channels(tmp_path)
    image(tmp_path / "b.png", "L")
    assert image_channels(tmp_path) == ["grey"]


def test_one_file_is_one_case(tmp_path):
    Image.new("RGB", (6, 5)).save(tmp_path / "7_left.png")
    [case] = find_images(tmp_path / "7_left.png")
    assert case == {"case": "7_left", "patient": "7", "image": str(tmp_path / "7_left.png")}
