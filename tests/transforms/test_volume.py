from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd

from tools.data.cases import find_cases
from tools.transforms.geometry import PadToRoid, pad_by_reflection
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.errors import InputError, find_input_error

REAL = Path(__file__).parents[3] / "shared" / "data"
VOXELS = np.random.default_rng(2).normal(size=(8, 9, 10)).astype(np.float32)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 1.5, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
CHAIN = Compose([LoadVolumed(), CheckVolumed(), Orientationd("image", "RAS", labels=None), HashVoxelsd()])


def nifti(path, voxels=VOXELS, affine=AFFINE, codes="RAS"):
    image = nib.Nifti1Image(voxels, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), path)
    return str(path)


def to_nrrd(path, space="left-posterior-superior", signs=(-1, -1, 1)):
    affine = np.diag([*signs, 1]) @ AFFINE
    header = {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), VOXELS, header)
    return str(path)


@pytest.mark.parametrize("form", ["LPS", "ASL", "PIR", "nii", "nrrd", "LPS nrrd", "RAS nrrd", "LAS nrrd", "nhdr"])
def test_format_and_orientation_do_not_matter(tmp_path, form):
    if form.endswith("nrrd"):
        space = {"nrrd": "left-posterior-superior", "LAS nrrd": "left-anterior-superior"}.get(form, form.split()[0])
        signs = {"RAS nrrd": (1, 1, 1), "LAS nrrd": (-1, 1, 1)}.get(form, (-1, -1, 1))
        path = to_nrrd(tmp_path / "a.nrrd", space, signs)
    elif form == "nhdr":
        path = to_nrrd(tmp_path / "a.nhdr")
    else:
        path = nifti(tmp_path / ("a.nii" if form == "nii" else "a.nii.gz"), codes="RAS" if form == "nii" else form)
    found = CHAIN({"image": path, "case": "a"})
    expected = CHAIN({"image": nifti(tmp_path / "b.nii.gz"), "case": "b"})
    assert found["image"].dtype == torch.float32
    np.testing.assert_array_equal(found["image"][0], VOXELS)
    np.testing.assert_allclose(found["image"].affine, AFFINE, atol=1e-5)
    assert found["hashes"] == expected["hashes"]
    assert len(found["hashes"][0]) == 64


def test_mha(tmp_path):
    itk = pytest.importorskip("itk")
    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    image.SetSpacing([2.0, 1.5, 3.0])
    image.SetOrigin([5.0, -7.0, 1.0])
    image.SetDirection(np.diag([-1.0, -1.0, 1.0]))
    itk.imwrite(image, str(tmp_path / "a.mha"))
    found = CHAIN(find_cases(tmp_path)[0])["image"]
    np.testing.assert_array_equal(found[0], VOXELS)
    np.testing.assert_allclose(found.affine, AFFINE)


def test_hash_depends_on_shape_and_voxels():
    image = torch.arange(8.0 * 9 * 10).reshape(1, 8, 9, 10)
    hashes = [HashVoxelsd()({"image": one})["hashes"] for one in (image, image.reshape(1, 9, 8, 10), image + 1)]
    assert len({one[0] for one in hashes}) == 3
    assert HashVoxelsd()({"image": torch.cat([image, image + 1])})["hashes"] == hashes[0] + hashes[2]


def test_channels(tmp_path):
    four = nifti(tmp_path / "four.nii.gz", np.stack([VOXELS, VOXELS + 1], -1))
    assert LoadVolumed()({"image": four})["image"].shape == (2, 8, 9, 10)
    mixed = [nifti(tmp_path / "a.nii.gz"), to_nrrd(tmp_path / "b.nrrd")]
    image = LoadVolumed()({"image": mixed})["image"]
    np.testing.assert_array_equal(image, np.stack([VOXELS, VOXELS]))
    np.testing.assert_allclose(image.affine, AFFINE)


