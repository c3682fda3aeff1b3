"""Length units of volume files, and the geometry of label maps written for them."""

from types import SimpleNamespace

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from tools.data.formats.metaimage import check_unit
from tools.data.formats.nifti import GEOMETRY, copy_geometry
from tools.segmentation.labels import SoftmaxLabels
from tools.segmentation.reports import SegmentationWriter
from tools.transforms.geometry import CheckedSpacingd
from tools.transforms.preprocessing import build_preprocessing
from tools.transforms.volume import LoadVolumed
from tools.utils.errors import InputError

VOXELS = np.random.default_rng(2).normal(size=(20, 18, 16)).astype(np.float32)
AFFINE = np.array([[-2.0, 0.3, 0, 15], [0.3, 2, 0.1, 7], [0, 0, 3, 1], [0, 0, 0, 1]])


def nifti(path, size=1.0, code=2, qform=1, sform=1, kind=nib.Nifti1Image):
    """A scan whose affine is in a unit of `size` mm."""
    affine = np.diag([1 / size] * 3 + [1]) @ AFFINE
    image = kind(VOXELS, None)
    image.set_sform(affine, sform)
    shifted = affine.copy()
    shifted[:3, 3] += 1 / size  # where both are there, the sform counts
    image.set_qform(shifted if sform else affine, qform)
    image.header["xyzt_units"] = code
    nib.save(image, path)
    return str(path)


def write_nrrd(path, size=1.0, **fields):
    affine = np.diag([-1 / size, -1 / size, 1 / size, 1]) @ AFFINE
    place = {"space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), VOXELS, {"space": "left-posterior-superior", **place, **fields})
    return str(path)


def load(path):
    return LoadVolumed()({"image": path})["image"]


@pytest.mark.parametrize(("size", "code"), [(1, 0), (1, 2), (1000, 1), (0.001, 3), (0.001, 3 + 8)])
def test_nifti_units_are_converted(tmp_path, size, code):
    image = load(nifti(tmp_path / "a.nii.gz", size, code))
    for affine in (image.affine, torch.as_tensor(image.meta["original_affine"])):
        np.testing.assert_allclose(affine, AFFINE, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "fields"),
    [
        (1, {}),
        (1, {"space units": ["mm", "mm", "mm"]}),
        (1, {"space units": ["", "", ""]}),
        (1000, {"space units": ["m"] * 3}),
        (0.001, {"space units": ["um"] * 3}),
        (0.001, {"space units": ["microns"] * 3, "units": ["um"] * 3}),
        (10, {"units": ["cm"] * 3}),
    ],
)
def test_nrrd_units_are_converted(tmp_path, size, fields):
    image = load(write_nrrd(tmp_path / "a.nrrd", size, **fields))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-3)


@pytest.mark.parametrize("code", [4, 5, 7])
def test_undefined_nifti_units_are_refused(tmp_path, code):
    with pytest.raises(InputError, match=rf"a.nii.gz.*xyzt_units.*{code}"):
        load(nifti(tmp_path / "a.nii.gz", code=code))


@pytest.mark.parametrize(
    "fields",
    [
        {"space units": ["pixels"] * 3},
        {"space units": ["mm", "mm", "um"]},
        {"space units": ["mm"] * 3, "units": ["um"] * 3},
    ],
)
def test_unknown_and_contradictory_nrrd_units_are_refused(tmp_path, fields):
    with pytest.raises(InputError, match=r"a.nrrd.*units"):
        load(write_nrrd(tmp_path / "a.nrrd", **fields))


@pytest.mark.parametrize(
    ("line", "good"), [("", True), ("DistanceUnits = mm\n", True), ("DistanceUnits = um\n", False)]
)
def test_metaimages_are_in_mm(tmp_path, line, good):
    path = tmp_path / "a.mha"
    path.write_bytes(f"ObjectType = Image\nNDims = 3\n{line}ElementDataFile = LOCAL\n".encode() + bytes(range(256)))
    if good:
        check_unit(path)
    else:
        with pytest.raises(InputError, match=r"DistanceUnits.*um"):
            check_unit(path)


