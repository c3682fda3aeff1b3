"""Generated photographs of eight classes: layout, and prediction of the class by surfaces but not by colours."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.phantoms.photographs import KINDS, draw_motif, make_photograph, photograph_phantoms

SIZE, PER_CLASS, CHANCE = 48, 12, 1 / len(KINDS)


def test_layout_and_sizes(tmp_path):
    folder = photograph_phantoms(str(tmp_path / "set"), num_per_class=PER_CLASS, size=SIZE)
    assert {path.name for path in Path(folder).iterdir()} == {"train", "val", "phantom_recipe.json"}
    for split, numbers in (("train", range(10)), ("val", range(10, 12))):
        assert sorted(path.name for path in Path(folder, split).iterdir()) == sorted(KINDS)
        for kind in KINDS:
            names = sorted(path.name for path in Path(folder, split, kind).iterdir())
            assert names == [f"{number:04d}.jpeg" for number in numbers]
    images = [Image.open(path) for path in Path(folder).rglob("*.jpeg")]
    assert {(image.format, image.mode) for image in images} == {("JPEG", "RGB")}
    assert len({image.size for image in images}) > 0.5 * len(images)
    ratios = [width / height for width, height in (image.size for image in images)]
    assert min(ratios) < 0.8 < 1.25 < max(ratios)
    assert all(0.9 * SIZE < min(image.size) < 1.1 * SIZE for image in images)


def colour_features(pixels):
    """Size, mean, and histograms of red, green, blue and brightness."""
    layers = [*np.moveaxis(pixels, 2, 0), pixels.mean(2)]
    shares = [np.histogram(layer, 8, (0, 1))[0] / layer.size for layer in layers]
    return np.concatenate([pixels.shape[:2], pixels.mean((0, 1)), *shares])


def edge_features(pixels):
    """Differences between neighbours along x, y and a diagonal: surface, not colour."""
    grey = pixels.mean(2)
    steps = [grey[:, 1:] - grey[:, :-1], grey[1:] - grey[:-1], grey[1:, 1:] - grey[:-1, :-1], grey[4:] - grey[:-4]]
    return np.array([f(np.abs(step)) for step in steps for f in (np.mean, np.std, lambda s: np.quantile(s, 0.9))])


def linear_accuracy(features, labels, folds=6):
    """Accuracy of a ridge classifier in cross-validation."""
    fold, right = np.random.default_rng(0).permutation(len(labels)) % folds, 0
    for held in range(folds):
        train = fold != held
        spread = features[train].std(0) + 1e-6
        inputs = np.c_[(features - features[train].mean(0)) / spread, np.ones(len(labels))]
        gram = inputs[train].T @ inputs[train] + 30 * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs[train].T @ np.eye(len(KINDS))[labels[train]])
        right += int(((inputs[~train] @ weights).argmax(1) == labels[~train]).sum())
    return right / len(labels)


@pytest.mark.parametrize("seed", [0, 1])
def test_surfaces_predict_the_class_but_colours_and_size_do_not(seed):
    labels, colours, edges = np.repeat(np.arange(len(KINDS)), 40), [], []
    for case, kind in enumerate(labels.tolist()):
        pixels = (
            np.asarray(Image.open(io.BytesIO(make_photograph(seed, kind, case % 40, SIZE))), dtype=np.float32) / 255
        )
        colours.append(colour_features(pixels))
        edges.append(edge_features(pixels))
    assert linear_accuracy(np.array(colours), labels) < CHANCE + 0.1
    assert linear_accuracy(np.array(edges), labels) > CHANCE + 0.1


def test_all_kinds_cover_as_much():
    y, x = np.mgrid[-1.6:1.6:0.04, -1.6:1.6:0.04].astype(np.float32)
    areas = []
    for kind in KINDS:
        layers = [draw_motif(kind, np.random.default_rng((3, i)), x, y, 0.04) for i in range(40)]
        assert all(0 <= layer.min() <= layer.max() <= 1 for pair in layers for layer in pair)
        assert not any(cover[[0, -1]].any() or cover[:, [0, -1]].any() for cover, _ in layers)
        areas.append(np.mean([cover.mean() for cover, _ in layers]))
    assert max(areas) < 1.25 * min(areas)
