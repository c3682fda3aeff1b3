"""A set of generated lung nodules with malignancies, laid out as the published crops of LIDC-IDRI are."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.phantoms.cases import for_each_case
from tools.phantoms.nodule import GRADES, sample_lung, sample_nodule, sample_surroundings
from tools.phantoms.nodule_painting import paint_nodule
from tools.phantoms.store import write_once

VERSION = 1  # of the generator: raise it when the nodules change, so that stored ones are made anew

SHARES = (0.25, 0.25, 0.1, 0.2, 0.2)  # of the malignancies 1 to 5
COUNTS = (1, 2, 1, 3, 1, 2, 1, 2, 1, 3)  # nodules per scan, over and over
WINDOW = (-1000.0, 400.0)  # Hounsfield units that become 0 and 255
TESTED, REPEATED = 0.2, 0.07  # shares of the nodules tested on, and of those the ones named twice
VARIATION = 5  # voxels that the edges of crops differ by


class Place(NamedTuple):
    """Which nodule: patient, scan and number in the scan, from 1 on, and its malignancy."""

    patient: int
    scan: int
    roi: int
    malignancy: int

    @property
    def name(self) -> str:
        """Name of its file, without suffix."""
        return f"lidc{self.scan}_{self.roi}"


def nodule_phantoms(folder: str, num_patients: int = 60, size: int = 64, seed: int = 0) -> str:
    """Make a folder of generated lung nodules unless it is there already.

    ``nodule/lidc<scan>_<roi>.npz`` holds "voxel" (1 mm, HU from -1000 to 400 as 0 to 255) and "answer1" (the nodule's
    mask), ``info/lidc_nodule_info_new_with_subset.csv`` the patient ("uid") and malignancy (1 to 5) of each.
    ``train_test_split.csv`` has the faults of the published one: it splits by nodule, not by patient, and repeats rows.
    The first patient has two scans.

    Args:
        folder: where the files go.
        num_patients: number of patients, of 1.7 nodules each.
        size: longest edge of a crop in voxels; edges are up to 4 shorter.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "nodules", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}
    places = list_places(seed, num_patients)
    rows: dict[int, list[object]] = {}

    def write_nodule(target: Path, number: int) -> None:
        place = places[number]
        voxels, mask, diameter = nodule_crop(seed, place, size)
        (target / f"{place.name}.npz").write_bytes(_to_npz({"voxel": voxels, "answer1": mask}))
        patient, scan = f"LIDC-IDRI-{place.patient:04d}", f"lidc{place.scan}"
        rows[number] = [place.name, patient, scan, place.roi, int(mask.sum()), f"{diameter:.2f}", place.malignancy]

    def write(target: Path) -> None:
        for name in ("nodule", "info"):
            (target / name).mkdir()
        for_each_case(partial(write_nodule, target / "nodule"), len(places), "nodule phantoms")
        header = ["index", "uid", "name", "roi", "volume", "diameter_mm", "malignancy_mode"]
        table = target / "info/lidc_nodule_info_new_with_subset.csv"
        _write_table(table, [header, *(rows[number] for number in range(len(places)))])
        _write_table(target / "train_test_split.csv", _published_split(seed, [place.name for place in places]))

    return write_once(folder, write, json.dumps(recipe))


def list_places(seed: int, num_patients: int) -> list[Place]:
    """List the nodules of a set; malignancies are spread evenly, so that small sets have all."""
    offset = np.random.default_rng(seed).random()
    scans = [(patient, patient) for patient in range(1, num_patients + 1)] + [(1, num_patients + 1)]
    found: list[Place] = []
    for patient, scan in scans:
        for roi in range(1, COUNTS[scan % len(COUNTS)] + 1):
            rank = (offset + 0.6180339887 * len(found)) % 1
            malignancy = 1 + int(np.searchsorted(np.cumsum(SHARES)[: GRADES - 1], rank))
            found.append(Place(patient, scan, roi, malignancy))
    return found


def nodule_crop(seed: int, place: Place, size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Make one crop.

    Args:
        seed: seed of the set.
        place: which nodule.
        size: longest edge in voxels.

    Returns:
        Voxels from 0 to 255 and mask, both (D, H, W) uint8, and the nodule's diameter in mm.
    """
    lung = sample_lung(np.random.default_rng((seed, place.scan)))
    rng = np.random.default_rng((seed, place.scan, place.roi))
    nodule = sample_nodule(rng, place.malignancy)
    around = sample_surroundings(rng, nodule.diameter / 2)
    shape = [int(edge) for edge in size - rng.integers(0, VARIATION, 3)]
    units, mask = paint_nodule(rng, nodule, around, lung, shape)
    low, high = WINDOW
    voxels = np.clip((units - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
    return voxels, mask.astype(np.uint8), nodule.diameter


def _to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of an npz file, always the same: entries of a zip archive carry a time."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            np.save(content := io.BytesIO(), array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return stream.getvalue()


def _published_split(seed: int, names: Sequence[str]) -> Iterable[list[object]]:
    """Rows of a split by nodule, its test part with some repeated."""
    rng = np.random.default_rng((seed, 0, 1))
    order = [f"{names[i]}.npz" for i in rng.permutation(len(names))]
    count = max(1, round(TESTED * len(names)))
    test, train = order[:count], order[count:]
    test += test[: max(1, round(REPEATED * count))]
    yield ["", "train", "test"]
    for number, name in enumerate(train):
        yield [number, name, test[number] if number < len(test) else ""]


def _write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
