import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.phantoms.motifs import MOTIFS, draw_motif
from tools.phantoms.pictures import KINDS, picture, picture_phantoms

SIZE = 48
PER_CLASS = 12
CHANCE = 1 / len(KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("things") / "pictures"
    return picture_phantoms(str(path), num_per_class=PER_CLASS, size=SIZE)


def read_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.jpeg"))}


def colour_features(pixels):
    """Mean, and histograms of red, green, blue and brightness."""
    layers = [*np.moveaxis(pixels, 2, 0), pixels.mean(2)]
    shares = [np.histogram(layer, 8, (0, 1))[0] / layer.size for layer in layers]
    return np.concatenate([pixels.mean((0, 1)), *shares])


def edge_features(pixels):
    """What differs between neighbours along x, y and both diagonals: surface, not colour."""
    grey = pixels.mean(2)
    steps = [grey[:, 1:] - grey[:, :-1], grey[1:] - grey[:-1], grey[1:, 1:] - grey[:-1, :-1], grey[4:] - grey[:-4]]
    return np.array([f(np.abs(step)) for step in steps for f in (np.mean, np.std, lambda s: np.quantile(s, 0.9))])


def linear_accuracy(features, labels, folds=6):
    """Share of pictures that a ridge classifier trained on the others tells."""
    fold = np.random.default_rng(0).permutation(len(labels)) % folds
    right = 0
    for held in range(folds):
        train = fold != held
        spread = features[train].std(0) + 1e-6
        inputs = np.c_[(features - features[train].mean(0)) / spread, np.ones(len(labels))]
        gram = inputs[train].T @ inputs[train] + 30 * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs[train].T @ np.eye(len(KINDS))[labels[train]])
        right += int(((inputs[~train] @ weights).argmax(1) == labels[~train]).sum())
    return right / len(labels)


def test_layout(folder):
    assert {path.name for path in Path(folder).iterdir()} == {"train", "val", "phantom_recipe.json"}
    for part, numbers in (("train", range(10)), ("val", range(10, 12))):
        assert sorted(path.name for path in Path(folder, part).iterdir()) == sorted(KINDS)
        for kind in KINDS:
            names = sorted(path.name for path in Path(folder, part, kind).iterdir())
            assert names == [f"{number:04d}.jpeg" for number in numbers]


def test_files_are_colour_jpegs_of_varying_size(folder):
    images = [Image.open(path) for path in Path(folder).rglob("*.jpeg")]
    assert {(image.format, image.mode) for image in images} == {("JPEG", "RGB")}
    assert len({image.size for image in images}) > 0.5 * len(images)
    ratios = [width / height for width, height in (image.size for image in images)]
    assert min(ratios) < 0.8 < 1.25 < max(ratios)
    assert all(0.9 * SIZE < min(image.size) < 1.1 * SIZE for image in images)


def test_same_seed_same_bytes(folder, tmp_path):
    again = picture_phantoms(str(tmp_path / "again"), num_per_class=PER_CLASS, size=SIZE)
    assert read_bytes(again) == read_bytes(folder)


def test_other_seed_other_bytes(folder, tmp_path):
    other = read_bytes(picture_phantoms(str(tmp_path / "other"), num_per_class=PER_CLASS, size=SIZE, seed=1))
    first = read_bytes(folder)
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(KINDS) * PER_CLASS


def test_existing_set_is_reused(folder):
    path = Path(folder) / "train" / KINDS[0] / "0000.jpeg"
    before = path.stat().st_mtime_ns
    assert picture_phantoms(folder, num_per_class=PER_CLASS, size=SIZE) == folder
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("seed", [0, 1])
def test_colours_tell_nothing_but_surfaces_do(seed):
    labels = np.repeat(np.arange(len(KINDS)), 40)
    colours, edges = [], []
    for case, kind in enumerate(labels.tolist()):
        image = Image.open(io.BytesIO(picture(seed, kind, case % 40, SIZE)))
        pixels = np.asarray(image, dtype=np.float32) / 255
        colours.append(colour_features(pixels))
        edges.append(edge_features(pixels))
    assert linear_accuracy(np.array(colours), labels) < CHANCE + 0.1
    assert linear_accuracy(np.array(edges), labels) > CHANCE + 0.1


def test_all_kinds_cover_as_much():
    y, x = np.mgrid[-1.6:1.6:0.04, -1.6:1.6:0.04].astype(np.float32)
    areas = []
    for kind in MOTIFS:
        shares = [draw_motif(kind, np.random.default_rng((3, i)), x, y, 0.04) for i in range(40)]
        for share, second in shares:
            assert 0 <= share.min() <= share.max() <= 1
            assert 0 <= second.min() <= second.max() <= 1
            assert share[0].max() == share[-1].max() == share[:, 0].max() == share[:, -1].max() == 0
        areas.append(np.mean([share.mean() for share, _ in shares]))
    assert max(areas) < 1.25 * min(areas)
