"""Generated lung nodules: found like the published ones, learnable, and not by size or brightness alone."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from tools.data.annotated import find_nodules
from tools.data.formats.npz import read_array
from tools.data.nodule_split import read_published_split, split_nodules
from tools.phantoms.nodules import SHARES, list_nodules, nodule_crop, nodule_phantoms

PATIENTS, SIZE = 12, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(nodule_phantoms(str(tmp_path_factory.mktemp("set") / "nodules"), num_patients=PATIENTS, size=SIZE))


def auc(labels, scores):
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=float)
    ahead = scores[labels][:, None] - scores[~labels]
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def test_layout(folder):
    with open(folder / "info/lidc_nodule_info_new_with_subset.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    nodules = list_nodules(0, PATIENTS)
    assert [row["index"] for row in rows] == [nodule.name for nodule in nodules]
    assert sorted(path.stem for path in (folder / "nodule").iterdir()) == sorted(nodule.name for nodule in nodules)
    assert len({row["uid"] for row in rows}) == PATIENTS < len({row["name"] for row in rows})
    for row in rows:
        voxels, mask = (read_array(folder / f"nodule/{row['index']}.npz", name) for name in ("voxel", "answer1"))
        assert voxels.shape == mask.shape
        assert voxels.dtype == np.uint8
        assert all(SIZE - 5 < edge <= SIZE for edge in voxels.shape)
        assert mask.sum() == int(row["volume"]) > 0
        assert voxels[mask > 0].mean() > 1.5 * np.quantile(voxels, 0.2)
        middle = np.argwhere(mask).mean(0) - np.array(mask.shape) // 2
        assert np.abs(middle).max() < 0.3 * float(row["diameter_mm"])


def test_nodules_are_found_and_the_published_split_leaks(folder, capsys):
    cases = find_nodules(folder)
    counts = Counter(nodule.malignancy for nodule in list_nodules(0, PATIENTS))
    assert Counter(case["label"] for case in cases) == {0: counts[1] + counts[2], 1: counts[4] + counts[5]}
    assert {case["patient"] for case in cases if case["case"].startswith("lidc13_")} <= {"LIDC-IDRI-0001"}
    patients = [{case["patient"] for case in members} for members in split_nodules(cases, folder).values()]
    assert sum(map(len, patients)) == len(set().union(*patients))
    published = read_published_split(folder, cases)
    assert published.repeated > 0
    assert set(published.assigned.values()) == {"train", "test"}
    several = Counter(nodule.patient for nodule in list_nodules(0, 60))
    assert sum(count > 1 for count in several.values()) > 20, "patients that a split by nodule separates"
    capsys.readouterr()


@pytest.mark.parametrize("seed", range(3))
def test_malignancies_are_spread_evenly(seed):
    counts = Counter(nodule.malignancy for nodule in list_nodules(seed, 60))
    for malignancy, share in enumerate(SHARES, 1):
        assert counts[malignancy] / counts.total() == pytest.approx(share, abs=0.04)


def cross_validated_auc(features, labels, folds=6):
    """AUC of a ridge classifier on nodules that it was not fitted to."""
    features, labels, scores = np.array(features, dtype=float), np.array(labels), np.zeros(len(labels))
    fold = np.random.default_rng(0).permutation(len(labels)) % folds
    for held in range(folds):
        train = fold != held
        inputs = (features - features[train].mean(0)) / (features[train].std(0) + 1e-6)
        gram = inputs[train].T @ inputs[train] + 3 * np.eye(inputs.shape[1])
        scores[~train] = inputs[~train] @ np.linalg.solve(
            gram, inputs[train].T @ (labels[train] - labels[train].mean())
        )
    return auc(labels, scores)


def margin_features(voxels, mask):
    """Radiological features: sharpness of the margin, spread of its surroundings, calcium."""
    distance = distance_transform_edt(~mask) - distance_transform_edt(mask)
    inner, near, far = (voxels[(distance > a) & (distance <= b)] for a, b in ((-2, 0), (0, 1.5), (1.5, 4)))
    inside = voxels[mask]
    return [inner.mean() - near.mean(), (far > 100).mean(), near.std(), far.std(), (inside > 220).mean()]


def test_the_margin_predicts_more_than_size_and_brightness():
    labels, trivial, margins = [], [], []
    for nodule in list_nodules(3, 60):
        if nodule.malignancy != 3:
            voxels, mask, _ = nodule_crop(3, nodule, 32)
            voxels, mask = voxels.astype(float), mask > 0
            labels.append(nodule.malignancy > 3)
            inside = voxels[mask]
            trivial.append([mask.sum(), np.cbrt(mask.sum()), inside.mean(), inside.max(), voxels.mean(), voxels.std()])
            margins.append(margin_features(voxels, mask))
    for column in np.array(trivial).T:
        assert max(auc(labels, column), auc(labels, -column)) < 0.8, "no threshold of one feature"
    assert cross_validated_auc(trivial, labels) < 0.8
    assert cross_validated_auc(np.hstack([trivial, margins]), labels) > 0.8
