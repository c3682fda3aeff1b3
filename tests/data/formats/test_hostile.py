"""Files that declare more than they hold, or hold more than they declare, are refused before they are read."""

import bz2
import gzip
import os
import struct
import tracemalloc
import zipfile
import zlib

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from tools.data.formats.dicom_series import find_series
from tools.data.formats.images import open_image
from tools.data.formats.npz import read_array
from tools.data.formats.volumes import read_volume
from tools.data.readers.label_maps import is_label_map
from tools.transforms.image2d import LoadImage2Dd
from tools.transforms.preprocessing import build_preprocessing
from tools.utils.errors import InputError, find_input_error

VOXELS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
HUGE = "40000 40000 40000"


RAW = VOXELS.tobytes(order="F")


def nrrd_text(*lines, sizes="6 5 4", encoding="raw"):
    head = ["NRRD0004", "type: short", "dimension: 3", f"sizes: {sizes}", f"encoding: {encoding}", "endian: little"]
    return "\n".join([*head, "spacings: 1 1 1", *lines]).encode() + b"\n"


def metaimage_text(*lines, size="6 5 4", data="LOCAL"):
    head = ["ObjectType = Image", "NDims = 3", f"DimSize = {size}", "ElementType = MET_SHORT", *lines]
    return "\n".join([*head, f"ElementDataFile = {data}"]).encode() + b"\n"


def nifti_bytes(shape=(6, 5, 4), offset=None):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(VOXELS.shape)
    header["dim"][1:4], header["magic"], header["sform_code"] = shape, b"n+1", 1
    header["vox_offset"] = 352 if offset is None else offset
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
    return header.binaryblock + bytes(4) + RAW


#: file name, content and what the message names
HOSTILE = {
    "skipped lines": ("a.nhdr", nrrd_text("line skip: 1000000000000", "data file: raw"), "line skip"),
    "skipped bytes": ("a.nhdr", nrrd_text("byte skip: 99999999999", "data file: raw"), "byte skip"),
    "negative skip": ("a.nrrd", nrrd_text("byte skip: -7") + b"\n" + RAW, "byte skip"),
    "two data files": ("a.nhdr", nrrd_text("data file: raw", "datafile: /dev/zero"), "data file"),
    "data file a device": ("a.nhdr", nrrd_text("data file: zero"), "a device"),
    "huge raw": ("a.nrrd", nrrd_text(sizes=HUGE) + b"\n" + RAW, "damaged"),
    "huge text": ("a.nrrd", nrrd_text(sizes=HUGE, encoding="ascii") + b"\n1 2 3", "damaged"),
    "huge bzip2": ("a.nrrd", nrrd_text(sizes=HUGE, encoding="bz2") + b"\n" + bz2.compress(RAW), "max_voxels"),
    "no size": ("a.nrrd", nrrd_text(sizes="0 5 4") + b"\n" + RAW, "at least one voxel"),
    "negative size": ("a.nrrd", nrrd_text(sizes="-6 -5 4") + b"\n" + RAW, "at least one voxel"),
    "MHD of a device": ("a.mhd", metaimage_text(data="zero"), "a device"),
    "MHA, huge": ("a.mha", metaimage_text(size=HUGE) + RAW, "damaged"),
    "MHA, skipped": ("a.mha", metaimage_text("HeaderSize = 99999999") + RAW, "HeaderSize"),
    "MHA, channels": ("a.mha", metaimage_text("ElementNumberOfChannels = 99999999") + RAW, "damaged"),
    "MHA, no numbers": ("a.mha", metaimage_text(size="six 5 4") + RAW, "DimSize"),
    "MHA, huge compressed": ("a.mha", metaimage_text("CompressedData = True", size=HUGE) + RAW, "damaged"),
    "NIfTI, huge": ("a.nii", nifti_bytes((30000, 30000, 30000)), "damaged"),
    "NIfTI, negative": ("a.nii", nifti_bytes((-6, 5, 4)), "expected"),
    "NIfTI, far": ("a.nii", nifti_bytes(offset=3e9), "vox_offset"),
    "NIfTI, far and compressed": ("a.nii.gz", gzip.compress(nifti_bytes(offset=1e8)), "vox_offset"),
    "NIfTI, huge compressed": ("a.nii.gz", gzip.compress(nifti_bytes((30000, 30000, 30000))), "damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_one_line_and_costs_nothing(tmp_path, kind):
    name, content, word = HOSTILE[kind]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "raw").write_bytes(RAW)
    (tmp_path / "zero").symlink_to("/dev/zero")
    tracemalloc.start()
    with pytest.raises(InputError, match=word) as error:
        read_volume(tmp_path / name)
    assert not is_label_map(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
@pytest.mark.parametrize("skip", [0, 6])
def test_no_more_is_decompressed_than_the_header_declares(tmp_path, encoding, skip):
    packed = {"gzip": gzip.compress, "bzip2": bz2.compress}[encoding](bytes(skip) + RAW + bytes(2**24))
    (tmp_path / "a.nrrd").write_bytes(nrrd_text(f"byte skip: {skip}", encoding=encoding) + b"\n" + packed)
    tracemalloc.start()
    volume = read_volume(tmp_path / "a.nrrd")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    np.testing.assert_array_equal(volume[0], VOXELS)


def write_volume(folder, suffix):
    path = folder / f"a{suffix}"
    if suffix.startswith(".nii"):
        nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), path)
    elif suffix == ".mha":
        pytest.importorskip("itk")
        path.write_bytes(metaimage_text() + RAW)
    else:
        nrrd.write(str(path), VOXELS, {"spacings": [1.0, 1, 1]}, detached_header=suffix == ".nhdr")
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha"])
def test_max_voxels_is_the_number_of_voxels_that_are_read(tmp_path, suffix):
    path = write_volume(tmp_path, suffix)
    assert read_volume(path, max_voxels=120).numel() == 120
    with pytest.raises(InputError, match=r"at most 119 voxels \(max_voxels\), found 6 x 5 x 4"):
        read_volume(path, max_voxels=119)


