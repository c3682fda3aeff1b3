import pytest
import torch

from tools.pretext.jigsaw.permutations import (
    affine_maps,
    finite_field,
    hamming_distances,
    permutation_set,
    projective_maps,
)
from tools.utils.errors import InputError

SETS = [(27, 100, 26), (27, 701, 26), (9, 100, 7), (9, 503, 7), (9, 71, 8)]
OTHERS = [(4, 11, 3), (4, 23, 2), (8, 55, 7), (16, 100, 15), (25, 100, 24), (64, 100, 63)]


@pytest.mark.parametrize(("cells", "count", "distance"), SETS + OTHERS)
def test_any_two_permutations_differ_nearly_everywhere(cells, count, distance):
    chosen = permutation_set(cells, count, 2)
    assert chosen.shape == (count, cells)
    assert hamming_distances(chosen).min() >= distance


@pytest.mark.parametrize(("cells", "count", "distance"), SETS + OTHERS)
def test_rows_are_different_permutations_without_the_identity(cells, count, distance):
    chosen = permutation_set(cells, count, distance)
    identity = torch.arange(cells)
    assert torch.equal(chosen.sort(1).values, identity.expand_as(chosen))
    assert len(chosen.unique(dim=0)) == count
    assert (chosen != identity).any(1).all()


@pytest.mark.parametrize(("cells", "count", "distance"), SETS)
def test_the_same_set_comes_every_time(cells, count, distance):
    first = permutation_set(cells, count, distance)
    for cached in (affine_maps, projective_maps, finite_field):
        cached.cache_clear()
    assert torch.equal(first, permutation_set(cells, count, distance))


def test_the_set_can_be_changed_without_changing_the_next():
    first = permutation_set(9, 71, 8)
    before = first.clone()
    first.zero_()
    assert torch.equal(permutation_set(9, 71, 8), before)


@pytest.mark.parametrize(
    ("cells", "count", "distance", "message"),
    [
        (27, 702, 6, "701 at a distance of 26"),
        (9, 504, 6, "71 at a distance of 8, 503 at a distance of 7"),
        (9, 72, 8, "71 at a distance of 8"),
        (36, 2, 6, "none"),
        (9, 1, 6, "at least 2"),
        (9, 0, 6, "at least 2"),
    ],
)
def test_what_a_set_holds_is_said_when_it_is_too_small(cells, count, distance, message):
    with pytest.raises(InputError, match=message):
        permutation_set(cells, count, distance)


@pytest.mark.parametrize("q", [3, 4, 5, 8, 9])
def test_affine_maps_agree_in_one_place_at_most_and_projective_ones_in_two(q):
    affine, projective = affine_maps(q), projective_maps(q + 1)
    assert affine.shape == (q * (q - 1), q)
    assert hamming_distances(affine).min() >= q - 1
    assert projective.shape == ((q + 1) * q * (q - 1), q + 1)
    assert hamming_distances(projective).min() >= q - 1


@pytest.mark.parametrize("q", [2, 3, 4, 5, 7, 8, 9, 27])
def test_field_axioms(q):
    field = finite_field(q)
    add, multiply, numbers = field.add, field.multiply, torch.arange(q)
    a, b, c = torch.meshgrid(numbers, numbers, numbers, indexing="ij")
    for table in (add, multiply):
        assert torch.equal(table, table.T)
        assert torch.equal(table[table[a, b], c], table[a, table[b, c]])
    assert torch.equal(multiply[a, add[b, c]], add[multiply[a, b], multiply[a, c]])
    assert torch.equal(add[0], numbers)
    assert torch.equal(multiply[1], numbers)
    assert not multiply[0].any()
    assert ((add == 0).sum(1) == 1).all()
    assert (multiply[numbers[1:], field.inverse[1:]] == 1).all()
    assert field.inverse[0] == 0


@pytest.mark.parametrize("q", [0, 1, 6, 10, 12, 35, 36])
def test_there_is_no_field_of_another_size(q):
    assert finite_field(q) is None


def test_members_of_a_set_are_evenly_spaced():
    """In a row they are translations of each other, which differ in all places; spaced, few pairs of them are."""
    distances = hamming_distances(permutation_set(27, 100, 26)).float()
    assert distances.min() == 26
    assert distances.mean() < 26.1
