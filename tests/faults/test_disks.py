"""A full disk and exhausted memory in every writer and cache: one line, earlier files are unchanged."""

import errno
import os

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from tools.data.cache.dataset import CachedDataset
from tools.data.formats.nifti import write_labels
from tools.transfer.export import export_weights
from tools.utils import figures, files
from tools.utils.errors import InputError, find_input_error

WRITERS = {
    "table": ("a.csv", lambda path: files.write_table(path, [{"a": 1}])),
    "JSON": ("a.json", lambda path: files.write_json(path, {"a": 1})),
    "figure": ("a.png", lambda path: figures.save(Figure(), path)),
    "weights": ("model.pt", lambda path: export_weights(nn.Linear(2, 2), path, {"encoder": {"name": "x"}})),
    "label map": ("a.nii.gz", lambda path: write_labels(path, np.zeros((2, 2, 2), np.uint8), np.eye(4), "a.nrrd")),
}
ERRORS = {
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "broken disk": OSError(errno.EIO, "Input/output error"),
    "memory": MemoryError(),
}
MOMENTS = {"opened": (files.tempfile, "mkstemp"), "synchronised": (os, "fsync"), "renamed": (os, "replace")}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_fails_keeps_the_earlier_file(tmp_path, monkeypatch, fault, writer, error, moment):
    name, write = WRITERS[writer]
    write(tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **options):
        raise ERRORS[error]

    with fault():
        with monkeypatch.context() as patched:
            patched.setattr(*MOMENTS[moment], fail)
            with pytest.raises((InputError, MemoryError)) as raised:
                write(tmp_path / name)
        if error != "memory":
            assert "\n" not in str(raised.value)
            assert name.split(".")[0] in str(raised.value)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def transform(case):
    return {"case": case["case"], "image": torch.ones(1, 4, 4, 4)}


def exhausted(case):
    raise MemoryError


@pytest.mark.parametrize("cache", ["memory", "disk", "device", "auto"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_cache_that_has_no_memory_stops_with_one_line(tmp_path, fault, cache, skip_bad):
    with fault(), pytest.raises(InputError, match="memory"):
        CachedDataset([{"case": "a"}], exhausted, cache, tmp_path, skip_bad, device=torch.device("cpu"))


@pytest.mark.parametrize("error", ["full disk", "quota", "broken disk"])
def test_a_disk_cache_that_is_full_stops_with_one_line(tmp_path, monkeypatch, fault, error):
    def fail(*args, **options):
        raise ERRORS[error]

    monkeypatch.setattr(torch, "save", fail)
    with fault():
        with pytest.raises(InputError) as raised:
            CachedDataset([{"case": "a"}], transform, "disk", tmp_path)
        assert "\n" not in str(find_input_error(raised.value))
        assert not list(tmp_path.iterdir())
