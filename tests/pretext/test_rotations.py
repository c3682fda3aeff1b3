"""Group properties of rotations; their use as classes is tested in rotation/test_task.py."""

import itertools

import pytest
import torch

from tools.pretext.rotations import right_angle_rotations, rotate

EDGE = 4
DIMS = pytest.mark.parametrize("dims", [2, 3])


def cube(dims):
    """No two voxels alike, so that equal means voxel by voxel."""
    return torch.randperm(EDGE**dims, generator=torch.Generator().manual_seed(dims)).reshape([EDGE] * dims)


def order_of(rotation):
    """How often a rotation is repeated until it is none."""
    volume = cube(len(rotation.order))
    turned = volume
    for times in itertools.count(1):
        turned = rotate(turned, rotation)
        if torch.equal(turned, volume):
            return times


@DIMS
def test_the_first_is_none_and_names_are_different(dims):
    rotations = right_angle_rotations(dims)
    assert torch.equal(rotate(cube(dims), rotations[0]), cube(dims))
    assert len({rotation.name for rotation in rotations}) == len(rotations)


def test_the_first_ten_are_none_and_three_axes_by_90_180_and_270_degrees():
    """Repeated four, two, four times; each leaves the coordinate along its axis alone."""
    rotations = right_angle_rotations(3)[:10]
    assert [order_of(rotation) for rotation in rotations] == [1, 4, 2, 4, 4, 2, 4, 4, 2, 4]
    places = torch.stack(torch.meshgrid(*[torch.arange(EDGE)] * 3, indexing="ij"))
    kept = [
        [axis for axis in range(3) if torch.equal(rotate(places[axis], rotation), places[axis])]
        for rotation in rotations
    ]
    assert kept == [[0, 1, 2], *[[2]] * 3, *[[0]] * 3, *[[1]] * 3]
    assert [rotation.name[-1] for rotation in rotations[1:]] == [str(axes[0]) for axes in kept[1:]]


def test_the_24_are_the_rotations_of_a_cube():
    """One none, nine half rotations, eight thirds about the diagonals, six quarter rotations."""
    orders = [order_of(rotation) for rotation in right_angle_rotations(3)]
    assert {order: orders.count(order) for order in set(orders)} == {1: 1, 2: 9, 3: 8, 4: 6}


def test_in_2d_they_are_multiples_of_90_degrees():
    quarter, turned = right_angle_rotations(2)[1], cube(2)
    for rotation in right_angle_rotations(2):
        assert torch.equal(rotate(cube(2), rotation), turned)
        turned = rotate(turned, quarter)
    assert torch.equal(turned, cube(2))


@DIMS
def test_leading_dims_are_unchanged(dims):
    images = torch.randn(2, 3, *[EDGE] * dims)
    for rotation in right_angle_rotations(dims):
        turned = rotate(images, rotation)
        for b, c in itertools.product(range(2), range(3)):
            assert torch.equal(turned[b, c], rotate(images[b, c], rotation))
