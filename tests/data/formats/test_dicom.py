import os
import shutil

import numpy as np
import pydicom
import pytest
from monai.transforms import Orientationd
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    generate_uid,
)

from tools.data.cases import find_cases
from tools.data.formats import dicom
from tools.data.formats.dicom_series import describe_unused, find_series
from tools.data.formats.volumes import source_files
from tools.transforms.volume import LoadVolumed
from tools.utils.errors import InputError

AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
OBLIQUE = ((np.cos(0.3), np.sin(0.3), 0), (0, 0, -1))
RANDOM = np.random.default_rng(1).integers(-100, 1000, size=(6, 7, 5)).astype(np.int16)  # columns, rows, slices


def write_series(folder, voxels=RANDOM, axes=AXIAL, step=2.5, suffix=".dcm", skip=(), **tags):
    """Slices named and numbered against their order in space."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = tags.pop("SeriesInstanceUID", generate_uid())
    normal = np.cross(*axes)
    count = voxels.shape[-1]
    for k in set(range(count)) - set(skip):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = MRImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID = uid
        one.InstanceNumber = (k * 3) % count
        one.ImageOrientationPatient = [float(f"{v:.6f}") for axis in axes for v in axis]
        one.ImagePositionPatient = [float(f"{v:.6f}") for v in (-10, 20, 30) + k * step * normal]
        one.PixelSpacing = [1.5, 0.5]  # between rows, between columns
        one.Rows, one.Columns = voxels.shape[1], voxels.shape[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        for tag, value in tags.items():
            setattr(one, tag, value)
        one.PixelData = np.ascontiguousarray(voxels[..., k].T).tobytes()
        one.save_as(folder / f"{tags.get('SeriesNumber', 'im')}_{count - k:03}{suffix}", enforce_file_format=True)
    return uid


def load(path):
    return LoadVolumed()({"image": str(path)})["image"]


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, OBLIQUE])
def test_geometry(tmp_path, axes):
    write_series(tmp_path / "s", axes=axes, RescaleSlope=2, RescaleIntercept=-7)
    image = load(tmp_path / "s")
    np.testing.assert_array_equal(image[0], RANDOM * 2.0 - 7)
    row, column = np.asarray(axes[0]), np.asarray(axes[1])
    lps = np.array([-10, 20, 30]) + 3 * 0.5 * row + 2 * 1.5 * column + 4 * 2.5 * np.cross(row, column)
    np.testing.assert_allclose(
        image.affine.numpy() @ np.array([3.0, 2, 4, 1]), [-lps[0], -lps[1], lps[2], 1], atol=1e-4
    )
    np.testing.assert_allclose(image.pixdim, [0.5, 1.5, 2.5], atol=1e-4)


def test_sagittal_to_ras(tmp_path):
    write_series(tmp_path / "s", axes=SAGITTAL)
    image = Orientationd("image", "RAS", labels=None)({"image": load(tmp_path / "s")})["image"]
    assert image.shape == (1, 5, 6, 7)  # right, anterior, superior
    # columns run to posterior, rows to inferior, slices to the right: (0,1,0) × (0,0,-1) = (-1,0,0) in LPS
    np.testing.assert_array_equal(image[0], RANDOM.transpose(2, 0, 1)[:, ::-1, ::-1])


def test_series_are_found_by_content(tmp_path, capsys):
    first = write_series(tmp_path / "two", SeriesNumber=1, PatientID="P7")
    second = write_series(tmp_path / "two", SeriesNumber=2, suffix="", PatientID="P7")
    write_series(tmp_path / "one", SeriesNumber=3, PatientID="P8")
    write_series(tmp_path / "one", RANDOM[..., :2], SeriesNumber=4)
    (tmp_path / "one" / "3_001.dcm.nfo").write_text("junk")
    cases = find_cases(tmp_path)
    assert [case["case"] for case in cases] == ["one", *sorted([f"two/{first}", f"two/{second}"])]
    assert [case["patient"] for case in cases] == ["P8", "P7", "P7"]
    assert "fewer than 3 slices in a folder: 2" in capsys.readouterr().out
    for case in cases:
        np.testing.assert_array_equal(load(case["image"])[0], RANDOM)
    with pytest.raises(InputError, match="expected one DICOM series, found"):
        load(tmp_path / "two")
    slices = [str(path) for path in sorted((tmp_path / "one").glob("3_*.dcm"))]
    np.testing.assert_array_equal(LoadVolumed()({"image": slices})["image"][0], RANDOM)


def test_a_series_at_the_root_and_a_constant_patient_id(tmp_path):
    write_series(tmp_path / "scan", PatientID="ANON")
    (case,) = find_cases(tmp_path / "scan")
    assert (case["case"], case["patient"]) == ("scan", "scan")


def test_series_of_one_folder_are_of_one_patient(tmp_path):
    for folder in ("one", "two"):
        for _ in range(2):
            write_series(tmp_path / folder, PatientID="ANON")
    cases = find_cases(tmp_path)
    patients = {case["case"].split("/")[0]: case["patient"] for case in cases}
    assert [patients[case["case"].split("/")[0]] for case in cases] == [case["patient"] for case in cases]
    assert len(set(patients.values())) == 2


def test_series_as_channels(tmp_path):
    for patient in "ab":
        for name in ("T1", "T2"):
            write_series(tmp_path / patient / name)
    cases = find_cases(tmp_path, {"T1": "T1", "T2": "T2"})
    assert [case["case"] for case in cases] == ["a", "b"]
    assert LoadVolumed()(cases[0])["image"].shape == (2, 6, 7, 5)


@pytest.mark.parametrize(
    ("problem", "text"),
    [("gap", "2.50 to 5.00 mm"), ("time", "several")],
)
def test_irregular_series(tmp_path, problem, text):
    uid = generate_uid()
    write_series(tmp_path / "s", SeriesInstanceUID=uid, skip=[2] if problem == "gap" else ())
    if problem == "time":
        write_series(tmp_path / "s", SeriesInstanceUID=uid, SeriesNumber=2)
    (case,) = find_cases(tmp_path)
    with pytest.raises(InputError, match=text) as error:
        load(case["image"])
    assert str(tmp_path / "s") in str(error.value)


def test_only_unusable_series(tmp_path):
    write_series(tmp_path / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match=r"expected volumes.*localizers: 5"):
        find_cases(tmp_path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("uid", ["../../evil/Z", "..", ".", "/1.2", "1.2/../3", "1" * 65, "1.2\n3", "a1.2", ""])
def test_series_whose_uid_is_no_file_name_are_excluded(tmp_path, uid, capsys):
    for folder in ("one", "two"):
        write_series(tmp_path / folder, SeriesInstanceUID=uid, SeriesNumber=1)
    good = [write_series(tmp_path / "two", SeriesNumber=number) for number in (2, 3)]
    assert [case["case"] for case in find_cases(tmp_path)] == sorted(f"two/{one}" for one in good)
    note = capsys.readouterr().out
    assert "SeriesInstanceUID" in note
    assert "10 files" in note
    assert len(note.splitlines()) == 1
    with pytest.raises(InputError, match="SeriesInstanceUID"):
        find_cases(tmp_path / "one")


def found(root):
    """Series below a folder, and the number of other DICOM files by reason."""
    series, unused = find_series(path for path in root.rglob("*") if not path.is_dir())
    return series, {reason: len(files) for reason, files in unused.items()}


LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (LOCALIZER, "DICOM localizers"),
        ({"axes": SAGITTAL}, "DICOM slices on another grid"),
        ({"voxels": RANDOM[:3, :3]}, "DICOM slices on another grid"),
        ({"PixelSpacing": [9, 9]}, "DICOM slices on another grid"),
        ({"ImagePositionPatient": None}, "DICOM without ImagePositionPatient"),
        ({"NumberOfFrames": 2}, "multi-frame DICOM"),
        ({"SamplesPerPixel": 3}, "DICOM in colour"),
        ({"Modality": "SEG"}, "DICOM segmentations"),
        ({"Modality": "RTSTRUCT", "Rows": None}, "DICOM without an image (RTSTRUCT)"),
    ],
)
@pytest.mark.parametrize("same_series", [True, False])
def test_other_dicom_objects_are_ignored(tmp_path, others, reason, same_series):
    uid = write_series(tmp_path / "s")
    others = {"voxels": RANDOM[..., :2]} | others
    others["voxels"] = others["voxels"][..., :2]
    write_series(tmp_path / "s", SeriesInstanceUID=uid if same_series else generate_uid(), SeriesNumber=9, **others)
    [series], unused = found(tmp_path)
    assert (series.path, len(series.files)) == (tmp_path / "s", 5)
    [(why, count)] = unused.items()
    assert count == 2
    assert why.startswith(reason) or not same_series
    np.testing.assert_array_equal(load(series.path)[0], RANDOM)


def test_a_localizer_in_three_planes_is_no_series(tmp_path):
    uid = generate_uid()
    for number, axes in enumerate((AXIAL, SAGITTAL, OBLIQUE)):
        write_series(tmp_path / "s", axes=axes, SeriesInstanceUID=uid, SeriesNumber=number)
    series, unused = found(tmp_path)
    assert not series
    assert sum(unused.values()) == 15


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_files_without_preamble(tmp_path, implicit, little):
    if implicit and not little:
        pytest.skip("not part of DICOM")
    write_series(tmp_path / "s", suffix="")
    for path in (tmp_path / "s").iterdir():
        one = pydicom.dcmread(path)
        one.preamble, one.file_meta = None, FileMetaDataset()
        if not little:
            one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
        pydicom.dcmwrite(path, one, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    [series], unused = found(tmp_path)
    assert not unused
    np.testing.assert_array_equal(load(series.path)[0], RANDOM)


def test_copies_are_dropped(tmp_path):
    write_series(tmp_path / "a")
    shutil.copy(tmp_path / "a" / "im_003.dcm", tmp_path / "a" / "im_003 (1).dcm")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "part")
    (tmp_path / "part" / "im_005.dcm").unlink()
    [series], unused = found(tmp_path)
    assert series.path == tmp_path / "a"
    assert unused == {"DICOM copies": 1 + 6 + 5}
    np.testing.assert_array_equal(load(tmp_path / "b")[0], RANDOM)


def test_one_instance_uid_for_all_slices_makes_no_copies(tmp_path):
    for name in "ab":
        write_series(tmp_path / name, SOPInstanceUID="1.2", SeriesInstanceUID="1.3")
    series, unused = found(tmp_path)
    assert [len(one.files) for one in series] == [5, 5]
    assert not unused


def test_files_that_cannot_be_used_are_counted_and_others_ignored(tmp_path):
    write_series(tmp_path / "s")
    (tmp_path / "s" / "empty.dcm").touch()
    (tmp_path / "s" / "page.DCM").write_text("<html>")
    (tmp_path / "s" / "packed.dcm.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "s" / "cut").write_bytes((tmp_path / "s" / "im_001.dcm").read_bytes()[:200])
    (tmp_path / "s" / "notes.txt").write_text("hello")
    (tmp_path / "s" / "numbers.bin").write_bytes(np.arange(2, 2000, dtype="<u4").tobytes())
    (tmp_path / "s" / "link.dcm").symlink_to("nowhere")
    os.mkfifo(tmp_path / "s" / "pipe.dcm")
    index = pydicom.dcmread(tmp_path / "s" / "im_001.dcm")
    index.SOPClassUID = index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.save_as(tmp_path / "DICOMDIR")
    [series], unused = found(tmp_path)
    assert len(series.files) == 5
    assert sum(unused.values()) == 7
    assert unused["DICOMDIR files"] == 1
    assert len(describe_unused(find_series((tmp_path / "s").iterdir())[1], tmp_path).splitlines()) == 1


def test_empty_rescale_tags_mean_stored_values(tmp_path, capsys):
    write_series(tmp_path / "absent")
    load(tmp_path / "absent")
    assert not capsys.readouterr().out
    write_series(tmp_path / "s", RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(load(tmp_path / "s")[0], RANDOM)
    [line] = capsys.readouterr().out.splitlines()
    assert "RescaleSlope" in line


def test_a_rescale_slope_that_only_some_slices_have_is_refused(tmp_path):
    write_series(tmp_path / "s", RescaleSlope=2, RescaleIntercept=0)
    path = tmp_path / "s" / "im_003.dcm"
    one = pydicom.dcmread(path)
    one.RescaleSlope = None
    one.save_as(path)
    with pytest.raises(InputError, match=r"im_003\.dcm.*RescaleSlope"):
        load(tmp_path / "s")


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_slice_without_all_of_its_voxels_is_named(tmp_path, content):
    write_series(tmp_path / "s")
    one = pydicom.dcmread(tmp_path / "s" / "im_002.dcm")
    one.PixelData = content
    one.save_as(one.filename)
    with pytest.raises(InputError, match=r"im_002\.dcm: expected a readable DICOM slice"):
        load(tmp_path / "s")


def test_the_package_for_a_compressed_syntax_is_named(tmp_path):
    write_series(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = HTJ2KLossless
        one.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
        one["PixelData"].VR = "OB"
        one.save_as(path)
    with pytest.raises(InputError, match="pip install pylibjpeg pylibjpeg-openjpeg"):
        load(tmp_path / "s")


def test_pixels_that_cannot_be_decompressed_raise_one_error(tmp_path, caplog):
    write_series(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = JPEG2000Lossless
        one.PixelData = encapsulate([b"\xff\x4f\xff\x51no pixels"])
        one["PixelData"].VR = "OB"
        one.save_as(path)
    with pytest.raises(InputError):
        load(tmp_path / "s")
    assert not [record for record in caplog.records if record.exc_info]


def test_a_series_may_lie_in_a_folder_named_like_a_volume(tmp_path):
    write_series(tmp_path / "s.nii.gz")
    (case,) = find_cases(tmp_path)
    assert load(case["image"]).shape == (1, *RANDOM.shape)


def test_a_folder_of_many_series_is_searched_once(tmp_path, monkeypatch):
    uids = [write_series(tmp_path, SeriesNumber=number) for number in range(3)]
    searched = []
    monkeypatch.setattr(dicom, "find_series", lambda files: searched.append(1) or find_series(files))
    for uid in uids:
        load(tmp_path / uid)
        assert len(source_files(tmp_path / uid)) == 5
    assert len(searched) == 1