def test_max_voxels_of_images_counts_channels(tmp_path):
    Image.new("RGB", (8, 5)).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png", 120):
        pass
    with pytest.raises(InputError, match=r"max_voxels\), found 8 x 5 x 3"), open_image(tmp_path / "a.png", 119):
        pass


def test_max_voxels_alone_limits_large_images(tmp_path):
    path, edge = tmp_path / "slide.png", 40_000  # more pixels than Pillow allows
    Image.new("L", (1, 1)).save(path)
    header = b"IHDR" + struct.pack(">II5B", edge, edge, 8, 0, 0, 0, 0)
    content = path.read_bytes()
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(InputError) as error, open_image(path):
        pass
    assert str(error.value).startswith(
        f"{path}: expected at most {2**29} voxels (max_voxels), found {edge} x {edge} x 1"
    )
    with open_image(path, edge**2) as image:
        assert image.size == (edge, edge)
    with pytest.raises(InputError, match="max_voxels"):
        LoadImage2Dd()({"image": str(path)})


def test_an_array_is_no_larger_than_it_is_stored(tmp_path):
    head = str({"descr": "<f4", "fortran_order": False, "shape": (40000, 40000, 40000)}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("voxel.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + RAW)
    with pytest.raises(InputError, match="damaged"):
        read_array(tmp_path / "a.npz", "voxel")
    np.savez_compressed(tmp_path / "b.npz", voxel=VOXELS)
    with pytest.raises(InputError, match="max_voxels"):
        read_array(tmp_path / "b.npz", "voxel", 119)
    np.testing.assert_array_equal(read_array(tmp_path / "b.npz", "voxel", 120), VOXELS)


def write_slice(path, position, size=8, padding=0):
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = CTImageStorage, f"1.2.{position + 1}", "1.2.9"
    one.Modality, one.Rows, one.Columns, one.PixelSpacing = "CT", size, size, [1, 1]
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, position]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit = 15
    one.PixelData = np.full((size, size), position, np.uint16).tobytes()
    if padding:
        one.add_new(0x00091001, "OB", bytes(padding))
    one.save_as(path, enforce_file_format=True)


def test_deflated_slices_are_bounded(tmp_path):
    for position in range(4):
        write_slice(tmp_path / f"{position}.dcm", position, padding=2**21 if position == 3 else 0)
    files = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="max_voxels"):
        read_volume(files, max_voxels=2**18)
    with pytest.raises(InputError, match=r"max_voxels\), found 8 x 8 x 3"):
        read_volume(files[:3], max_voxels=100)
    assert read_volume(files[:3], max_voxels=192).shape == (1, 8, 8, 3)
    assert len(find_series(files)[0][0].files) == 4


def test_links_inside_the_folder_may_lead_elsewhere(tmp_path):
    (tmp_path / "store").write_bytes(RAW)
    (tmp_path / "in").mkdir()
    os.symlink("../store", tmp_path / "in" / "raw")
    (tmp_path / "in/a.nhdr").write_bytes(nrrd_text("data file: raw"))
    np.testing.assert_array_equal(read_volume(tmp_path / "in/a.nhdr")[0], VOXELS)


def test_the_size_after_resampling_is_limited(tmp_path):
    """A small file with large voxels; nothing is allocated."""
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((64, 64, 64), np.uint8), np.diag([25.0, 25, 25, 1])), path)
    with pytest.raises(RuntimeError) as wrapped:
        build_preprocessing((8, 8, 8), 1, spacing=1.0)({"image": str(path), "case": "a"})
    message = str(find_input_error(wrapped.value))
    assert "a.nii.gz: expected at most " in message
    assert "max_voxels), found 1600 x 1600 x 1600 x 1;" in message
    assert "--spacing" in message
    few = build_preprocessing((8, 8, 8), 1, spacing=25.0, max_voxels=64**3)
    assert few({"image": str(path), "case": "a"})["image"].numel() <= 64**3
