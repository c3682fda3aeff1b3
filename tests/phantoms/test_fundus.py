"""Generated fundus photographs: layout, anatomy, lesions by grade, and no grade from colour or brightness."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.phantoms.fundus import SHARES, fundus_phantoms, fundus_photo, patient_levels

SIZE, PATIENTS = 128, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(fundus_phantoms(str(tmp_path_factory.mktemp("eyes") / "fundus"), num_patients=PATIENTS, size=SIZE))


@pytest.fixture(scope="module")
def photos(folder):
    """Photographs (H, W, 3), 0 to 1, left and right eyes alternating."""
    names = [f"{10 + patient}_{side}" for patient in range(PATIENTS) for side in ("left", "right")]
    return [np.asarray(Image.open(folder / f"{name}.jpeg"), dtype=np.float32) / 255 for name in names]


def draw(patient, side, level):
    image = Image.open(io.BytesIO(fundus_photo(0, patient, side, level, SIZE)))
    return np.asarray(image, dtype=np.float32) / 255


def test_layout(folder):
    names = [f"{10 + patient}_{side}" for patient in range(PATIENTS) for side in ("left", "right")]
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted([*(f"{name}.jpeg" for name in names), "phantom_recipe.json", "trainLabels.csv"])
    with open(folder / "trainLabels.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "level"]
    assert [row[0] for row in rows[1:]] == names
    assert {row[1] for row in rows[1:]} <= set("01234")
    assert {(i.format, i.mode) for i in map(Image.open, folder.glob("*.jpeg"))} == {("JPEG", "RGB")}


def test_levels_are_imbalanced_and_alike_in_a_patient():
    levels = np.array([patient_levels(3, patient) for patient in range(500)])
    assert np.allclose(np.bincount(levels.ravel(), minlength=5) / levels.size, SHARES, atol=0.03)
    assert 0.6 < np.corrcoef(levels.T)[0, 1] < 0.95
    assert {level for patient in range(40) for level in patient_levels(0, patient)} == set(range(5))


def test_photographs_differ_as_cameras_do(photos):
    shapes = [photo.shape[:2] for photo in photos]
    assert len(set(shapes)) > 0.8 * len(shapes)
    exposure = [photo[photo.max(2) > 0.08].mean() for photo in photos]
    assert max(exposure) > 1.5 * min(exposure)
    hue = [float(np.log(p[..., 0].mean() / p[..., 1].mean())) for p in photos]
    assert min(hue) > 0.2, "red, all of them"
    assert max(hue) > min(hue) + 0.15
    for photo in photos:
        assert photo[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.15, "black corners"
        assert photo[tuple(n // 2 for n in photo.shape[:2])].max() > 0.1


def test_the_orientation_of_a_photograph_is_detectable(photos):
    """The disc is on the nasal side; photographs differ from their mirror image and from their 180 degree rotation."""
    nasal, likeness = [], []
    for number, photo in enumerate(photos):
        green = np.asarray(Image.fromarray(photo[..., 1]).resize((64, 64)))
        small = np.asarray(Image.fromarray(green).reduce(4).resize((64, 64), Image.Resampling.BILINEAR))
        wide = np.asarray(Image.fromarray(green).reduce(16).resize((64, 64), Image.Resampling.BILINEAR))
        detail = (small - wide)[12:-12, 12:-12]
        column = np.argmax(detail.max(0)) - (detail.shape[1] - 1) / 2
        if abs(column) > 6:
            nasal.append((column < 0) == (number % 2 == 0))
        fine = (green - wide)[12:-12, 12:-12]
        flips = (fine[::-1], fine[:, ::-1], fine[::-1, ::-1])
        likeness += [np.corrcoef(fine.ravel(), flipped.ravel())[0, 1] for flipped in flips]
    assert len(nasal) > 0.5 * len(photos)
    assert np.mean(nasal) > 0.75
    assert np.mean(likeness) < 0.3


def test_lesions_grow_with_the_level_and_nothing_else_changes():
    changed = []
    for patient in range(5):
        sound = draw(patient, 1, 0)
        changed.append([float((np.abs(draw(patient, 1, level) - sound).max(2) > 0.08).mean()) for level in range(5)])
    mean = np.mean(changed, axis=0)
    assert mean[0] == 0
    assert 0 < mean[1] < 0.5 * mean[2]
    assert mean[1] < 0.02, "but for the lesions, photographs of all levels are the same"
    assert mean[2] < 0.8 * mean[3] < 0.2
    assert mean[2] < mean[4] < 0.2
    assert np.array(changed)[:, 2].max() > 0.5 * np.array(changed)[:, 3].min(), "grades come close to each other"


def test_colour_brightness_and_size_do_not_predict_the_level():
    """Rank correlation of the level with each, over photographs of different patients."""
    levels, trivial = np.arange(50) % 5, []
    for patient, level in enumerate(levels.tolist()):
        photo = draw(patient, patient // 5 % 2, level)
        seen = photo[photo.max(2) > 0.08]
        trivial.append([*seen.mean(0), *seen.std(0), *np.quantile(seen[:, 1], (0.01, 0.05, 0.99)), photo.shape[1]])
    ranks = np.argsort(np.argsort(np.array(trivial), axis=0), axis=0)
    assert max(abs(np.corrcoef(levels, column)[0, 1]) for column in ranks.T) < 0.5
