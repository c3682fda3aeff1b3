import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from tools.segmentation.labels import SoftmaxLabels, build_brats_labels
from tools.segmentation.metrics import CaseDice, dice_scores, hausdorff_95


def pairs(count=100):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randint(0, 4, (2, 1, 1, 5, 6, 4), generator=generator).unbind(0)


def test_region_scores_are_counts_of_voxels():
    label_manager = build_brats_labels()
    for truth, prediction in pairs():
        scores = dice_scores(label_manager.masks(prediction), label_manager.masks(truth))[0]
        for score, members in zip(scores.tolist(), label_manager.classes.values(), strict=True):
            t, a = ({i for i, v in enumerate(x.flatten().tolist()) if v in members} for x in (truth, prediction))
            assert score == pytest.approx(2 * len(t & a) / (len(t) + len(a)), abs=1e-6)


def test_empty_masks_follow_the_policy():
    full = torch.zeros(1, 1, 6, 8, 10, dtype=torch.bool)
    full[..., 2:4, 2:4, 2:4] = True
    empty = torch.zeros_like(full)
    spacing = (1.0, 2.0, 3.0)
    diagonal = math.hypot(6, 16, 30)
    for prediction, truth, dice, distance in (
        (empty, empty, 1, 0),
        (full, empty, 0, diagonal),
        (empty, full, 0, diagonal),
    ):
        assert float(dice_scores(prediction, truth)) == dice
        assert float(hausdorff_95(prediction, truth, spacing)) == pytest.approx(distance, rel=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distance_is_in_millimetres(axis):
    """A slab is shifted by two voxels."""
    spacing = (1.0, 2.5, 4.0)
    slab = torch.zeros(1, 1, 20, 20, 20, dtype=torch.bool)
    slab.select(2 + axis, 8).fill_(True)
    assert float(hausdorff_95(slab.roll(2, 2 + axis), slab, spacing)) == pytest.approx(2 * spacing[axis])


def surface_distances(mask, other, spacing):
    """Distances from the surface voxels of a mask to the surface of another mask."""
    points = [np.argwhere(one & ~binary_erosion(one)) * spacing for one in (mask, other)]
    return cdist(*points).min(1)


@pytest.mark.parametrize("seed", range(5))
def test_distance_is_the_95th_percentile_of_the_definition(seed):
    rng, spacing = np.random.default_rng(seed), np.array([1.0, 2.5, 4.0])
    masks = np.zeros((2, 16, 14, 12), bool)
    for mask in masks:
        for _ in range(3):
            corner = rng.integers(2, 6, 3)
            mask[tuple(slice(c, c + e) for c, e in zip(corner, rng.integers(2, 7, 3), strict=True))] = True
    found = float(hausdorff_95(*torch.from_numpy(masks)[:, None, None], spacing.tolist()))
    both = [surface_distances(*pair, spacing) for pair in (masks, masks[::-1])]
    wanted, *others = (max(np.percentile(one, level) for one in both) for level in (95, 85, 100))
    assert found == pytest.approx(wanted, abs=1e-4)
    assert all(abs(other - wanted) > 0.01 for other in others)


def test_metric_is_the_mean_over_cases_and_classes():
    label_manager = SoftmaxLabels(["a", "b"])
    truths, scores = [], []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        truths.append(torch.randint(0, 3, (1, 1, 4, 5 + seed, 6), generator=generator))
        scores.append(torch.randn(1, 3, 4, 5 + seed, 6, generator=generator))
    engine = Engine(lambda _, batch: batch)
    CaseDice(label_manager).attach(engine, "mean_dice")
    state = engine.run([{"pred": s, "label": t} for s, t in zip(scores, truths, strict=True)])
    each = torch.stack(
        [
            dice_scores(label_manager.masks(label_manager.decode(s)), label_manager.masks(t))[0]
            for s, t in zip(scores, truths, strict=True)
        ]
    )
    assert state.metrics["mean_dice"] == pytest.approx(float(each.mean()))
    assert state.metrics["dice_b"] == pytest.approx(float(each[:, 1].mean()))
