"""What the rotations are as a group; as classes of the task they are tested in test_rotation.py."""

import itertools

import pytest
import torch

from tools.pretext.rotations import apply_turn, right_angle_rotations

EDGE = 4
DIMS = pytest.mark.parametrize("dims", [2, 3])


def cube(dims):
    """No two voxels alike, so that equal means voxel by voxel."""
    return torch.randperm(EDGE**dims, generator=torch.Generator().manual_seed(dims)).reshape([EDGE] * dims)


def order_of(turn):
    """How often a rotation is repeated until it is none."""
    volume = cube(len(turn.order))
    turned = volume
    for times in itertools.count(1):
        turned = apply_turn(turned, turn)
        if torch.equal(turned, volume):
            return times


@DIMS
def test_the_first_is_none_and_names_are_different(dims):
    turns = right_angle_rotations(dims)
    assert torch.equal(apply_turn(cube(dims), turns[0]), cube(dims))
    assert len({turn.name for turn in turns}) == len(turns)


def test_the_first_ten_are_none_and_three_axes_by_90_180_and_270_degrees():
    """Repeated four, two, four times; each leaves the coordinate along its axis alone."""
    turns = right_angle_rotations(3)[:10]
    assert [order_of(turn) for turn in turns] == [1, 4, 2, 4, 4, 2, 4, 4, 2, 4]
    places = torch.stack(torch.meshgrid(*[torch.arange(EDGE)] * 3, indexing="ij"))
    kept = [[axis for axis in range(3) if torch.equal(apply_turn(places[axis], turn), places[axis])] for turn in turns]
    assert kept == [[0, 1, 2], *[[2]] * 3, *[[0]] * 3, *[[1]] * 3]
    assert [turn.name[-1] for turn in turns[1:]] == [str(axes[0]) for axes in kept[1:]]


def test_the_24_are_the_rotations_of_a_cube():
    """One none, nine half turns, eight thirds about the diagonals, six quarter turns."""
    orders = [order_of(turn) for turn in right_angle_rotations(3)]
    assert {order: orders.count(order) for order in set(orders)} == {1: 1, 2: 9, 3: 8, 4: 6}


def test_in_2d_they_are_repeated_quarter_turns():
    quarter, turned = right_angle_rotations(2)[1], cube(2)
    for turn in right_angle_rotations(2):
        assert torch.equal(apply_turn(cube(2), turn), turned)
        turned = apply_turn(turned, quarter)
    assert torch.equal(turned, cube(2))


@DIMS
def test_leading_dims_are_left_alone(dims):
    images = torch.randn(2, 3, *[EDGE] * dims)
    for turn in right_angle_rotations(dims):
        turned = apply_turn(images, turn)
        for b, c in itertools.product(range(2), range(3)):
            assert torch.equal(turned[b, c], apply_turn(images[b, c], turn))
