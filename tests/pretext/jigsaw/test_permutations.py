import pytest
import torch

from tools.pretext.jigsaw.permutations import hamming_distances, permutation_set
from tools.utils.errors import InputError

SETS = [(27, 100, 24), (27, 1000, 23), (36, 100, 33), (64, 100, 61), (9, 100, 6), (9, 50, 7), (16, 100, 13)]
SETS += [(8, 100, 5), (6, 30, 4), (4, 11, 3), (4, 23, 2)]


@pytest.mark.parametrize(("cells", "count", "distance"), SETS)
def test_permutations_differ_from_each_other_and_from_the_identity(cells, count, distance):
    chosen = permutation_set(cells, count, distance)
    identity = torch.arange(cells)
    assert chosen.shape == (count, cells)
    assert torch.equal(chosen.sort(1).values, identity.expand_as(chosen))
    assert hamming_distances(chosen).min() >= distance
    assert (chosen != identity).sum(1).min() >= distance


def test_the_same_set_comes_every_time():
    first = permutation_set(27, 100, 24)
    torch.manual_seed(1)
    assert torch.equal(first, permutation_set(27, 100, 24))


@pytest.mark.parametrize(
    ("cells", "count", "distance", "found"),
    [(9, 100, 7, 100), (9, 2, 10, 2), (4, 24, 0, 24), (2, 2, 2, 2), (1, 2, 1, 2), (9, 1, 6, 1), (9, 0, 6, 0)],
)
def test_a_set_that_cannot_be_found_is_refused(cells, count, distance, found):
    with pytest.raises(InputError, match=rf"num_permutations.*found {found}$") as error:
        permutation_set(cells, count, distance)
    assert "\n" not in str(error.value)


def test_the_maximum_in_the_message_is_possible():
    with pytest.raises(InputError, match="at most") as error:
        permutation_set(9, 1000, 6)
    most = int(str(error.value).split("at most ")[1].split(",")[0])
    assert len(permutation_set(9, most, 6)) == most
