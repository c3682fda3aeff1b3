import dataclasses

import numpy as np
import pytest

from tools.phantoms.camera import View
from tools.phantoms.strokes import draw_segments, draw_spots, join_spots, make_spots, no_spots


def stroke(start, end, radius, shape=(40, 60)):
    return draw_segments(shape, np.array([start]), np.array([end]), np.array([radius]), np.ones(1))


def spots(*centres, radius=5.0, stretch=1.0):
    return make_spots(
        np.random.default_rng(0), np.array(centres), (radius, radius), (stretch, stretch), ragged=0.0, strength=(1, 1)
    )


def test_thick_stroke_has_the_area_of_its_outline():
    cover = stroke((10.0, 20.0), (40.3, 13.4), 3.0)
    assert cover.max() == 1
    assert float(cover.sum()) == pytest.approx(2 * 3 * 31.0 + np.pi * 9, rel=0.02)
    assert cover[20, 10] == 1
    assert cover[13, 40] == 1
    assert cover[30, 40] == 0


def test_thin_stroke_is_faint():
    cover = stroke((10.0, 20.2), (50.0, 20.2), 0.2)
    assert cover.max() <= 0.41
    assert float(cover.sum()) == pytest.approx(2 * 0.2 * 40, rel=0.1)


def test_joined_strokes_do_not_darken_where_they_meet():
    ends = np.array([(30.0, 20.0), (50.0, 20.0)])
    cover = draw_segments((40, 60), np.array([(10.0, 20.0), (30.0, 20.0)]), ends, np.full(2, 2.0), np.full(2, 0.5))
    assert cover.max() == 0.5
    assert np.allclose(cover, 0.5 * stroke((10.0, 20.0), (50.0, 20.0), 2.0), atol=1e-5)


def test_what_lies_beyond_the_border_is_left_out():
    assert stroke((-10.0, -10.0), (70.0, 50.0), 2.0).max() == 1
    assert stroke((-90.0, 20.0), (-70.0, 20.0), 2.0).max() == 0
    whole, half = draw_spots((40, 60), spots((30, 20))), draw_spots((40, 60), spots((-0.5, 20)))
    assert float(half.sum()) == pytest.approx(float(whole.sum()) / 2, rel=0.03)


@pytest.mark.parametrize("softness", [0.0, 0.6])
@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_spots(softness, stretch):
    cover = draw_spots((40, 60), spots((20.4, 18.7), (45, 20), stretch=stretch), softness)
    assert float(cover.sum()) == pytest.approx(2 * np.pi * 25, rel=0.08)
    assert cover[19, 20] == 1
    assert cover[20, 33] == 0


def test_a_spot_points_where_it_is_told():
    blot = dataclasses.replace(spots((30, 20), stretch=4.0), angles=np.array([np.pi / 2]))
    cover = draw_spots((40, 60), blot)
    assert cover[28, 30] == 1
    assert cover[20, 38] == 0


def test_nothing_to_draw():
    empty = np.zeros((0, 2))
    assert draw_segments((4, 5), empty, empty, np.zeros(0), np.zeros(0)).shape == (4, 5)
    assert draw_spots((4, 5), no_spots()).max() == 0
    assert len(join_spots([]).radii) == 0
    assert len(join_spots([no_spots(), spots((1, 2))]).radii) == 1


@pytest.mark.parametrize("left", [False, True])
def test_view_maps_there_and_back(left):
    view = View(left, (80, 100), (52.0, 39.0, 45.0), 45.0, np.array([4.0, 1.0]), 0.2)
    x, y = (p.numpy() for p in view.degrees())
    rows, columns = np.array([3, 40, 77]), np.array([90, 10, 55])
    points = np.stack([x[rows, columns], y[rows, columns]], axis=1)
    assert np.allclose(view.to_pixels(points), np.stack([columns, rows], axis=1), atol=1e-3)
    nasal, up = view.to_pixels(np.array([(14.0, 1.0), (4.0, 11.0)])) - view.circle[:2]
    assert (nasal[0] < 0) == left
    assert up[1] < 0
    assert np.hypot(*nasal) == pytest.approx(10 * view.scale)
    streak = view.spots(dataclasses.replace(spots((4, 1)), angles=np.zeros(1)))
    assert abs(np.cos(streak.angles[0] - np.arctan2(*nasal[::-1]))) == pytest.approx(1)
