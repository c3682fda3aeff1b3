import multiprocessing
import os
import sys
import threading

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCropd

from tools.data.cache.dataset import CachedDataset
from tools.data.cases import find_cases
from tools.data.loader import build_dataset
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.errors import InputError
from tools.utils.files import atomic_write

EDGES = (8, 8, 8)


@pytest.fixture
def cases(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for number in range(3):
        image = nib.Nifti1Image(random.normal(size=(12, 11, 10)).astype(np.float32), np.diag([2.0, 2, 2, 1]))
        nib.save(image, tmp_path / "data" / f"c{number}.nii")
    return find_cases(tmp_path / "data")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


class Counted:
    """A preprocessing that counts the cases it is given; the count is no part of its configuration."""

    def __init__(self, spacing=2.0):
        self.transform = build_preprocessing(EDGES, channels=1, spacing=spacing)
        self.cases = []

    def __getstate__(self):
        return {"transform": self.transform}

    def __call__(self, case):
        self.cases.append(case["case"])
        return self.transform(case)


def prepare(cases, folder, cache="disk", **options):
    """Names of the cases that were decoded, and the prepared ones."""
    counted = Counted(**options)
    dataset = CachedDataset(cases, counted, cache, folder)
    return sorted(counted.cases), dataset


@pytest.mark.parametrize("cache", ["memory", "disk", "device"])
def test_later_epochs_need_no_files(cases, folder, cache):
    counted = Counted()
    dataset = build_dataset(
        cases, counted, build_random_crop(EDGES), 0, cache, cache_dir=folder, device="cpu", prepare_workers=0
    )
    for case in cases:
        os.unlink(case["image"])
    epochs = [[dataset[index, draw]["image"] for index in range(3)] for draw in range(2)]
    assert all(crop.shape == (1, *EDGES) for crops in epochs for crop in crops)
    assert len(counted.cases) == 3


def touch_later(path):
    state = os.stat(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1000))


def lengthen(path):
    state = os.stat(path)
    with open(path, "ab") as file:
        file.write(b"\0")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # only the size differs


@pytest.mark.parametrize("change", [touch_later, lengthen])
def test_a_changed_file_alone_is_decoded_again(cases, folder, change):
    assert prepare(cases, folder)[0] == ["c0", "c1", "c2"]
    assert prepare(cases, folder)[0] == []
    change(cases[1]["image"])
    assert prepare(cases, folder)[0] == ["c1"]
    assert prepare(cases, folder)[0] == []


def test_a_file_that_changes_while_it_is_prepared_is_decoded_again(cases, folder):
    class Changing(Counted):
        changes = True

        def __call__(self, case):
            sample = super().__call__(case)
            if Changing.changes:
                touch_later(case["image"])
            return sample

    def run(changes):
        Changing.changes, counted = changes, Changing()
        CachedDataset(cases[:1], counted, "disk", folder)
        return len(counted.cases)

    assert [run(changes) for changes in (True, False, False)] == [1, 1, 0]


def test_another_preprocessing_decodes_all_and_the_first_is_still_there(cases, folder):
    first = prepare(cases, folder)[1]
    decoded, other = prepare(cases, folder, spacing=3.0)
    assert decoded == ["c0", "c1", "c2"]
    assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True))
    assert prepare(cases, folder)[0] == prepare(cases, folder, spacing=3.0)[0] == []


