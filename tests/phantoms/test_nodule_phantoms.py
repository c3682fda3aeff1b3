"""Generated lung nodules: found like the published ones, learnable, and not by size or brightness alone."""

import csv
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tools.data.annotated import find_nodules
from tools.data.formats.npz import read_array
from tools.data.nodule_split import read_published_split, split_nodules
from tools.phantoms.nodule import sample_lung, sample_nodule, sample_surroundings
from tools.phantoms.nodule_painting import paint_nodule
from tools.phantoms.nodules import SHARES, Place, list_places, nodule_crop, nodule_phantoms

PATIENTS, SIZE = 12, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(nodule_phantoms(str(tmp_path_factory.mktemp("set") / "nodules"), num_patients=PATIENTS, size=SIZE))


def auc(labels, scores):
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=float)
    ahead = scores[labels][:, None] - scores[~labels]
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def drawn(malignancy, count=400):
    return [sample_nodule(np.random.default_rng((3, i, malignancy)), malignancy) for i in range(count)]


def painted(nodule, seed=0, wall=True):
    rng = np.random.default_rng(seed)
    around = sample_surroundings(rng, nodule.diameter / 2)
    around = around if wall else replace(around, wall=None, rib=None, vessels=(), fissure=None)
    return paint_nodule(rng, nodule, around, sample_lung(rng), (SIZE, SIZE, SIZE))


def test_layout(folder):
    with open(folder / "info/lidc_nodule_info_new_with_subset.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    places = list_places(0, PATIENTS)
    assert [row["index"] for row in rows] == [place.name for place in places]
    assert sorted(path.stem for path in (folder / "nodule").iterdir()) == sorted(place.name for place in places)
    assert len({row["uid"] for row in rows}) == PATIENTS < len({row["name"] for row in rows})
    for row in rows:
        voxels, mask = (read_array(folder / f"nodule/{row['index']}.npz", name) for name in ("voxel", "answer1"))
        assert voxels.shape == mask.shape
        assert voxels.dtype == np.uint8
        assert all(SIZE - 5 < edge <= SIZE for edge in voxels.shape)
        assert mask.sum() == int(row["volume"]) > 0
        assert voxels[mask > 0].mean() > 1.5 * np.median(voxels[mask == 0])
        middle = np.argwhere(mask).mean(0) - np.array(mask.shape) // 2
        assert np.abs(middle).max() < 0.25 * float(row["diameter_mm"])


def test_nodules_are_found_and_split(folder, capsys):
    cases = find_nodules(folder)
    counts = Counter(place.malignancy for place in list_places(0, PATIENTS))
    assert Counter(case["label"] for case in cases) == {0: counts[1] + counts[2], 1: counts[4] + counts[5]}
    assert {case["patient"] for case in cases if case["case"].startswith("lidc13_")} <= {"LIDC-IDRI-0001"}
    parts = split_nodules(cases, folder)
    patients = [{case["patient"] for case in members} for members in parts.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))
    capsys.readouterr()
    published = read_published_split(folder, cases)
    assert published.repeated > 0
    assert set(published.assigned.values()) == {"train", "test"}
    assert "test rows repeat an earlier one" in capsys.readouterr().out


def test_the_published_split_of_the_default_set_leaks():
    names = {place.name: place.patient for place in list_places(0, 60)}
    assert len(names) == pytest.approx(100, abs=10)
    several = Counter(names.values())
    assert sum(count > 1 for count in several.values()) > 20, "patients a split by nodule can tear apart"


