import pytest
import torch

from tools.data.cache import disk as keeping
from tools.data.cache import policy as choice
from tools.data.cache.dataset import CachedDataset
from tools.data.cache.policy import choose_cache, free_device_memory, free_memory
from tools.data.lazy import LazyDataset
from tools.data.loader import build_case_dataset, build_dataset
from tools.utils.errors import InputError

GIB = 2**30
SAMPLE = {"case": "a", "image": torch.empty(1, 256, 256, 256), "boxes": [torch.zeros(2, 4)]}  # 64 MB
GPU = torch.device("cuda", 0)


@pytest.fixture
def machine(monkeypatch):
    """Pretend a machine of one size."""

    def pretend(memory, on_device=None):
        monkeypatch.setattr(choice, "free_memory", lambda: memory)
        monkeypatch.setattr(choice, "free_device_memory", lambda device: on_device)

    return pretend


@pytest.mark.parametrize(
    ("count", "memory", "on_device", "expected"),
    [
        (100, 64 * GIB, None, "memory"),
        (100, 64 * GIB, 80 * GIB, "device"),
        (2000, 64 * GIB, 80 * GIB, "disk"),
        (2000, 512 * GIB, 80 * GIB, "memory"),
        (2000, 512 * GIB, 200 * GIB, "device"),
        (600, 64 * GIB, None, "disk"),
        (1, 0, None, "disk"),
    ],
)
def test_the_fastest_that_has_room(machine, count, memory, on_device, expected):
    machine(memory, on_device)
    found = choose_cache([SAMPLE], count, GPU)
    assert found.cache == expected
    assert f"{count} cases" in found.reason


def test_without_a_folder_nothing_goes_to_disk(machine):
    machine(0)
    assert choose_cache([SAMPLE], 1, has_folder=False).cache == "memory"


def test_the_size_is_the_mean_of_those_measured(machine):
    small = {"image": torch.empty(1, 1, 1, 1)}
    machine(8 * GIB)
    assert choose_cache([SAMPLE], 100).cache == "disk"
    assert choose_cache([SAMPLE, small], 100).cache == "memory"


def test_memory_is_divided_by_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setattr(choice, "_available", lambda: 8 * GIB)
    monkeypatch.setattr(choice, "_allowed", lambda: 6 * GIB)
    assert free_memory() == 6 * GIB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory() == 1.5 * GIB
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GIB, 12 * GIB))
    assert free_device_memory(GPU) == 5 * GIB
    assert free_device_memory(torch.device("cpu")) is free_device_memory(None) is None


def test_this_machine_has_memory():
    assert free_memory() > 2**20


CASES = [{"case": str(number), "image": f"{number}.nii"} for number in range(20)]


class Counting:
    """A preprocessing that notes the cases it is given; the notes are no part of its configuration."""

    def __init__(self):
        self.seen = []

    def __getstate__(self):
        return {}

    def __call__(self, case):
        self.seen.append(case["case"])
        return case | {"image": torch.full((1, 4, 4, 4), float(case["case"])), "hashes": ["x"]}


@pytest.mark.parametrize(("memory", "cache"), [(GIB, "memory"), (0, "disk")])
def test_chosen_caches_decode_each_case_once(machine, tmp_path, capsys, memory, cache):
    machine(memory)
    transform = Counting()
    dataset = CachedDataset(CASES, transform, "auto", tmp_path, desc="validation", device="cpu")
    message = capsys.readouterr().out.splitlines()
    assert len([line for line in message if line.startswith(f"cache {cache} for validation: 20 cases")]) == 1
    assert sorted(transform.seen) == sorted(case["case"] for case in CASES)
    assert [int(sample["image"].mean()) for sample in dataset] == list(range(20))
    assert len(list(tmp_path.glob("*.pt"))) == (20 if cache == "disk" else 0)
    transform.seen.clear()
    CachedDataset(CASES, transform, "auto", tmp_path)
    assert len(transform.seen) == (0 if cache == "disk" else 20)


@pytest.mark.parametrize(
    ("memory", "on_device", "cache"), [(0, None, "disk"), (GIB, None, "memory"), (0, GIB, "device")]
)
def test_what_an_earlier_run_left_on_disk_is_read_once(machine, monkeypatch, tmp_path, memory, on_device, cache):
    transform = Counting()
    CachedDataset(CASES, transform, "disk", tmp_path)
    transform.seen.clear()
    read = []
    load = keeping.load_tensors
    monkeypatch.setattr(
        keeping,
        "load_tensors",
        lambda path, *words, mapped: read.append((path, mapped)) or load(path, *words, mapped=mapped),
    )
    machine(memory, on_device)
    dataset = CachedDataset(CASES, transform, "auto", tmp_path, device="cpu")
    assert len(read) == len(set(read))
    assert len({path for path, _ in read}) == (7 if cache == "disk" else len(CASES))  # the index has the facts of all
    assert transform.seen == []
    assert [one["hashes"] for one in dataset.hashes] == [["x"]] * 20
    for path in tmp_path.glob("*.pt") if cache != "disk" else ():  # what is kept elsewhere needs no file
        with path.open("r+b") as file:  # not shorter, which would end a process that had mapped it
            file.write(bytes(path.stat().st_size))
    assert [int(sample["image"].mean()) for sample in dataset] == list(range(20))


def test_bad_cases_do_not_hinder_the_choice(capsys):
    def transform(case):
        if int(case["case"]) % 2 == 0:
            raise InputError(f"{case['image']}: bad")
        return case

    assert len(CachedDataset(CASES, transform, "auto", skip_bad=True)) == 10
    assert "cache memory" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 of 1 training cases"):
        CachedDataset(CASES[:1], transform, "auto")


@pytest.mark.parametrize("cache", ["moon", "", "Disk"])
def test_other_caches_are_refused_in_one_line(cache):
    with pytest.raises(
        InputError, match="cache: expected one of auto, disk, memory, device, lazy, none, found"
    ) as error:
        build_dataset(CASES, lambda case: case, None, 0, cache)
    assert repr(cache) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_device_cache_requires_a_device():
    with pytest.raises(InputError, match="device: expected"):
        build_case_dataset(CASES, lambda case: case, "device")


def test_none_prepares_anew_and_leaves_no_hashes():
    transform = Counting()
    dataset = build_case_dataset(CASES[:2], transform, "none")
    assert isinstance(dataset, LazyDataset)
    for _ in range(2):
        assert dataset[1].keys() == {"case", "image"}
    assert transform.seen == ["1", "1"]