def cut_short(content):
    return content[: len(content) // 2]


def emptied(content):
    return b""


def overwritten(content):
    return os.urandom(64) + content[64:]


def replaced(content):
    return b"no tensors at all"


@pytest.mark.parametrize("damage", [cut_short, emptied, overwritten, replaced])
def test_a_damaged_file_is_made_anew(cases, folder, damage):
    whole = prepare(cases[:1], folder)[1][0]["image"].clone()
    (path,) = folder.glob("*.pt")
    path.write_bytes(damage(path.read_bytes()))
    decoded, again = prepare(cases[:1], folder)
    assert decoded == ["c0"]
    assert torch.equal(again[0]["image"], whole)
    assert prepare(cases[:1], folder)[0] == []


def test_a_file_of_something_else_is_made_anew(cases, folder):
    prepare(cases[:1], folder)
    (path,) = folder.glob("*.pt")
    for content in ({"sample": 1}, [1]):
        torch.save(content, path)
        assert prepare(cases[:1], folder)[0] == ["c0"]


class Together(Counted):
    """Prepares a case only when another run is about to prepare it too."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier

    def __call__(self, case):
        self.barrier.wait(timeout=20)
        return super().__call__(case)


def prepare_together(barrier, cases, folder):
    torch.set_num_threads(1)
    dataset = CachedDataset(cases, Together(barrier), "disk", folder, workers=0)
    return [dataset[index]["image"].clone() for index in range(len(cases))]


def in_threads(cases, folder):
    barrier, results = threading.Barrier(2), []
    both = [threading.Thread(target=lambda: results.append(prepare_together(barrier, cases, folder))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    return results


def in_processes(cases, folder):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)

    def work(number):
        torch.save(prepare_together(barrier, cases, folder), folder.parent / f"{number}.pt")

    both = [context.Process(target=work, args=(number,)) for number in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    return [torch.load(folder.parent / f"{number}.pt") for number in range(2)]


@pytest.mark.parametrize(
    "run",
    [in_threads, pytest.param(in_processes, marks=pytest.mark.skipif(sys.platform != "linux", reason="forks"))],
)
def test_two_runs_that_prepare_the_same_cases_at_once(cases, folder, run):
    expected = [sample["image"] for sample in CachedDataset(cases, Counted())]
    results = run(cases, folder)
    assert len(results) == 2
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, expected, strict=True))
    assert len(list(folder.iterdir())) == 4  # with the index; nothing partial is left
    assert prepare(cases, folder)[0] == ["c0", "c1", "c2"]  # `Together` is another transform than `Counted`


def resident(path):
    """Bytes of a mapped file that this process has touched, and that it has mapped, as the kernel counts them."""
    touched = mapped = 0
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if "-" in name:  # the head of a mapping
                inside = line.rstrip().endswith(str(path))
            elif inside and name in ("Rss", "Size"):
                count = 1024 * int(rest.split()[0])
                touched, mapped = touched + count * (name == "Rss"), mapped + count * (name == "Size")
    return touched, mapped


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs the kernel's count of pages")
def test_a_crop_touches_its_pages_only(tmp_path):
    volume = torch.ones(1, 128, 256, 256)
    dataset = CachedDataset([{"case": "a"}], lambda case: case | {"image": volume}, "disk", tmp_path)
    (path,) = tmp_path.glob("*.pt")
    crop = dataset.crop(0, CenterSpatialCropd("image", (16, 16, 16)))["image"]
    assert crop.sum() == 16**3
    touched, mapped = resident(path)
    assert mapped >= volume.numel() * 4
    assert touched < mapped / 8  # the kernel maps 16 neighbouring pages at a time
    assert dataset[0]["image"].sum() == volume.numel()
    assert resident(path)[0] > mapped * 0.9


@pytest.mark.parametrize("moment", ["before it is opened", "while it is mapped"])
def test_a_file_cut_short_during_the_run_is_one_line_and_no_bus_error(cases, folder, moment):
    _, dataset = prepare(cases, folder)
    first = folder / dataset._stored[0]
    if moment == "while it is mapped":
        dataset[0]
    os.truncate(first, 4096 if moment == "while it is mapped" else 100)
    with pytest.raises(InputError, match=first.name) as error:
        dataset[0]["image"].sum()
    assert "\n" not in str(error.value)
    assert dataset[1]["image"].isfinite().all()


def test_a_mapped_file_that_is_removed_stays_readable(cases, folder):
    _, dataset = prepare(cases, folder)
    whole = dataset[0]["image"].clone()
    (folder / dataset._stored[0]).unlink()
    assert torch.equal(dataset[0]["image"], whole)


FORGED = [
    ["sample", "facts"],
    {"sample": {}, "facts": {}, "dtypes": {}},
    {"sample": {"image": torch.ones(4)}, "facts": {}, "dtypes": {}},
    {"sample": {"image": "scan.nii"}, "facts": {}, "dtypes": {}},
    {"sample": {"image": torch.ones(1, 8, 8, 8), "label": {"a": 1}}, "facts": {}, "dtypes": {}},
    {"sample": {"image": torch.ones(1, 8, 8, 8)}, "facts": {"other": 1}, "dtypes": {}},
    {"network": {}, "optimizer": {}},
]


@pytest.mark.parametrize("content", FORGED)
def test_a_file_that_is_no_prepared_case_is_one_line_and_made_anew(cases, folder, content, capsys):
    _, dataset = prepare(cases[:1], folder)
    torch.save(content, folder / dataset._stored[0])
    assert prepare(cases[:1], folder)[0] == ["c0"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if dataset._stored[0] in line]
    assert "expected" in line


def test_a_tensor_larger_than_what_is_stored_of_it_is_made_anew(cases, folder):
    _, dataset = prepare(cases[:1], folder)
    huge = {"image": torch.ones(1).expand(1, 9999, 9999, 9999)}
    torch.save({"sample": huge, "facts": {}, "dtypes": {}}, folder / dataset._stored[0])
    assert prepare(cases[:1], folder)[0] == ["c0"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: done.append("rename") or replace(*names))
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("content")
    assert done == ["sync", "rename"]
