"""The index of a cache folder, and preparation that several processes share."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import stat
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.data.cache import disk as disk_module
from tools.data.cache.dataset import CachedDataset
from tools.data.cache.disk import OnDisk
from tools.data.cache.index import NAME, CacheIndex
from tools.data.cases import find_cases
from tools.transforms.preprocessing import build_preprocessing
from tools.utils.errors import InputError, WriteError

COUNT = 6


@pytest.fixture
def cases(tmp_path):
    return write_cases(tmp_path / "data")


def write_cases(folder):
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        voxels = generator.normal(size=(12, 11, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), folder / f"c{number}.nii")
    return find_cases(folder)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def chain():
    return build_preprocessing((8, 8, 8), channels=1, spacing=2.0)


def prepare(cases, folder, **options):
    return CachedDataset(cases, chain(), "disk", folder, **options)


def records(folder):
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()[1:]]


def key(number):
    return f"{number:032x}"


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x["image"], y["image"]) for x, y in zip(a, b, strict=True))


def test_a_record_describes_its_case(cases, folder):
    dataset = prepare(cases, folder)
    found = {record["case"]: record for record in records(folder)}
    for case, hashes in zip(cases, dataset.hashes, strict=True):
        record, state = found[case["case"]], os.stat(case["image"])
        assert record["patient"] == case["patient"]
        assert record["sources"] == {"files": 1, "bytes": state.st_size, "time": state.st_mtime_ns}
        assert record["facts"]["hashes"] == hashes["hashes"]
        assert (folder / f"{record['key']}.pt").stat().st_size == record["file"][0]


def test_a_second_start_opens_no_file(cases, folder, monkeypatch):
    first = prepare(cases, folder)
    before = (folder / NAME).read_bytes()
    monkeypatch.setattr(disk_module, "load_tensors", None)
    again = prepare(cases, folder)
    assert again.hashes == first.hashes
    assert again.contents == first.contents
    assert (folder / NAME).read_bytes() == before


def append_many(path, start, count):
    index = CacheIndex(path)
    for number in range(start, start + count):
        index.append({"key": key(number), "text": "x" * (number % 3000)})


def test_two_processes_append_without_damage(tmp_path, capsys):
    context = multiprocessing.get_context(START)
    both = [context.Process(target=append_many, args=(tmp_path, start, 300)) for start in (0, 300)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    index = CacheIndex(tmp_path)
    index.refresh()
    assert all(len(index.get(key(number))["text"]) == number % 3000 for number in range(600))
    assert "damaged" not in capsys.readouterr().out


def cut_last(content):
    return content[:-20]


def cut_middle(content):
    lines = content.split(b"\n")
    return b"\n".join([*lines[:2], lines[2][:30], *lines[3:]])


def binary(content):
    lines = content.split(b"\n")
    return b"\n".join([*lines[:3], os.urandom(50).replace(b"\n", b""), *lines[3:]])


@pytest.mark.parametrize("damage", [cut_last, cut_middle, binary])
def test_a_damaged_line_costs_no_case(cases, folder, damage, capsys, monkeypatch):
    first = prepare(cases, folder)
    path = folder / NAME
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr(disk_module, "read_case", None)  # nothing is preprocessed again
    assert prepare(cases, folder).hashes == first.hashes
    assert "1 damaged line" in capsys.readouterr().out
    assert {case["case"] for case in cases} == {
        json.loads(line)["case"] for line in path.read_text(errors="ignore").splitlines()[1:] if line.endswith("}}")
    }


@pytest.mark.parametrize("header", ['{"index":999,"folder":"a"}', "case,file", "", '{"index":1}', "[1]"])
def test_an_index_of_another_version_is_written_again(cases, folder, header, capsys, monkeypatch):
    first = prepare(cases, folder)
    path = folder / NAME
    path.write_text("\n".join([header, *path.read_text().splitlines()[1:]]))
    monkeypatch.setattr(disk_module, "read_case", None)
    assert prepare(cases, folder).hashes == first.hashes
    (line,) = [line for line in capsys.readouterr().out.splitlines() if NAME in line]
    assert "expected an index of version 1" in line
    assert len(records(folder)) == COUNT


def test_an_index_without_its_files_is_no_cache(cases, folder):
    first = prepare(cases, folder)
    for path in folder.glob("*.pt"):
        path.unlink()
    assert equal(prepare(cases, folder), prepare(cases, folder))
    assert len(list(folder.glob("*.pt"))) == len(first) == COUNT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(cases, folder):
    prepare(cases[:3], folder)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(prepare(cases[:3], folder)) == 3
        with pytest.raises(WriteError, match="cache") as error:
            prepare(cases, folder, skip_bad=True)
    finally:
        folder.chmod(stat.S_IRWXU)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_no_fault_of_a_case(cases, folder, monkeypatch):
    def full(handle, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools.data.cache.index.os.write", full)
    with pytest.raises(WriteError, match=NAME) as error:
        prepare(cases, folder, skip_bad=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_cases_are_reported_as_they_occur_and_tried_again(cases, folder, capsys, workers):
    path = Path(cases[2]["image"])
    whole = path.read_bytes()
    path.write_bytes(whole[:400])
    os.unlink(cases[4]["image"])  # after it was found
    for _ in range(2):
        dataset = prepare(cases, folder, skip_bad=True, workers=workers)
        assert [case["case"] for case in dataset.data] == ["c0", "c1", "c3", "c5"]
        captured = capsys.readouterr()
        assert "preparing training: c4 cannot be used" in captured.err
        assert "bad=2" in captured.err
        assert "2 of 6 training cases are excluded" in captured.out
    errors = {record["case"]: record["error"] for record in records(folder) if "error" in record}
    assert errors.keys() == {"c2", "c4"}
    assert len(records(folder)) == COUNT
    path.write_bytes(whole)
    assert len(prepare(cases, folder, skip_bad=True, workers=workers)) == 5


@pytest.mark.parametrize("cache", ["memory", "disk", "device", "auto"])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(cases, folder, cache, workers):
    expected = CachedDataset(cases, chain())
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    dataset = CachedDataset(cases, chain(), cache, folder, workers=workers, device="cpu")
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    assert dataset.hashes == expected.hashes
    if cache == "device":
        assert all(torch.allclose(a["image"], b["image"], atol=2e-3) for a, b in zip(dataset, expected, strict=True))
    else:
        assert equal(dataset, expected)


def test_half_precision_takes_half_the_space_and_returns_the_original_type(cases, folder):
    whole = prepare(cases, folder)
    half = prepare(cases, folder, cache_dtype="float16")
    assert half.hashes == whole.hashes
    assert all(one["image"].dtype == torch.float32 for one in half)
    assert all(torch.equal(a["image"].half().float(), b["image"]) for a, b in zip(whole, half, strict=True))
    sizes = [sum((folder / name).stat().st_size for name in dataset._stored) for dataset in (whole, half)]
    assert sizes[1] < 0.75 * sizes[0]  # the rest is torch's header
    with pytest.raises(InputError, match="cache_dtype: expected one of float32, float16, found 'int8'"):
        prepare(cases, folder, cache_dtype="int8")


class Slow:
    """A transform that takes a moment."""

    def __call__(self, case):
        time.sleep(0.3)
        return chain()(case)

    def __getstate__(self):
        return {}


def prepare_slowly(cases, folder):
    CachedDataset(cases, Slow(), "disk", folder)


def test_killed_and_continued(cases, folder, capsys):
    process = multiprocessing.get_context(START).Process(target=prepare_slowly, args=(cases, folder))
    process.start()
    while len(list(folder.glob("*.pt"))) < 2:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.pt")}
    assert len(done) < COUNT
    prepare_slowly(cases, folder)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.pt")}
    assert after.items() >= done.items()
    assert len(after) == COUNT
    assert equal(CachedDataset(cases, Slow(), "disk", folder), CachedDataset(cases, chain()))


def rank(number, root, scenario):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{root}/store", rank=number, world_size=2)
    results = {name: outcome(root, number, *arguments) for name, arguments in scenario.items()}
    torch.save(results, root / f"{number}.pt")
    dist.destroy_process_group()


class Counted:
    """A transform that counts its cases in this process."""

    def __init__(self):
        self.transform, self.seen = chain(), []

    def __getstate__(self):
        return {"transform": self.transform}

    def __call__(self, case):
        self.seen.append(case["case"])
        return self.transform(case)


def outcome(root, number, cache, folder, bad):
    cases, counted = find_cases(root / "data"), Counted()
    if bad:
        cases[3]["image"] = str(root / "missing.nii")
    folder = root / folder.format(rank=number)
    try:
        dataset = CachedDataset(cases, counted, cache, folder, skip_bad=bad == "skip", device="cpu")
    except InputError as error:
        return str(error)
    return counted.seen, dataset.hashes, torch.stack([one["image"] for one in dataset])


def test_ranks_share_the_work_and_have_the_same_data(tmp_path):
    cases = write_cases(tmp_path / "data")
    scenario = {
        "disk": ("disk", "shared", ""),
        "again": ("disk", "shared", ""),
        "memory": ("memory", "for_memory", ""),
        "auto": ("auto", "for_auto", ""),
        "own": ("disk", "of_rank_{rank}", ""),
        "bad": ("disk", "with_bad", "stop"),
        "skip": ("disk", "with_bad", "skip"),
        "file": ("disk", "data/c0.nii", ""),
    }
    mp.start_processes(rank, (tmp_path, scenario), nprocs=2, start_method=START)
    results = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)]
    expected = CachedDataset(cases, chain())
    images = torch.stack([one["image"] for one in expected])
    names = [case["case"] for case in cases]
    for name in ("disk", "memory", "auto"):
        assert sorted(results[0][name][0] + results[1][name][0]) == names, name
        assert len(results[0][name][0]) == COUNT // 2
    for result in results:
        assert result["again"][0] == []
        assert result["own"][0] == names  # each has its own folder
        for name in ("disk", "again", "memory", "auto", "own"):
            assert result[name][1] == expected.hashes
            assert torch.equal(result[name][2], images)
        assert "1 of 6 training cases cannot be used" in result["bad"]
        assert torch.equal(result["skip"][2], images[[0, 1, 2, 4, 5]])
        assert "expected a folder" in result["file"]


def test_two_preparations_that_add_to_one_folder(cases, folder):
    prepare(cases[:4], folder)
    prepare(cases[2:], folder)
    assert sorted(record["case"] for record in records(folder)) == [case["case"] for case in cases]


def test_a_copied_folder_is_used(cases, folder, tmp_path, monkeypatch):
    first = prepare(cases, folder)
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)  # times differ
    monkeypatch.setattr(disk_module, "read_case", None)
    assert equal(prepare(cases, tmp_path / "copy"), first)


def test_a_lookup_does_not_list_the_folder(cases, folder, monkeypatch):
    prepare(cases, folder)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, lambda path=".": pytest.fail(f"{path} is listed"))
    disk = OnDisk(chain(), folder)
    assert all(disk.find(case) is not None for case in cases)
