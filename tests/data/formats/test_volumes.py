import os
import socket

import nibabel as nib
import nrrd
import numpy as np
import pytest

from tools.data.formats.npz import array_names
from tools.data.formats.volumes import read_volume, source_files
from tools.data.readers.label_maps import is_label_map
from tools.utils.errors import InputError

VOXELS = np.random.default_rng(4).integers(0, 900, (6, 5, 4)).astype(np.int16)
DIRECTIONS = {"space": "left-posterior-superior", "space directions": np.diag([2.0, 3, 4]), "space origin": [1, 2, 3]}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".npz"])
@pytest.mark.parametrize("kind", ["broken link", "pipe", "socket", "folder", "nothing", "loop"])
def test_what_is_no_regular_file_gives_one_line(tmp_path, suffix, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"scan{suffix}"
    if kind == "broken link":
        os.symlink(".git/annex/objects/ab", name)
    elif kind == "pipe":
        os.mkfifo(name)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(name)
    elif kind == "folder":
        os.mkdir(name)
    elif kind == "loop":
        os.symlink(name, name)
    with pytest.raises(InputError) as error:
        (array_names if suffix == ".npz" else read_volume)(name)
    assert str(error.value).startswith(f"{name}: expected ")  # a folder with any name may be a DICOM series
    assert "\n" not in str(error.value)


def affine_of(path):
    return read_volume(path).affine.numpy()


@pytest.mark.parametrize("kinds", [None, ["domain"] * 3, ["space"] * 3])
def test_nrrd_with_spacings_is_placed_as_by_itk(tmp_path, kinds):
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS, {"spacings": [2.0, 3, 4]} | ({"kinds": kinds} if kinds else {}))
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume[0], VOXELS)
    np.testing.assert_allclose(volume.affine, np.diag([-2, -3, 4, 1]))


@pytest.mark.parametrize("form", ["first", "last", "spacings"])
def test_nrrd_with_a_channel_axis(tmp_path, form):
    channels = np.stack([VOXELS, VOXELS + 1000], axis=-1 if form == "last" else 0)
    none, space = [np.nan] * 3, DIRECTIONS["space directions"]
    header = DIRECTIONS | {"space directions": np.vstack([space, none] if form == "last" else [none, space])}
    if form == "spacings":
        header = {"spacings": [np.nan, 2, 3, 4], "kinds": ["vector", *["domain"] * 3]}
    nrrd.write(str(tmp_path / "a.nrrd"), channels, header)
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume, np.stack([VOXELS, VOXELS + 1000]))
    assert volume.pixdim.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"spacings": [2.0, 3, np.nan]},
        {"spacings": [2.0, 3, 4], "kinds": ["domain", "domain", "time"]},
        DIRECTIONS | {"space directions": np.diag([2.0, 3, 0])},
    ],
)
def test_nrrd_without_three_axes_in_space_is_refused(tmp_path, header):
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS, header)
    with pytest.raises(InputError, match=r"a\.nrrd: expected"):
        read_volume(tmp_path / "a.nrrd")


def detached(folder, name):
    """A detached NRRD header with the data file `name`, and such a MetaImage header."""
    folder.mkdir(exist_ok=True)
    nrrd.write(str(folder / "a.nhdr"), VOXELS, DIRECTIONS, detached_header=True)
    text = (folder / "a.nhdr").read_text()
    written = text.partition("data file: ")[2].split("\n")[0]
    (folder / "a.nhdr").write_text(text.replace(f"data file: {written}", f"data file: {name}").replace("raw.gz", "raw"))
    (folder / written).rename(folder / "voxels")
    (folder / "a.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementDataFile {'=:'[len(name) % 2]} {name}\n"
    )
    return folder


@pytest.mark.parametrize("header", ["a.nhdr", "a.mhd"])
@pytest.mark.parametrize(
    "name", ["../voxels", "/etc/hostname", "down/../../voxels", "..", "LIST", "slice%03d.raw 1 4 1", "absent", "pipe"]
)
def test_detached_headers_read_one_file_in_their_folder(tmp_path, header, name):
    folder = detached(tmp_path / "in", name)
    (tmp_path / "voxels").write_bytes((folder / "voxels").read_bytes())
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match=header) as error:
        read_volume(folder / header)
    assert "\n" not in str(error.value)
    assert not is_label_map(folder / header)


def test_data_files_in_the_folder_or_below_are_read_and_may_be_links(tmp_path):
    folder = detached(tmp_path / "in", "below/voxels")
    (folder / "below").mkdir()
    (folder / "voxels").rename(tmp_path / "object")
    (folder / "below" / "voxels").symlink_to(tmp_path / "object")
    np.testing.assert_array_equal(read_volume(folder / "a.nhdr")[0], VOXELS)
    for name in ("a.nhdr", "a.mhd"):
        assert source_files(folder / name) == [folder / name, folder / "below" / "voxels"]


@pytest.mark.parametrize(("dtype", "word"), [(np.complex64, "complex"), ([(c, "u1") for c in "RGB"], "colour")])
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path, dtype, word):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=rf"a\.nii\.gz: expected.*real numbers.*{word}"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "raw.nrrd", "gzip.nrrd"])
def test_truncated_files_are_refused(tmp_path, name):
    path, voxels = tmp_path / name, np.random.default_rng(5).integers(0, 900, (40, 40, 40)).astype(np.int16)
    if name.endswith("nrrd"):
        nrrd.write(str(path), voxels, DIRECTIONS | {"encoding": path.stem})
    else:
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    assert read_volume(path).shape == (1, 40, 40, 40)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=name) as error:
        read_volume(path)
    assert "\n" not in str(error.value)
