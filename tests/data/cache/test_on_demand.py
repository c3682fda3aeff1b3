"""Cases that are preprocessed when they are first drawn."""

import os

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from tools.data.cache.index import CacheIndex
from tools.data.cases import find_cases
from tools.data.lazy import LazyDataset
from tools.data.loader import build_case_dataset, build_dataset, build_loader
from tools.training.preparation import prepare_cases
from tools.training.settings import case_history, data_settings
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.errors import InputError, WriteError

COUNT = 8


@pytest.fixture
def cases(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for number in range(COUNT):
        voxels = generator.normal(size=(12, 11, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), tmp_path / f"data/c{number}.nii")
    return find_cases(tmp_path / "data")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def chain():
    return build_preprocessing((8, 8, 8), channels=1, spacing=2.0)


def build(cases, folder, cache="lazy", **options):
    return build_dataset(cases, chain(), build_random_crop((8, 8, 8)), 0, cache, cache_dir=folder, **options)


def batches(dataset, num_workers=0):
    return [batch["image"].clone() for batch in build_loader(dataset, 2, 6, num_workers)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_other_caches(cases, folder, num_workers):
    expected = batches(build(cases, None, "memory"))
    for _ in range(2):  # cold and warm
        found = batches(build(cases, folder), num_workers)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(list(folder.glob("*.pt"))) == COUNT
    assert get_track_meta()


def test_only_drawn_cases_are_read(cases, folder):
    dataset = build(cases, folder)
    assert not list(folder.glob("*.pt"))
    dataset[3, 0]
    assert len(list(folder.glob("*.pt"))) == 1
    assert [one["hashes"] is not None for one in dataset.dataset.hashes] == [number == 3 for number in range(COUNT)]


def test_the_history_of_a_card_is_that_of_a_disk_cache(cases, folder):
    disk = build(cases, folder, "disk").dataset
    lazy = build(cases, folder.parent / "lazy")
    assert case_history({"training": lazy.dataset}) == {"cases": []}
    assert "images" not in data_settings([lazy.dataset, lazy.dataset])  # not until all are known
    batches(lazy, num_workers=2)
    assert case_history({"training": lazy.dataset}) == case_history({"training": disk})
    assert data_settings([lazy.dataset] * 2) == data_settings([disk] * 2)


def test_the_history_of_streamed_images_is_unknown(cases):
    assert case_history({"training": LazyDataset(cases, chain())}) == {"cases": [], "unknown_cases": COUNT}


def test_bad_cases_are_replaced_or_stop_the_run(cases, folder, capsys):
    os.unlink(cases[2]["image"])
    dataset = build(cases, folder, skip_bad=True)
    for _ in range(2):
        assert torch.equal(dataset.dataset[2]["image"], dataset.dataset[3]["image"])
    assert capsys.readouterr().out.count("c2 is ignored") == 1
    with pytest.raises(InputError, match=r"training data, c2: .*skip_bad") as error:
        build(cases, folder).dataset[2]
    assert "\n" not in str(error.value)
    index = CacheIndex(folder)
    index.refresh()
    assert [record["case"] for record in index.records() if "error" in record] == ["c2"]


def test_a_folder_that_cannot_be_written_is_one_line(cases, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="expected a folder"):
        build(cases, tmp_path / "file")
    with pytest.raises(InputError, match="cache_dir: expected a folder for cache 'lazy', found none"):
        build(cases, None)


def prepare(cases, folder, **options):
    split = {"training": cases[:5], "validation": cases[5:]}
    with pytest.raises(SystemExit) as ended:
        prepare_cases(split, dict.fromkeys(split, chain()), str(folder), **{"prepare_workers": 0, **options})
    assert ended.value.code == 0


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_parts_prepare_each_case_once(cases, folder, parts, monkeypatch):
    for part in reversed(range(parts)):
        prepare(cases, folder, part=part, parts=parts)
    assert len(list(folder.glob("*.pt"))) == COUNT
    monkeypatch.setattr("tools.data.cache.disk.read_case", None)
    for cache in ("disk", "lazy", "auto", "memory"):
        assert len(batches(build(cases[:5], folder, cache))) == 6


@pytest.mark.parametrize(("part", "parts"), [(1, 1), (8, 8), (-1, 2)])
def test_a_part_out_of_range_is_one_line(cases, folder, part, parts):
    with pytest.raises(InputError, match=f"part: expected 0 to {parts - 1} .*, found {part}"):
        prepare_cases({}, {}, str(folder), part=part, parts=parts)


def test_preparation_reports_bad_cases_after_all_others(cases, folder, capsys):
    os.unlink(cases[0]["image"])
    with pytest.raises(InputError, match="1 of 5 training cases"):
        prepare(cases, folder)
    prepare(cases, folder, skip_bad=True)
    assert "4 of 5 cases" in capsys.readouterr().out
    assert len(list(folder.glob("*.pt"))) == COUNT - 1


def test_only_validation_cases_that_are_drawn_are_prepared(cases, folder):
    dataset = build_case_dataset(cases, chain(), "disk", folder, max_cases=3)
    assert len(dataset) == len(list(folder.glob("*.pt"))) == 3
    ids = [case["case"] for case in dataset.data]
    assert ids == sorted(ids)
    more = build_case_dataset(cases, chain(), "disk", folder, max_cases=5)
    assert {*ids} < {case["case"] for case in more.data}
