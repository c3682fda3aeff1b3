import numpy as np
import pydicom
import pytest
from monai.transforms import Orientationd
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from tools.data.cases import find_cases
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
    assert "localizer (2 slices)" in capsys.readouterr().out
    for case in cases:
        np.testing.assert_array_equal(load(case["image"])[0], RANDOM)
    with pytest.raises(InputError, match="expected one DICOM series, found"):
        load(tmp_path / "two")
    slices = [str(path) for path in sorted((tmp_path / "one").glob("3_*.dcm"))]
    np.testing.assert_array_equal(LoadVolumed()({"image": slices})["image"][0], RANDOM)


def test_root_is_the_series_and_one_patient_id_for_all_tells_nothing(tmp_path):
    write_series(tmp_path / "scan", PatientID="ANON")
    (case,) = find_cases(tmp_path / "scan")
    assert (case["case"], case["patient"]) == ("scan", "scan")


def test_series_as_channels(tmp_path):
    for patient in "ab":
        for name in ("T1", "T2"):
            write_series(tmp_path / patient / name)
    cases = find_cases(tmp_path, {"T1": "T1", "T2": "T2"})
    assert [case["case"] for case in cases] == ["a", "b"]
    assert LoadVolumed()(cases[0])["image"].shape == (2, 6, 7, 5)


@pytest.mark.parametrize(
    ("problem", "text"),
    [("gap", "2.50 to 5.00 mm"), ("time", "several"), ("size", "one Rows"), ("turned", "one ImageOrientationPatient")],
)
def test_irregular_series(tmp_path, problem, text):
    uid = generate_uid()
    write_series(tmp_path / "s", SeriesInstanceUID=uid, skip=[2] if problem == "gap" else ())
    more = {"SeriesInstanceUID": uid, "SeriesNumber": 2}
    if problem == "time":
        write_series(tmp_path / "s", **more)
    elif problem == "size":
        write_series(tmp_path / "s", RANDOM[:, :5], **more)
    elif problem == "turned":
        write_series(tmp_path / "s", axes=SAGITTAL, **more)
    (case,) = find_cases(tmp_path)
    with pytest.raises(InputError, match=text) as error:
        load(case["image"])
    assert str(tmp_path / "s") in str(error.value)


def test_only_unusable_series(tmp_path):
    write_series(tmp_path / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match=r"expected volumes.*a localizer \(5 slices\)"):
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
    assert "2 DICOM series" in note
    assert len(note.splitlines()) == 1
    with pytest.raises(InputError, match="SeriesInstanceUID"):
        find_cases(tmp_path / "one")
