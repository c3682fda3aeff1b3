"""Rules for spacing and crop size."""

import math

import numpy as np
import pytest

from tools.training.plan.sizes import choose_spacing, fit_to_memory, initial_edges, refine_spacing, shrink

RANDOM = np.random.default_rng(0)
THIN, THICK = [0.8, 0.8, 0.9], [0.8, 0.8, 5.0]


def volumes(spacings, shapes=(200, 200, 40)):
    return np.array(spacings), np.array([shapes] * len(spacings))


def test_the_spacing_is_the_median_of_each_axis():
    assert choose_spacing(*volumes([[1, 2, 1], [1, 3, 1.5], [9, 4, 2]])) == [1, 3, 1.5]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_coarse_axis_has_the_tenth_percentile(axis):
    spacings = np.full((11, 3), 0.8)
    spacings[:, axis] = np.linspace(3, 8, 11)
    shapes = np.full((11, 3), 200)
    assert np.allclose(np.delete(choose_spacing(spacings, shapes), axis), 0.8)
    assert choose_spacing(spacings, shapes)[axis] == np.median(spacings[:, axis])
    shapes[:, axis] = 30
    assert choose_spacing(spacings, shapes)[axis] == 3.5
    spacings[:, axis] /= 2.5  # the median is below three times the others
    assert choose_spacing(spacings, shapes)[axis] == pytest.approx(2.2)


def test_a_coarse_axis_is_not_finer_than_the_others():
    assert choose_spacing(*volumes([[1, 1, 0.2], [1, 1, 5], [1, 1, 5], [1, 1, 5]]))[2] >= 1


def test_the_spacing_does_not_depend_on_the_order():
    spacings, shapes = RANDOM.uniform(0.5, 6, (9, 3)), RANDOM.integers(20, 300, (9, 3))
    order = RANDOM.permutation(9)
    assert choose_spacing(spacings, shapes) == choose_spacing(spacings[order], shapes[order])


def test_an_isotropic_spacing_has_the_same_voxel_volume():
    spacing = choose_spacing(*volumes([THICK]), isotropic=True)
    assert len(set(spacing)) == 1
    assert spacing[0] ** 3 == pytest.approx(math.prod(THICK), rel=0.02)


def test_volumes_that_are_too_small_are_resampled_more_finely():
    sizes = np.array([[35, 50, 36], [31, 41, 24]])
    assert refine_spacing([1.0, 1.0, 2.0], sizes, 32) == [1.0, 1.0, 2.0]
    finer = refine_spacing([1.0, 1.0, 2.0], sizes, 64)
    assert finer[2] == pytest.approx(2 * finer[0])
    assert np.median(sizes, 0).min() / finer[0] == pytest.approx(64, rel=0.01)


def test_the_largest_crop_is_a_cube_in_mm_inside_the_median_volume():
    assert initial_edges([1, 1, 1], [100, 300, 500]) == pytest.approx([100, 256, 256])
    edges = initial_edges([0.5, 0.5, 4], [1000, 1000, 1000])
    assert edges[0] * 0.5 == pytest.approx(edges[2] * 4)


def below(edge):
    return max(16, int(edge // 8) * 8)


@pytest.mark.parametrize("voxels", [1, 5000, 50_000, 500_000])
def test_shrinking_keeps_the_shape_of_the_median_volume(voxels):
    median = [160, 200, 80]
    found = shrink([160, 200, 80], median, voxels, below)
    assert math.prod(found) <= max(voxels, 16**3)
    if voxels > 50_000:
        ratios = [edge / most for edge, most in zip(found, median, strict=True)]
        assert max(ratios) - min(ratios) < 0.12


@pytest.mark.parametrize("power", [1, 1.2, 0.9])
@pytest.mark.parametrize("budget", [1e7, 1e8, 1e10])
def test_the_crop_uses_the_memory(power, budget):
    def memory(size):
        return 1000, round(100 * math.prod(size) ** power)

    size, parts = fit_to_memory([160, 200, 80], [160, 200, 80], budget, below, memory)
    assert parts == memory(size)
    assert sum(parts) <= budget
    assert size == (160, 200, 80) or sum(parts) > budget / 2


def test_the_smallest_crop_is_planned_if_nothing_fits():
    size, parts = fit_to_memory([64, 64, 64], [64, 64, 64], 10, below, lambda size: (1000, math.prod(size)))
    assert size == (16, 16, 16)
    assert sum(parts) > 10
