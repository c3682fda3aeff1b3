"""Generated DeepLesion: the published layout, lesions that end across the slices and tubes that do not."""

import csv
from collections import Counter, defaultdict
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tools.phantoms.ct_lesion import outline, recist, sample_lesion, sample_tube
from tools.phantoms.ct_lesion_painting import paint_blobs, sample_scanner, slab_grid
from tools.phantoms.deeplesion import COLUMNS, deeplesion_phantoms, list_places, list_rows
from tools.phantoms.deeplesion_slice import Place, make_key_slice
from tools.phantoms.trunk import HOSTS, PLACES, sample_trunk, sample_view
from tools.phantoms.trunk_painting import paint_trunk
from tools.utils.errors import InputError

PATIENTS, SIZE = 6, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(deeplesion_phantoms(str(tmp_path_factory.mktemp("set") / "lesions"), PATIENTS, SIZE))


@pytest.fixture(scope="module")
def rows(folder):
    with open(folder / "DL_info.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def key_slices():
    """One key slice of every type, of large pictures."""
    return {kind: make_key_slice(2, Place(kind, 1, 1, kind, 1), 96) for kind in PLACES}


@pytest.fixture(scope="module")
def lungs():
    """Key slices with a lesion in a lung, where nothing else hides it."""
    return [make_key_slice(3, Place(patient, 1, 1, 5, 1), 96) for patient in range(1, 9)]


def numbers(text):
    return [float(word) for word in text.split(", ")]


def read(folder, name, number):
    with Image.open(folder / "Images_png" / name / f"{number:03d}.png") as picture:
        return np.array(picture)


def split_name(row):
    name, number = row["File_name"].removesuffix(".png").rsplit("_", 1)
    return name, int(number)


def test_same_seed_same_bytes(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        again = Path(deeplesion_phantoms(str(tmp_path / "again"), PATIENTS, SIZE))
    finally:
        torch.set_num_threads(threads)
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    assert sorted(files) == sorted(file.relative_to(again) for file in again.rglob("*") if file.is_file())
    for file in files:
        assert (folder / file).read_bytes() == (again / file).read_bytes(), file


def test_other_seeds_give_others():
    first, second = (make_key_slice(seed, Place(1, 1, 1, 4, 1), SIZE) for seed in (0, 1))
    assert first.pixels.shape != second.pixels.shape or not np.array_equal(first.pixels, second.pixels)
    assert not np.allclose(first.findings[0].ends, second.findings[0].ends)


def test_the_table_is_written_as_published(folder, rows):
    lines = (folder / "DL_info.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(COLUMNS) == 18
    for line, row in zip(lines[1:], rows, strict=True):
        name, number = split_name(row)
        assert f'"{row["Bounding_boxes"]}"' in line
        assert name == "_".join(
            f"{int(row[key]):0{width}d}" for key, width in (("Patient_index", 6), ("Study_index", 2), ("Series_ID", 2))
        )
        assert number == int(row["Key_slice_index"])
        assert int(row["Coarse_lesion_type"]) in {-1, *range(1, 9)}
        assert row["Possibly_noisy"] in {"0", "1"}
        assert row["Image_size"] == f"{SIZE}, {SIZE}"
        assert row["Patient_gender"] in {"F", "M"}
        across, down, interval = numbers(row["Spacing_mm_px_"])
        assert 0.8 <= across == down <= 1.2
        assert interval in {1, 2, 2.5, 5}
        assert all(0 < value < 1 for value in numbers(row["Normalized_lesion_location"]))
        low, high = numbers(row["DICOM_windows"])
        assert low < high


def test_boxes_are_the_diameters_and_five_pixels(rows):
    for row in rows:
        ends = np.array(numbers(row["Measurement_coordinates"])).reshape(4, 2)
        box = np.array(numbers(row["Bounding_boxes"]))
        assert np.allclose(box, [*(ends.min(0) - 5), *(ends.max(0) + 5)], atol=2e-3)
        assert box.min() >= 1
        assert box.max() <= SIZE
        long, short = numbers(row["Lesion_diameters_Pixel_"])
        assert long == pytest.approx(np.linalg.norm(ends[0] - ends[1]), rel=1e-4)
        assert short == pytest.approx(np.linalg.norm(ends[2] - ends[3]), rel=1e-4)


def test_all_slices_of_the_range_exist(folder, rows):
    expected = defaultdict(set)
    for row in rows:
        name, number = split_name(row)
        first, last = (int(value) for value in numbers(row["Slice_range"]))
        interval = numbers(row["Spacing_mm_px_"])[2]
        assert first <= number <= last
        assert (last - first) * interval <= 24
        assert max(last - number, number - first) * interval >= 10
        expected[name] |= {f"{index:03d}.png" for index in range(first, last + 1)}
    found = {series.name: {file.name for file in series.iterdir()} for series in (folder / "Images_png").iterdir()}
    assert found == expected


def test_sixteen_bits_survive(folder, rows):
    places = {(place.patient, place.study, place.series): place for place in list_places(0, PATIENTS)}
    for row in rows[:3]:
        name, number = split_name(row)
        pixels = read(folder, name, number)
        assert pixels.dtype == np.uint16
        place = places[tuple(int(part) for part in name.split("_"))]
        key_slice = make_key_slice(0, place, SIZE)
        assert np.array_equal(pixels.astype(int) - 32768, key_slice.pixels[number - key_slice.first])


@pytest.mark.parametrize(("num_patients", "seed"), [(6, 0), (6, 1), (40, 2), (120, 0)])
def test_parts_are_disjoint_and_all_there(num_patients, seed):
    parts = defaultdict(set)
    for place in list_places(seed, num_patients):
        parts[place.part].add(place.patient)
    assert set(parts) == {1, 2, 3}
    assert sum(map(len, parts.values())) == num_patients
    assert len(parts[1]) / num_patients == pytest.approx(0.7, abs=0.05)


def test_types_are_spread_and_some_patients_come_again():
    places = list_places(0, 120)
    counts = Counter(place.kind for place in places)
    assert set(counts) == set(range(1, 9))
    assert min(counts.values()) > 0.06 * len(places)
    assert len({place.name for place in places}) == len(places) == 150
    assert {(place.study, place.series) for place in places} == {(1, 1), (2, 1), (1, 2)}


def test_only_training_lesions_lack_types(key_slices):
    types = defaultdict(set)
    for patient in range(1, 31):
        for part in (1, 2, 3):
            types[part] |= {row[9] for row in list_rows(0, Place(patient, 1, 1, 4, part), key_slices[4])}
    kinds = {finding.kind for finding in key_slices[4].findings}
    assert types == {1: kinds | {-1}, 2: kinds, 3: kinds}


def test_small_pictures_are_refused(tmp_path):
    with pytest.raises(InputError, match="size: expected at least 64 pixels, found 32"):
        deeplesion_phantoms(str(tmp_path / "set"), 6, 32)


def painted(blob, interval=1.0):
    """A body on nothing: 1 inside (D, H, W), and the index of the key plane."""
    scanner = replace(sample_scanner(np.random.default_rng(0), interval), spacing=1.0)
    grid = slab_grid(scanner, 20, 20, 81)
    volume = torch.zeros(grid.shape[1:])
    paint_blobs(volume, [replace(blob, units=1.0, core=0.0)], grid)
    return volume.numpy(), 20


def drawn(sample, count=12, kind=4):
    rng = np.random.default_rng(5)
    return [sample(rng, kind, "liver", sample_trunk(rng), 100.0) for _ in range(count)]


def test_lesions_end_and_tubes_run_on():
    for lesion in drawn(sample_lesion):
        areas = painted(lesion)[0].sum((1, 2))
        depth = int(np.ceil(lesion.depth + abs(lesion.centre[0]) + lesion.edge)) + 1
        assert areas[20] > 0.75 * areas.max()
        assert areas[np.abs(np.arange(len(areas)) - 20) > depth].sum() == 0
        assert 0.5 * lesion.radius < lesion.depth < max(1.3 * lesion.radius, 5)
    for tube in drawn(sample_tube):
        tube = replace(tube, tilt=np.clip(tube.tilt, -0.3, 0.3))  # stays in the picture
        areas = painted(tube)[0].sum((1, 2))
        assert tube.depth == inf
        assert areas.min() > 0.8 * areas[20]
        assert areas.max() < 1.25 * areas[20]


def test_one_slice_does_not_tell_them_apart():
    rng = np.random.default_rng(1)
    for kind, places in PLACES.items():
        trunk, host = sample_trunk(rng), places[0][1]
        signs = [
            [
                [np.ptp(outline(blob), axis=0).prod(), blob.axes[1] / blob.axes[0], blob.units, blob.core, blob.edge]
                for blob in (sample(rng, kind, host, trunk, 100.0) for _ in range(150))
            ]
            for sample in (sample_lesion, sample_tube)
        ]
        for lesions, tubes in zip(*(np.array(columns).T for columns in signs), strict=True):
            assert 0.35 < (lesions[:, None] > tubes).mean() < 0.72


def test_diameters_are_measured_in_the_key_slice():
    for lesion in drawn(sample_lesion):
        volume, key = painted(lesion)
        rows, columns = np.nonzero(volume[key] > 0.5)
        points = np.stack([rows, columns], axis=1) - 40.0
        ends = recist(outline(lesion))
        assert np.allclose(outline(lesion).min(0), points.min(0), atol=1.2)
        assert np.allclose(outline(lesion).max(0), points.max(0), atol=1.2)
        apart = np.linalg.norm(points[:, None] - points, axis=-1).max()
        assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(apart, abs=2.0)
        long, short = ends[1] - ends[0], ends[3] - ends[2]
        assert abs(long @ short) <= 0.081 * np.linalg.norm(long) * np.linalg.norm(short)
        assert np.linalg.norm(short) <= np.linalg.norm(long)


def middle_and_rim(key_slice, blob, z):
    """Mean Hounsfield units in the middle of a body and of a ring about it, z slices behind the key slice."""
    height = -z * key_slice.interval - blob.centre[0]
    at_key = blob.tilt * -blob.centre[0] + blob.bend * blob.centre[0] ** 2
    if blob.depth == inf:
        at_key = blob.tilt * height + blob.bend * height**2
    pixels = key_slice.pixels[key_slice.number - key_slice.first + z].astype(float)
    line = (np.arange(pixels.shape[0]) - (pixels.shape[0] - 1) / 2) * key_slice.spacing
    y, x = blob.centre[1:] + at_key
    away = np.hypot(line[:, None] - y, line - x)
    near, far = 0.5 * blob.axes[1], 1.1 * blob.axes[0] + 1.5
    return pixels[away < near].mean(), np.median(pixels[(away > far) & (away < far + 3)])


@pytest.mark.parametrize("kind", sorted(PLACES))
def test_a_lesion_is_seen_and_is_of_its_type(key_slices, kind):
    key_slice = key_slices[kind]
    assert key_slice.findings[0].kind == kind
    middle, rim = middle_and_rim(key_slice, key_slice.lesions[0], 0)
    assert abs(middle - rim) > 20


def test_a_lesion_is_gone_at_the_ends_of_the_slab(lungs):
    changes = []
    for key_slice in lungs:
        lesion = key_slice.lesions[0]
        ends = [key_slice.first - key_slice.number, key_slice.first + len(key_slice.pixels) - 1 - key_slice.number]
        seen = middle_and_rim(key_slice, lesion, 0)
        assert seen[0] - seen[1] > 300
        for z in ends:
            if abs(-z * key_slice.interval - lesion.centre[0]) > lesion.depth + 4:
                middle, rim = middle_and_rim(key_slice, lesion, z)
                changes.append(middle - rim)
    assert len(changes) >= 6
    assert np.median(np.abs(changes)) < 60


def test_slices_are_numbered_from_head_to_feet():
    z = slab_grid(sample_scanner(np.random.default_rng(0), 5.0), 2, 1, 8)[0, :, 0, 0]
    assert (z.diff() < 0).all(), "z points to the head"
    assert z.max() > 9
    assert z.min() > -9, "two slices before the key slice, one behind it"


def test_a_tube_is_there_throughout(lungs):
    seen = 0
    for key_slice in lungs:
        for tube in key_slice.tubes:
            if tube.units > 0 and np.abs(tube.centre[1:]).max() < 25 and np.abs(tube.tilt).max() < 0.3:
                values = [
                    middle_and_rim(key_slice, tube, z + key_slice.first - key_slice.number)
                    for z in range(len(key_slice.pixels))
                ]
                at_key = values[key_slice.number - key_slice.first]
                if at_key[0] - at_key[1] > 300:  # in a lung
                    seen += 1
                    assert min(middle for middle, _ in values) > at_key[0] - 250
    assert seen >= 3


@pytest.mark.parametrize("kind", sorted(PLACES))
def test_views_show_the_tissue_a_lesion_grows_in(kind):
    for seed in range(4):
        rng = np.random.default_rng((kind, seed))
        trunk, view = sample_trunk(rng), sample_view(rng, kind)
        grid = slab_grid(replace(sample_scanner(rng, 5.0), spacing=1.0), 1, 1, 96)
        volume, hosts = paint_trunk(trunk, view, grid, 4)
        there = hosts.numpy() == HOSTS.index(view.host)
        assert there.mean() > 0.01
        expected = {"fat": -103, "under skin": -103, "muscle": 56, "lung": -855, "liver": 106}
        if view.host in expected:
            assert np.median(volume[4].numpy()[there]) == pytest.approx(expected[view.host], abs=60)
