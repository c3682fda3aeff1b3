"""The generated segmentation sets: laid out as published, plausible, and not solved by a threshold."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tools.data.cases import find_labelled_cases
from tools.data.label_values import brain_tumour_labels, read_labels
from tools.phantoms.brats import brats_phantoms
from tools.phantoms.pancreas import pancreas_phantoms

SMALL = {
    "brats": (brats_phantoms, {"size": (36, 42, 32), "spacing": 4.5}),
    "pancreas": (pancreas_phantoms, {"size": (54, 44, 38), "spacing": 6.0}),
}


def make(name, folder, **changes):
    generate, settings = SMALL[name]
    return Path(generate(str(folder), **{"num_cases": 6, **settings, **changes}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(name, tmp_path_factory.mktemp(name) / "set") for name in SMALL}


def pairs(folder):
    for case in find_labelled_cases(folder):
        yield nib.load(case["image"]), nib.load(case["label"])


@pytest.mark.parametrize("name", SMALL)
def test_laid_out_as_the_decathlon(folders, name):
    content = json.loads((folders[name] / "dataset.json").read_text())
    assert content["numTraining"] == len(content["training"]) == 6
    assert len(list((folders[name] / "imagesTr").iterdir())) == 6
    values = set()
    for image, label in pairs(folders[name]):
        assert image.shape[:3] == label.shape
        np.testing.assert_array_equal(image.affine, label.affine)
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        found = set(np.unique(label.dataobj).tolist())
        assert len(found) > 2
        values |= found
    assert values == {int(value) for value in content["labels"]}


def test_names_are_those_of_the_tasks(folders):
    assert brain_tumour_labels(folders["brats"]) == {"edema": 1, "core": 2, "enhancing": 3}
    assert read_labels(folders["pancreas"]) == {"pancreas": 1, "cancer": 2}


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_bytes_whatever_the_number_of_cases(folders, name, tmp_path):
    again, other = make(name, tmp_path / "again", num_cases=2), make(name, tmp_path / "other", num_cases=1, seed=1)
    for file in sorted((again / "imagesTr").iterdir()) + sorted((again / "labelsTr").iterdir()):
        assert file.read_bytes() == (folders[name] / file.relative_to(again)).read_bytes()
    for file in (other / "imagesTr").iterdir():
        assert file.read_bytes() != (folders[name] / file.relative_to(other)).read_bytes()


def best_threshold_dice(image, truth):
    """Of a structure against everything above, or below, one of many thresholds."""
    best = 0.0
    for threshold in np.percentile(image[image > image.min()], np.arange(2, 99, 4)):
        for answer in (image > threshold, image < threshold):
            best = max(best, 2 * (answer & truth).sum() / (answer.sum() + truth.sum()))
    return best


def test_a_threshold_does_not_segment_a_brain_tumour(folders):
    scores = []
    for image, label in pairs(folders["brats"]):
        voxels, truth = np.asarray(image.dataobj), np.asarray(label.dataobj) > 0
        scores.append(max(best_threshold_dice(voxels[..., c], truth) for c in range(4)))
    assert 0.2 < np.mean(scores) < 0.75


def test_a_threshold_does_not_segment_a_pancreas(folders):
    scores = [
        best_threshold_dice(np.asarray(image.dataobj), np.asarray(label.dataobj) > 0)
        for image, label in pairs(folders["pancreas"])
    ]
    assert np.mean(scores) < 0.3


def test_contrasts_show_what_they_should(folders):
    """Relative to healthy brain: oedema bright in FLAIR, an enhancing rim in t1gd and not in T1w; air is zero."""
    gains = {1: [], 3: []}
    for image, label in pairs(folders["brats"]):
        voxels, labels = np.asarray(image.dataobj, dtype=float), np.asarray(label.dataobj)
        assert (voxels[0, 0, 0] == 0).all()
        healthy = (labels == 0) & (voxels > 0).all(-1)
        relative = voxels / voxels[healthy].mean(0)
        for part, channel in ((1, 0), (3, 2)):
            if (labels == part).sum() > 20:
                gains[part].append(relative[labels == part][:, channel].mean())
        if (labels == 3).sum() > 20:
            rim = relative[labels == 3].mean(0)
            assert rim[2] > rim[1] + 0.2
    assert min(gains[1]) > 1.1
    assert min(gains[3]) > 1.2


def test_ct_is_in_hounsfield_units(folders):
    orientations = set()
    for image, label in pairs(folders["pancreas"]):
        orientations.add(nib.aff2axcodes(image.affine))
        voxels, labels = np.asarray(image.dataobj), np.asarray(label.dataobj)
        corners = [voxels[i, j, k] for i in (0, -1) for j in (0, -1) for k in (0, -1)]
        assert np.mean(corners) < -950
        assert np.percentile(voxels, 99.8) > 200, "bone"
        assert 60 < np.median(voxels[labels == 1]) < 115
        assert -130 < np.median(voxels[(voxels > -200) & (voxels < -50)]) < -80, "fat"
    assert len(orientations) > 1


def test_a_tumour_grows_at_the_pancreas(folders):
    """Some voxel of the tumour lies within a voxel of the gland; on average it is darker."""
    darker = []
    for image, label in pairs(folders["pancreas"]):
        labels, voxels = np.asarray(label.dataobj), np.asarray(image.dataobj)
        gland = np.pad(labels == 1, 1)
        near = np.zeros_like(gland)
        for axis in range(3):
            for step in (-1, 1):
                near |= np.roll(gland, step, axis)
        assert (near[1:-1, 1:-1, 1:-1] & (labels == 2)).any()
        darker.append(np.median(voxels[labels == 1]) - np.median(voxels[labels == 2]))
    assert 5 < np.mean(darker) < 40
