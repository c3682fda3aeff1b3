import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tools.phantoms.fundus import SHARES, fundus_phantoms, fundus_photo, patient_levels, sample_photograph
from tools.phantoms.fundus_painting import paint_retina
from tools.phantoms.lesions import sample_lesions

SIZE = 128
PATIENTS = 10
EYES = [(patient, side) for patient in range(PATIENTS) for side in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fundus_phantoms(str(tmp_path_factory.mktemp("eyes") / "fundus"), num_patients=PATIENTS, size=SIZE)


@pytest.fixture(scope="module")
def pictures(folder):
    """Pictures as float arrays (H, W, 3), 0 to 1, in the order of EYES."""
    return [np.asarray(Image.open(Path(folder) / f"{name}.jpeg"), dtype=np.float32) / 255 for name in names()]


@pytest.fixture(scope="module")
def photographs():
    """What the pictures were made from, but for the lesions."""
    return [sample_photograph(0, patient, side, SIZE) for patient, side in EYES]


def names():
    return [f"{10 + patient}_{('left', 'right')[side]}" for patient, side in EYES]


def smooth(picture, width):
    """Mean over squares of `width` pixels (odd), 0 beyond the border."""
    layer = torch.from_numpy(picture)[None, None]
    return torch.nn.functional.avg_pool2d(layer, width, stride=1, padding=width // 2)[0, 0].numpy()


def radius_map(view):
    x, y = view.pixels()
    return np.hypot(x.numpy(), y.numpy())


def test_layout(folder):
    files = sorted(path.name for path in Path(folder).iterdir())
    assert files == sorted([f"{name}.jpeg" for name in names()] + ["phantom_recipe.json", "trainLabels.csv"])
    with open(Path(folder) / "trainLabels.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "level"]
    assert [row[0] for row in rows[1:]] == names()
    assert {row[1] for row in rows[1:]} <= set("01234")
    for name in names():
        image = Image.open(Path(folder) / f"{name}.jpeg")
        assert (image.format, image.mode) == ("JPEG", "RGB")


def test_same_seed_same_bytes(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        again = fundus_phantoms(str(tmp_path / "again"), num_patients=2, size=SIZE)
    finally:
        torch.set_num_threads(threads)
    other = fundus_phantoms(str(tmp_path / "other"), num_patients=2, size=SIZE, seed=1)
    for name in names()[:4]:
        first = (Path(folder) / f"{name}.jpeg").read_bytes()
        assert first == (Path(again) / f"{name}.jpeg").read_bytes()
        assert first != (Path(other) / f"{name}.jpeg").read_bytes()


def test_existing_set_is_reused(folder):
    path = Path(folder) / "10_left.jpeg"
    before = path.stat().st_mtime_ns
    assert fundus_phantoms(folder, num_patients=PATIENTS, size=SIZE) == folder
    assert path.stat().st_mtime_ns == before


def test_levels_are_imbalanced_and_alike_in_a_patient():
    levels = np.array([patient_levels(3, patient) for patient in range(500)])
    shares = np.bincount(levels.ravel(), minlength=5) / levels.size
    assert np.allclose(shares, SHARES, atol=0.03)
    assert 0.6 < np.corrcoef(levels.T)[0, 1] < 0.95
    assert {level for patient in range(40) for level in patient_levels(0, patient)} == set(range(5))


def test_round_field_of_view_on_black(pictures, photographs):
    for (_, view, _), picture in zip(photographs, pictures, strict=True):
        away, brightest = radius_map(view), picture.max(2)
        outside = away > 1 + 3 / view.circle[2]
        assert brightest[outside].mean() < 0.02
        assert brightest[outside].max() < 0.15
        assert (brightest[away < 0.8] > 0.1).mean() > 0.98
        assert outside.mean() > 0.02


def test_photographs_differ_as_cameras_do(pictures):
    shapes = [picture.shape[:2] for picture in pictures]
    assert len(set(shapes)) > 0.8 * len(shapes)
    ratios = [width / height for height, width in shapes]
    assert min(ratios) < 1.02 < 1.1 < max(ratios)
    exposure = [picture[picture.max(2) > 0.08].mean() for picture in pictures]
    assert max(exposure) > 1.6 * min(exposure)
    hue = [float(np.log(p[..., 0].mean() / p[..., 1].mean())) for p in pictures]
    assert min(hue) > 0.2  # red, all of them
    assert max(hue) > min(hue) + 0.15


def test_light_does_not_tell_the_side(pictures, photographs):
    """The disc apart, the nasal half is the brighter one in about half of the pictures."""
    nasal = []
    for (retina, view, _), picture in zip(photographs, pictures, strict=True):
        x, y = (p.numpy() for p in view.degrees())
        ground = (radius_map(view) < 0.9) & (np.hypot(x - retina.disc[0], y - retina.disc[1]) > 4.5)
        green = picture[..., 1]
        across = (view.pixels()[0].numpy() > 0) != view.left
        nasal.append(green[ground & across].mean() > green[ground & ~across].mean())
    assert 0.2 < np.mean(nasal) < 0.8


def test_disc_is_the_bright_spot_on_the_nasal_side(pictures, photographs):
    found, nasal = [], []
    for (retina, view, _), picture in zip(photographs, pictures, strict=True):
        inside = (radius_map(view) < 0.85).astype(np.float32)
        green, near, far = picture[..., 1] * inside, 9, 45
        contrast = smooth(green, near) / smooth(inside, near).clip(0.1)
        contrast -= smooth(green, far) / smooth(inside, far).clip(0.1)
        row, column = np.unravel_index(np.argmax(np.where(inside > 0, contrast, -1)), contrast.shape)
        disc = view.to_pixels(retina.disc[None])[0]
        found.append(np.hypot(column - disc[0], row - disc[1]) < 4 * view.scale)
        if abs(disc[0] - view.circle[0]) > 0.25 * view.circle[2]:  # not centred on the disc
            nasal.append(((column > view.circle[0]) != view.left, view.left))
    assert np.mean(found) > 0.8
    assert len(nasal) > 0.6 * len(pictures)
    for left in (True, False):
        assert np.mean([on_side for on_side, eye in nasal if eye == left]) > 0.8


def test_no_picture_is_symmetric(pictures):
    likeness = []
    for picture in pictures:
        green = np.ascontiguousarray(picture[..., 1])
        detail = smooth(green, 3) - smooth(green, 21)
        edge = [n // 5 for n in detail.shape]
        detail = detail[edge[0] : -edge[0], edge[1] : -edge[1]]
        for flipped in (detail[::-1], detail[:, ::-1], detail[::-1, ::-1]):
            likeness.append(np.corrcoef(detail.ravel(), flipped.ravel())[0, 1])
    assert np.mean(likeness) < 0.3
    assert max(likeness) < 0.85  # the disc in the middle looks alike from everywhere


def test_up_is_told_by_the_arcades(photographs):
    """The fovea lies nearer the lower arcade, whichever way the eye is turned."""
    lower = []
    for retina, _, _ in photographs:
        tree = retina.vessels
        large = (tree.radii > 0.075) & (np.abs(tree.starts[:, 0]) < 6)
        y = tree.starts[large, 1]
        lower.append(np.median(y[y > 0]) > -np.median(y[y < 0]))
    assert np.mean(lower) > 0.85


def test_vessels_leave_the_disc_for_all_quadrants_and_spare_the_fovea(photographs):
    for retina, _, _ in photographs[:4]:
        tree = retina.vessels
        away = np.hypot(*(tree.starts - retina.disc).T)
        assert np.hypot(*tree.starts.T).min() > 1.1
        assert tree.radii[away < 3].mean() > 1.5 * tree.radii[away > 15].mean()
        assert tree.radii[tree.veins].max() > tree.radii[~tree.veins].max()
        quadrants = (tree.starts - retina.disc)[away > 10] > 0
        assert len(np.unique(quadrants, axis=0)) == 4
        assert 0.3 < tree.veins.mean() < 0.7


def test_eyes_of_a_patient_share_their_pigment_but_no_vessels(photographs):
    left, right, stranger = (retina for retina, _, _ in photographs[:3])
    assert left.person is not stranger.person
    assert np.array_equal(left.person.colour, right.person.colour)
    assert not np.array_equal(left.person.colour, stranger.person.colour)
    assert len(left.vessels.radii) != len(right.vessels.radii)
    assert not np.array_equal(left.disc, right.disc)


def test_lesions_grow_with_the_level(photographs):
    areas = []
    for patient, (retina, view, _) in enumerate(photographs[:8]):
        inside = torch.from_numpy(radius_map(view) < 1)

        def paint(level, retina=retina, view=view, patient=patient):
            rng = np.random.default_rng((7, patient, level))
            return paint_retina(retina, sample_lesions(rng, level, retina, view.look, 0.43 * view.field), view)

        sound = paint(0)
        assert torch.isfinite(sound).all()
        areas.append([float(((paint(n) - sound).abs().amax(0) > 0.05)[inside].float().mean()) for n in range(5)])
    mean = np.mean(areas, axis=0)
    assert mean[0] == 0
    assert 0.0005 < mean[1] < 0.5 * mean[2]
    assert mean[2] < 0.7 * mean[3] < 0.2
    assert mean[2] < 0.7 * mean[4] < 0.2
    areas = np.array(areas)
    assert areas[:, 2].max() > areas[:, 3].min() * 0.5  # the grades come close to each other


def test_level_changes_nothing_but_the_lesions():
    first, second = (np.asarray(Image.open(io.BytesIO(fundus_photo(0, 5, 1, level, SIZE)))) for level in (0, 1))
    assert first.shape == second.shape
    changed = np.abs(first.astype(int) - second).max(2) > 12
    assert 0 < changed.mean() < 0.02