def test_channels_on_other_grids_are_resampled_to_the_first(tmp_path, capsys):
    """A linear function of the place stays one under linear interpolation, wherever the grids overlap."""

    def ramp(name, shape, affine):
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
        return nifti(tmp_path / name, (places @ [1, 2, 3] + 1000).astype(np.float32), affine)

    first = ramp("a.nii.gz", (12, 10, 8), np.diag([2.0, 2, 2, 1]))
    turned = np.array([[0, -3.0, 0, 24], [3.0, 0, 0, -3], [0, 0, 1.0, -2], [0, 0, 0, 1]])
    image = LoadVolumed()({"image": [first, ramp("b.nii.gz", (10, 12, 30), turned)]})["image"]
    np.testing.assert_allclose(image[1][1:-1, 1:-1, 1:-1], image[0][1:-1, 1:-1, 1:-1], rtol=1e-4)
    LoadVolumed()({"image": [first, nifti(tmp_path / "size.nii.gz", VOXELS[1:], np.diag([2.0, 2, 2, 1]))]})
    assert capsys.readouterr().out.count("resampled") <= 1, "one line in a process"
    apart = ramp("apart.nii.gz", (8, 8, 8), np.array([[2.0, 0, 0, 500], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match=r"apart\.nii\.gz.*a\.nii\.gz"):
        LoadVolumed()({"image": [first, apart]})


@pytest.mark.parametrize("kind", ["truncated", "text", "missing", "empty folder", "nrrd space"])
def test_unreadable(tmp_path, kind):
    path = tmp_path / {"text": "bad.nii", "empty folder": "bad", "nrrd space": "bad.nrrd"}.get(kind, "bad.nii.gz")
    if kind == "truncated":
        nifti(path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "text":
        path.write_text("not a volume")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "nrrd space":
        to_nrrd(path, "scanner-xyz")
    with pytest.raises(RuntimeError, match="applying transform") as error:
        CHAIN({"image": str(path)})
    message = str(find_input_error(error.value))
    assert message.startswith(str(path))
    assert "\n" not in message


def check(image, **options):
    return CheckVolumed(**options)({"image": torch.as_tensor(image), "case": "c7"})


def test_check(tmp_path, capsys):
    flat = nib.Nifti1Image(VOXELS[..., 0], AFFINE)
    nib.save(flat, tmp_path / "flat.nii.gz")
    with pytest.raises(InputError, match=r"flat\.nii\.gz.*\(8"):
        CheckVolumed()(LoadVolumed()({"image": str(tmp_path / "flat.nii.gz")}))
    with pytest.raises(InputError, match="3 spatial"):
        check(VOXELS[None, ..., :1])
    with pytest.raises(InputError, match=r"c7: expected 4 channel\(s\), found 1"):
        check(VOXELS[None], channels=4)
    broken = np.stack([VOXELS, VOXELS])
    broken[1, 0, 0, :3] = np.nan
    broken[1, 1, 1, 1] = -np.inf
    with pytest.raises(InputError, match=r"c7.*3 NaN.*1 infinite.*channel 1"):
        check(broken)
    assert capsys.readouterr().out == ""
    check(np.full((1, 8, 8, 8), 3.0))
    assert "c7: channel 0 is constant (3)" in capsys.readouterr().out


def test_pad(capsys):
    pad = PadToRoid(roi_size=(8, 16, 6))
    image = torch.as_tensor(VOXELS[None]) + 10
    padded = pad({"image": image, "case": "first"})["image"]
    pad({"image": image, "case": "second"})
    np.testing.assert_array_equal(padded[0], np.pad(VOXELS + 10, ((0, 0), (3, 4), (0, 0)), mode="reflect"))
    out = capsys.readouterr().out
    assert "first" in out
    assert "second" not in out
    assert pad({"image": torch.ones(1, 8, 16, 6)})["image"].shape == (1, 8, 16, 6)
    with pytest.raises(InputError, match=r"third.*\(8, 20, 6\).*\(8, 9, 10\).*--spacing"):
        PadToRoid(roi_size=(8, 20, 6))({"image": image, "case": "third"})
    assert PadToRoid(roi_size=12)({"image": torch.rand(1, 6, 6, 6)})["image"].amin() > 0


def test_padding_of_slices_and_images():
    image = torch.rand(1, 9, 5, 8)
    assert PadToRoid(roi_size=(12, 1, 8))({"image": image})["image"].shape == (1, 12, 5, 8)
    assert PadToRoid(roi_size=(12, 8))({"image": image[:, :, 0]})["image"].shape == (1, 12, 8)
    assert PadToRoid(roi_size=10)({"image": image[:, :, 0]})["image"].shape == (1, 10, 10)
    with pytest.raises(InputError, match=r"half of roi_size \(20, 20\) pixels, found \(9, 8\).*--resize_shorter_edge"):
        PadToRoid(roi_size=20)({"image": image[:, :, 0]})


@pytest.mark.parametrize("size", [(5,), (2, 7), (1, 3), (3, 1, 2), (4, 9, 1)])
def test_reflection_is_repeated_until_it_fills_any_size(size):
    image = np.random.default_rng(0).random((2, *size))
    for long in range(1, 24):
        padded = pad_by_reflection(torch.as_tensor(image), [long] * len(size))
        short = [max(long - edge, 0) for edge in size]
        widths = [(0, 0), *((one // 2, one - one // 2) for one in short)]
        np.testing.assert_array_equal(padded, np.pad(image, widths, mode="reflect"))


def test_a_padded_image_keeps_its_place():
    image = MetaTensor(torch.rand(1, 3, 40, 1), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    padded = pad_by_reflection(image, (32, 32, 32))
    assert padded.shape == (1, 32, 40, 32)
    start = (torch.linalg.inv(padded.affine) @ image.affine)[:3, 3].round().int().tolist()
    inside = tuple(slice(first, first + edge) for first, edge in zip(start, image.shape[1:], strict=True))
    torch.testing.assert_close(padded[(slice(None), *inside)].as_tensor(), image.as_tensor())


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real scans at {REAL}")
def test_real_scans():
    for folder, count in (("brain_mri", 6), ("brain_tumor", 2), ("abdomen_ct", 1)):
        cases = find_cases(REAL / folder)
        assert len(cases) == count
        for case in cases:
            image = CHAIN(case)["image"]
            assert image.ndim == 4
            assert (torch.diag(image.affine)[:3] > 0).all()
            # a rotation keeps the spacings: none is shrunk by a wrong slice distance
            assert 0.5 < float(image.pixdim.min()) <= float(image.pixdim.max()) < 7
    assert len(find_cases(REAL / "hippocampus")) == 261
