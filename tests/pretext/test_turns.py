"""The rotations by right angles, against numpy and against what a group of rotations must obey."""

import itertools

import numpy as np
import pytest
import torch

from tools.pretext.turns import apply_turn, right_angle_turns, undo

#: spec 1.4: class -> (k, axes) of numpy.rot90
TABLE = {
    2: [(k, (0, 1)) for k in range(4)],
    3: [
        (0, (0, 1)),
        *[(k, (0, 1)) for k in (1, 2, 3)],
        *[(k, (1, 2)) for k in (3, 2, 1)],
        *[(k, (0, 2)) for k in (3, 2, 1)],
    ],
}
TURNS = [pytest.param(dims, turn, id=f"{dims}d {turn.name}") for dims in (2, 3) for turn in right_angle_turns(dims)]
EDGE = 4


def cube(dims, edge=EDGE):
    """No two voxels alike, so that equal means voxel by voxel."""
    generator = torch.Generator().manual_seed(dims)
    return torch.randperm(edge**dims, generator=generator).reshape([edge] * dims)


def as_matrix(turn):
    """Axes of the view in the image, read off a volume of coordinates; linear everywhere."""
    dims = len(turn.order)
    lines = [torch.arange(EDGE) * 2 - EDGE + 1] * dims
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    found = apply_turn(places, turn)
    steps = [found.diff(dim=1 + axis) for axis in range(dims)]
    columns = [step.flatten(1)[:, 0] for step in steps]
    for step, column in zip(steps, columns, strict=True):
        assert (step == column.reshape(-1, *[1] * dims)).all()
    return torch.stack(columns, 1) // 2


def powers_to_one(turn):
    volume = cube(len(turn.order))
    turned = volume
    for power in itertools.count(1):
        turned = apply_turn(turned, turn)
        if torch.equal(turned, volume):
            return power


def test_there_are_4_in_2d_and_24_in_3d():
    assert [len(right_angle_turns(dims)) for dims in (2, 3)] == [4, 24]


@pytest.mark.parametrize("dims", [2, 3])
def test_classes_are_those_of_numpy_rot90(dims):
    volume = cube(dims)
    for turn, (k, axes) in zip(right_angle_turns(dims), TABLE[dims], strict=False):
        assert np.array_equal(apply_turn(volume, turn).numpy(), np.rot90(volume.numpy(), k, axes))


@pytest.mark.parametrize("dims", [2, 3])
def test_class_zero_is_the_identity(dims):
    assert torch.equal(apply_turn(cube(dims), right_angle_turns(dims)[0]), cube(dims))


@pytest.mark.parametrize("dims", [2, 3])
def test_all_are_different_and_so_are_their_names(dims):
    turns = right_angle_turns(dims)
    found = {tuple(apply_turn(cube(dims), turn).flatten().tolist()) for turn in turns}
    assert len(found) == len({turn.name for turn in turns}) == len(turns)


@pytest.mark.parametrize(("dims", "turn"), TURNS)
def test_voxels_are_moved_by_a_matrix_of_determinant_one(dims, turn):
    """No reflection, no voxel lost or changed."""
    volume = torch.randn([EDGE] * dims)
    assert torch.equal(apply_turn(volume, turn).flatten().sort().values, volume.flatten().sort().values)
    matrix = as_matrix(turn)
    assert (matrix @ matrix.T == torch.eye(dims, dtype=torch.int64)).all()
    assert torch.linalg.det(matrix.float()).item() == pytest.approx(1)


@pytest.mark.parametrize(("dims", "turn"), TURNS)
def test_undo_undoes_from_either_side(dims, turn):
    volume = cube(dims)
    assert torch.equal(apply_turn(apply_turn(volume, turn), undo(turn)), volume)
    assert torch.equal(apply_turn(apply_turn(volume, undo(turn)), turn), volume)


def test_orders_of_the_ten_are_two_or_four():
    assert [powers_to_one(turn) for turn in right_angle_turns(3)[:10]] == [1, 4, 2, 4, 4, 2, 4, 4, 2, 4]


def test_orders_of_the_24_are_those_of_the_cube():
    """One identity, nine half turns, eight thirds about the diagonals, six quarter turns."""
    orders = [powers_to_one(turn) for turn in right_angle_turns(3)]
    assert {order: orders.count(order) for order in set(orders)} == {1: 1, 2: 9, 3: 8, 4: 6}


@pytest.mark.parametrize(("one", "other"), [(1, 3), (4, 6), (7, 9)])
def test_inverse_pairs(one, other):
    turns = right_angle_turns(3)
    assert torch.equal(apply_turn(apply_turn(cube(3), turns[one]), turns[other]), cube(3))


@pytest.mark.parametrize("dims", [2, 3])
def test_one_after_another_is_a_third(dims):
    turns = right_angle_turns(dims)
    known = {tuple(apply_turn(cube(dims), turn).flatten().tolist()) for turn in turns}
    for first, second in itertools.product(turns, repeat=2):
        both = apply_turn(apply_turn(cube(dims), first), second)
        assert tuple(both.flatten().tolist()) in known


def test_two_dimensions_are_cyclic():
    quarter, volume = right_angle_turns(2)[1], cube(2)
    turned = volume
    for turn in right_angle_turns(2):
        assert torch.equal(apply_turn(volume, turn), turned)
        turned = apply_turn(turned, quarter)
    assert torch.equal(turned, volume)


@pytest.mark.parametrize(("dims", "turn"), TURNS)
def test_leading_dims_are_left_alone(dims, turn):
    images = torch.randn(2, 3, *[EDGE] * dims)
    turned = apply_turn(images, turn)
    for b, c in itertools.product(range(2), range(3)):
        assert torch.equal(turned[b, c], apply_turn(images[b, c], turn))
