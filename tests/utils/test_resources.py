"""Exhausted memory or disk space stops a run; only read errors are assigned to a case."""

import errno
import os
from collections import namedtuple

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from tools.data.cache.dataset import CachedDataset
from tools.data.lazy import LazyDataset
from tools.training.dry_run import perform_dry_run
from tools.transforms.hashes import HashVoxelsd, hash_cases
from tools.transforms.volume import LoadVolumed
from tools.utils.errors import InputError, WriteError, find_input_error
from tools.utils.resources import ResourceError, find_shortage

CASES = [{"case": f"c{number}", "image": "a"} for number in range(12)]


def os_error(number):
    return OSError(number, os.strerror(number))


ALLOCATION = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: {}: you tried to allocate 8 bytes."
SHORTAGES = {
    "memory": (MemoryError(), "memory"),
    "memory of torch": (RuntimeError(ALLOCATION.format("can't allocate memory")), "memory"),
    "memory of torch elsewhere": (RuntimeError(ALLOCATION.format("not enough memory")), "memory"),
    "memory of the system": (os_error(errno.ENOMEM), "memory"),
    "GPU": (torch.cuda.OutOfMemoryError("CUDA out of memory."), "GPU"),
    "GPU, of a library": (RuntimeError("CUDA error: out of memory"), "GPU"),
    "disk": (os_error(errno.ENOSPC), "disk is full"),
    "shared memory": (RuntimeError("unable to write to file: No space left on device (28)"), "disk is full"),
    "quota": (os_error(errno.EDQUOT), "quota"),
    "files": (os_error(errno.EMFILE), "open"),
    "network disk": (os_error(errno.ESTALE), "network"),
}
OF_A_CASE = [os_error(errno.EIO), os_error(errno.EACCES), os_error(errno.ENOENT), RuntimeError("bad"), EOFError()]


def plain(error):
    raise error


def as_bad_file(error):
    """Like the readers."""
    try:
        raise error
    except Exception as caught:
        raise InputError("a: expected a readable volume") from caught


def failing(error, raising=plain):
    def transform(case):
        if case["case"] == "c5":
            raising(error)
        return {**case, "image": torch.zeros(1, 4, 4, 4), "hashes": []}

    return transform


def stop(prepare, error, raising=plain, **options):
    with pytest.raises(ResourceError) as raised:
        prepare(failing(error, raising), **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def prepared(transform, **options):
    return CachedDataset(CASES, transform, **options)


def hashed(transform, **options):
    return hash_cases(CASES, Compose([transform, HashVoxelsd()]), **options)


def streamed(transform, **options):
    dataset = LazyDataset(CASES, transform, **options)
    return [dataset[index] for index in range(len(CASES))]


def inspected(transform, **options):
    perform_dry_run({"training": CASES}, Compose([transform]), None, None, None, {}, 1, 1, **options)


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("raising", [plain, as_bad_file])
@pytest.mark.parametrize("kind", SHORTAGES)
def test_a_shortage_stops_the_run(kind, raising, skip_bad):
    error, word = SHORTAGES[kind]
    found = stop(prepared, error, raising, skip_bad=skip_bad)
    assert word in found
    assert "c5" in found


@pytest.mark.parametrize("prepare", [prepared, hashed, streamed, inspected])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_wherever_cases_are_read(prepare, skip_bad):
    assert "memory" in stop(prepare, MemoryError(), skip_bad=skip_bad)


@pytest.mark.parametrize("options", [{"cache": "auto"}, {"cache": "disk"}])
def test_with_every_cache(tmp_path, options):
    stop(prepared, MemoryError(), cache_dir=tmp_path, skip_bad=True, **options)


@pytest.mark.parametrize("error", OF_A_CASE)
def test_an_error_of_reading_belongs_to_the_case(error):
    assert find_shortage(error) is None
    assert [case["case"] for case in prepared(failing(error), skip_bad=True).data if case["case"] == "c5"] == []
    with pytest.raises(InputError, match="1 of 12 training cases") as raised:
        prepared(failing(error, as_bad_file))
    assert not isinstance(raised.value, ResourceError)


@pytest.mark.parametrize("cache", ["memory", "auto"])
def test_an_interrupt_ends_the_run(tmp_path, cache):
    with pytest.raises(KeyboardInterrupt):
        prepared(failing(KeyboardInterrupt()), cache=cache, cache_dir=tmp_path, skip_bad=True)


def test_a_cache_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(WriteError) as raised:
            prepared(failing(None, lambda _: None), cache="disk", cache_dir=folder, skip_bad=True)
        assert str(folder) in str(raised.value)


@pytest.mark.parametrize("error", [os_error(errno.EACCES), os_error(errno.EIO), os_error(errno.EROFS)])
def test_an_error_of_writing_the_cache_is_no_error_of_a_case(tmp_path, monkeypatch, error):
    monkeypatch.setattr(torch, "save", lambda *_: plain(error))
    with pytest.raises(WriteError, match=str(tmp_path)):
        prepared(failing(None, lambda _: None), cache="disk", cache_dir=tmp_path, skip_bad=True)


def test_a_full_disk_that_torch_does_not_name(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100, 100, 0))
    monkeypatch.setattr(torch, "save", lambda *_: plain(RuntimeError("PytorchStreamWriter failed writing file")))
    with pytest.raises(ResourceError, match=r"cache_dir.*disk is full"):
        prepared(failing(None, lambda _: None), cache="disk", cache_dir=tmp_path, skip_bad=True)


def test_a_header_of_an_impossible_size_is_an_error_of_its_case(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    content = bytearray(image.to_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()  # dim[1:4]
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(RuntimeError) as raised:  # MONAI's, around it
        Compose([LoadVolumed()])({"image": str(tmp_path / "a.nii")})
    assert "30000" in str(find_input_error(raised.value))
    assert find_shortage(raised.value) is None
