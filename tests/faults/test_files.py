"""Damaged files of every format are read, or refused with one line."""

import random

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from PIL import Image

from tools.data.formats.npz import read_array
from tools.data.formats.volumes import read_volume
from tools.data.readers.label_maps import is_label_map
from tools.networks.encoders import build_encoder
from tools.training.restore import read_checkpoint
from tools.transfer.load import load_encoder
from tools.transforms.image2d import read_colour
from tools.utils.errors import InputError

VOXELS = np.random.default_rng(0).integers(0, 900, (7, 6, 5)).astype(np.int16)
SPACE = {"spacings": [1.0, 2, 3]}


def save_metaimage(path):
    head = "ObjectType = Image\nNDims = 3\nDimSize = 7 6 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + VOXELS.tobytes(order="F"))


def save_checkpoint(path):
    progress = {"epoch": 1, "step": 3, "best_metric": 0.5, "best_metric_epoch": 1}
    content = {"network": {"a": torch.ones(3)}, "optimizer": {"state": {}, "param_groups": []}, "loss_function": {}}
    torch.save(content | {"settings": {"seed": 0}, "cases": ["a"], "progress": progress}, path)


def load_weights(path):
    load_encoder(build_encoder("unet", spatial_dims=2, in_channels=1), path)


FORMATS = {
    "a.nii": (lambda path: nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), path), read_volume),
    "a.nii.gz": (lambda path: nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), path), read_volume),
    "raw.nrrd": (lambda path: nrrd.write(str(path), VOXELS, {**SPACE, "encoding": "raw"}), read_volume),
    "gzip.nrrd": (lambda path: nrrd.write(str(path), VOXELS, {**SPACE, "encoding": "gzip"}), read_volume),
    "a.mha": (save_metaimage, read_volume),
    "a.png": (lambda path: Image.fromarray(VOXELS[0].astype(np.uint8)).save(path), read_colour),
    "a.jpg": (lambda path: Image.fromarray(VOXELS[0].astype(np.uint8)).save(path), read_colour),
    "a.tif": (lambda path: Image.fromarray(VOXELS[0].astype(np.uint8)).save(path), read_colour),
    "a.bmp": (lambda path: Image.fromarray(VOXELS[0].astype(np.uint8)).save(path), read_colour),
    "a.npz": (lambda path: np.savez_compressed(path, voxel=VOXELS), lambda path: read_array(path, "voxel")),
    "model.pt": (lambda path: torch.save(build_encoder("unet", spatial_dims=2, in_channels=1).state_dict(), path),
                 load_weights),
    "checkpoint.pt": (save_checkpoint, read_checkpoint),
}  # fmt: skip


def message(read, path):
    """Message of the `InputError` of a reader, None if it can read the file."""
    try:
        read(path)
    except InputError as error:
        return str(error)


def damage(content, generator):
    """A copy with some bytes of the beginning or the end changed, cut off, doubled or put in."""
    content, edge = bytearray(content), 400
    for _ in range(generator.randint(1, 6)):
        at = generator.choice([generator.randrange(min(edge, len(content))), generator.randrange(len(content))])
        way = generator.randrange(5)
        if way == 0:
            content[at] = generator.randrange(256)
        elif way == 1:
            content[at : at + 4] = generator.choice([b"\xff" * 4, b"\0" * 4, b"9999", b"\x7f\xff\xff\xff"])
        elif way == 2:
            del content[at : at + generator.randint(1, 50)]
        elif way == 3:
            content[at:at] = content[at : at + 20]
        else:
            del content[max(at, 1) :]
        if not content:
            return b""
    return bytes(content)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_with_one_line(tmp_path, fault, name):
    save, read = FORMATS[name]
    save(tmp_path / name)
    content, generator = (tmp_path / name).read_bytes(), random.Random(name)
    for _ in range(40):
        (tmp_path / name).write_bytes(damage(content, generator))
        with fault():
            said = message(read, tmp_path / name)
            assert said is None or (name in said and "\n" not in said)
            if read is read_volume:
                is_label_map(tmp_path / name)