def test_same_seed_same_bytes(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        again = Path(nodule_phantoms(str(tmp_path / "again"), num_patients=PATIENTS, size=SIZE))
    finally:
        torch.set_num_threads(threads)
    for file in (file for file in folder.rglob("*") if file.is_file()):
        assert file.read_bytes() == (again / file.relative_to(folder)).read_bytes(), file
    other = nodule_crop(1, Place(1, 1, 1, 1), SIZE)[0]
    assert not np.array_equal(other, read_array(folder / "nodule/lidc1_1.npz", "voxel"))
    with zipfile.ZipFile(folder / "nodule/lidc1_1.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


@pytest.mark.parametrize("seed", range(5))
def test_malignancies_are_spread_evenly(seed):
    counts = Counter(place.malignancy for place in list_places(seed, 60))
    for malignancy, share in enumerate(SHARES, 1):
        assert counts[malignancy] / counts.total() == pytest.approx(share, abs=0.04)


def test_no_single_property_tells_and_all_together_do():
    nodules = [(label, nodule) for m, label in ((1, 0), (2, 0), (4, 1), (5, 1)) for nodule in drawn(m)]
    labels = [label for label, _ in nodules]
    signs = np.array(
        [
            [
                np.log(nodule.diameter),
                len(nodule.spicules) > 5,
                nodule.edge > 1.5,
                len(nodule.lobes[1]) > 0,
                nodule.density < -200,
                nodule.calcium is None,
            ]
            for _, nodule in nodules
        ],
        dtype=float,
    )
    single = [auc(labels, column) for column in signs.T]
    assert 0.65 < single[0] < 0.77, "size"
    assert all(0.53 < value < 0.9 for value in single)
    centred = (signs - signs.mean(0)) / signs.std(0)
    weights = np.linalg.lstsq(centred, np.array(labels) - 0.5, rcond=None)[0]
    assert auc(labels, centred @ weights) > 0.95


def test_size_and_brightness_leave_room():
    labels, trivial = [], []
    for place in list_places(3, 60):
        if place.malignancy != 3:
            voxels, mask, _ = nodule_crop(3, place, SIZE)
            labels.append(place.malignancy > 3)
            trivial.append([voxels.mean(), (voxels > 120).sum(), voxels.std(), mask.sum(), voxels[mask > 0].max()])
    for name, column in zip(("mean", "bright", "deviation", "size", "brightest"), np.array(trivial).T, strict=True):
        assert max(auc(labels, column), 1 - auc(labels, column)) < 0.85, name


def test_walls_and_vessels_say_nothing():
    rng = np.random.default_rng(0)
    around = [sample_surroundings(rng, 5.0) for _ in range(600)]
    assert np.mean([one.wall is not None for one in around]) == pytest.approx(0.45, abs=0.07)
    touching = [one.wall[1] < 5 for one in around if one.wall is not None]
    assert np.mean(touching) == pytest.approx(0.4, abs=0.1)
    assert min(len(one.vessels) for one in around) > 10


def test_what_was_drawn_is_seen():
    plain = replace(drawn(1, 1)[0], diameter=14.0, density=40.0, core=None, calcium=None, cavity=None, feeders=())
    plain = replace(plain, spicules=(), lobes=(np.zeros((0, 3)), np.zeros(0)), edge=1.0, ruggedness=0.0)
    units, mask = painted(plain, wall=False)
    assert mask.sum() == pytest.approx(np.pi / 6 * 14**3 * plain.axes.prod(), rel=0.1)
    assert units[18:23, 18:23, 18:23].mean() == pytest.approx(40, abs=25)
    spiky = next(nodule for nodule in drawn(5) if len(nodule.spicules) > 11).spicules
    grown, same = painted(replace(plain, spicules=spiky), wall=False)
    assert np.array_equal(mask, same)
    assert (grown - units)[~mask].max() > 300
    for change, low, high in (
        ({"calcium": ("central", 800.0)}, 200, 900),
        ({"cavity": (np.zeros(3), 0.5)}, -1000, -400),
        ({"density": -550.0}, -800, -300),
    ):
        shown, _ = painted(replace(plain, **change), wall=False)
        middle = shown[SIZE // 2, SIZE // 2, SIZE // 2 - 1 : SIZE // 2 + 2].mean()
        assert low < middle < high, change


def test_everything_that_can_be_drawn_can_be_painted():
    for malignancy in range(1, 6):
        for seed, nodule in enumerate(drawn(malignancy, 6)):
            units, mask = painted(nodule, seed)
            assert np.isfinite(units).all()
            assert mask.any()
            assert -1300 < units.min() < -700
