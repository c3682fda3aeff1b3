"""Processes that see different data are refused before the first step."""

import copy
import json

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from processes import START

from tools.data.cases import find_cases, find_labelled_cases
from tools.data.loader import build_case_dataset, build_lazy_dataset
from tools.segmentation.transforms import build_segmentation_preprocessing
from tools.transforms.preprocessing import build_preprocessing
from tools.utils.errors import InputError

AFFINE = np.diag([2.0, 2, 2, 1])


def write(path, seed, low=-100):
    voxels = np.random.default_rng(seed).integers(low, 100, (12, 12, 12)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)


def same(folder):
    pass


def missing(folder):
    (folder / "c2.nii").unlink()


def extra(folder):
    write(folder / "d.nii", 9)


def other(folder):
    write(folder / "c2.nii", 9)


def damaged(folder):
    (folder / "c2.nii").write_text("no image")


#: what rank 1 sees, how cases are read, and the words of the error on every rank
SCENARIOS = {
    "same": (same, {}, None),
    "same, streamed": (same, {"cache": "none"}, None),
    "missing": (missing, {}, "c2 (missing there)"),
    "missing, streamed": (missing, {"cache": "none"}, "c2 (missing there)"),
    "extra": (extra, {}, "d (only there)"),
    "other voxels": (other, {}, "c2 (other content)"),
    "other voxels on disk": (other, {"cache": "disk"}, "c2 (other content)"),
    "other voxels, streamed": (other, {"cache": "none"}, "c2 (other content)"),
    "excluded on one rank": (damaged, {"skip_bad": True}, "c2 (other content)"),
    "excluded on one rank, streamed": (damaged, {"skip_bad": True, "cache": "none"}, "c2 (other content)"),
}


def read(folder, rank, change, **options):
    """What a rank makes of its own folder: ids, or an error."""
    mine = folder / str(rank)
    for number in range(4):
        write(mine / f"c{number}.nii", number)
    if rank:
        change(mine)
    options = {"cache_dir": str(folder / f"cache{rank}"), **options}
    return outcome(
        lambda: build_case_dataset(find_cases(mine), build_preprocessing([8] * 3, 1, 2.0), desc="validation", **options)
    )


def outcome(build):
    try:
        return [case["case"] for case in build().data]
    except InputError as error:
        return str(error)


def labelled(folder, rank):
    """Label maps that differ."""
    mine = folder / str(rank)
    for number in range(3):
        write(mine / f"imagesTr/c{number}.nii.gz", number)
        voxels = np.zeros((12, 12, 12), np.uint8)
        voxels[: 4 + rank * (number == 1)] = 1
        (mine / "labelsTr").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, AFFINE), mine / f"labelsTr/c{number}.nii.gz")
    pairs = [{"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in range(3)]
    content = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "a"}, "training": pairs}
    (mine / "dataset.json").write_text(json.dumps(content))
    chain = build_segmentation_preprocessing([8] * 3, 1, 2.0, [1])
    return outcome(lambda: build_case_dataset(find_labelled_cases(mine), chain))


def graded(folder, rank):
    """Grades that differ, and paths that may."""
    write(folder / str(rank) / "a.nii", 0)
    case = {"case": "a", "image": str(folder / str(rank) / "a.nii"), "grade": rank}
    chain = build_preprocessing([8] * 3, 1, 2.0)

    def see(grade):
        return outcome(lambda: build_lazy_dataset([case | {"grade": grade}], chain, None, 0).dataset)

    return {"same": see(0), "other": see(rank)}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {
        name: read(folder / str(number), rank, change, **copy.deepcopy(options))
        for number, (name, (change, options, _)) in enumerate(SCENARIOS.items())
    }
    results |= {"labelled": labelled(folder / "labelled", rank), "graded": graded(folder / "graded", rank)}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Results of both ranks: one start for all tests."""
    folder = tmp_path_factory.mktemp("two")
    mp.start_processes(worker, (folder,), nprocs=2, start_method=START)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_ranks_see(both, name):
    found, words = [result[name] for result in both], SCENARIOS[name][2]
    if words is None:
        assert found == [["c0", "c1", "c2", "c3"]] * 2
        return
    assert found[0] == found[1]
    (line,) = found[0].splitlines()
    assert line.startswith("validation data: ")
    assert "rank 1" in line
    assert words in line


def test_label_maps_count(both):
    for result in both:
        assert "c1 (other content)" in result["labelled"]


def test_values_count_and_paths_do_not(both):
    for result in both:
        assert result["graded"]["same"] == ["a"]
        assert "a (other content)" in result["graded"]["other"]


def test_one_process_reads_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.data.loader.compare_cases", None)
    write(tmp_path / "a.nii", 0)
    assert len(build_case_dataset(find_cases(tmp_path), build_preprocessing([8] * 3, 1, 2.0), cache="none")) == 1