@pytest.mark.parametrize("spacing", [2.0, 0.001, 1000.0])
def test_voxels_that_cannot_be_in_mm_are_refused_with_their_size(tmp_path, spacing):
    image = {"image": load(nifti(tmp_path / "a.nii.gz"))}
    if spacing == 2:
        assert CheckedSpacingd("image", [spacing] * 3)(image)
    else:
        with pytest.raises(InputError, match=r"a.nii.gz.* 3 mm"):
            CheckedSpacingd("image", [spacing] * 3)(image)


def test_a_scan_is_prepared_alike_in_any_unit(tmp_path):
    preprocessing = build_preprocessing([8, 8, 8], 1, 3.0)
    prepared = [
        preprocessing({"image": nifti(tmp_path / f"{code}.nii.gz", size, code), "case": "a"})["image"]
        for size, code in ((1, 2), (1000, 1), (0.001, 3))
    ]
    assert prepared[0].shape == prepared[1].shape == prepared[2].shape
    for one in prepared[1:]:
        torch.testing.assert_close(one, prepared[0], atol=1e-3, rtol=0)


def write_answer(path, folder):
    """The label map that inference writes for a scan."""
    image = load(path)
    affine = torch.as_tensor(image.meta["original_affine"])
    labels = MetaTensor(torch.ones(1, *VOXELS.shape, dtype=torch.uint8), affine=affine)
    model = SimpleNamespace(attach=lambda engine: None)
    writer = SegmentationWriter(model, SoftmaxLabels(["ball"]), [1], str(folder))
    state = SimpleNamespace(batch=[{"image": image, "case": "a"}], output=[{"pred": labels}])
    writer.write(SimpleNamespace(state=state))
    return nib.load(folder / "a.nii.gz")


@pytest.mark.parametrize(
    ("qform", "sform", "size", "code", "kind"),
    [
        (1, 0, 1, 2, nib.Nifti1Image),
        (0, 2, 1, 2, nib.Nifti1Image),
        (1, 4, 1, 2, nib.Nifti1Image),
        (1, 1, 0.001, 3, nib.Nifti1Image),
        (0, 3, 1000, 1, nib.Nifti2Image),
        (0, 0, 1, 0, nib.Nifti1Image),
    ],
)
def test_a_label_map_has_the_geometry_of_its_nifti_scan(tmp_path, qform, sform, size, code, kind):
    path = nifti(tmp_path / "scan.nii.gz", size, code, qform, sform, kind)
    prediction, scan = write_answer(path, tmp_path / "out"), nib.load(path)
    assert type(prediction) is kind
    assert {field for field in GEOMETRY if not np.array_equal(prediction.header[field], scan.header[field])} == set()
    assert np.array_equal(prediction.affine, scan.affine)
    assert (np.asarray(prediction.dataobj) == 1).all()


def test_a_label_map_of_another_format_is_in_scanner_coordinates_and_mm(tmp_path):
    prediction = write_answer(
        write_nrrd(tmp_path / "scan.nrrd", 0.001, **{"space units": ["um"] * 3}), tmp_path / "out"
    )
    assert prediction.header.get_xyzt_units()[0] == "mm"
    assert (int(prediction.header["qform_code"]), int(prediction.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(prediction.get_sform(), AFFINE, atol=1e-3)


def test_a_written_label_map_can_be_given_the_geometry_of_its_scan(tmp_path):
    scan = nifti(tmp_path / "scan.nii.gz", 0.001, 3, 1, 0)
    labels = np.arange(VOXELS.size, dtype=np.uint16).reshape(VOXELS.shape)
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    copy_geometry(tmp_path / "labels.nii.gz", scan)
    found = nib.load(tmp_path / "labels.nii.gz")
    assert all(np.array_equal(found.header[field], nib.load(scan).header[field]) for field in GEOMETRY)
    assert np.array_equal(np.asarray(found.dataobj), labels)
    assert found.get_data_dtype() == np.uint16
