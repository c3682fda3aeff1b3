from collections import Counter
from itertools import combinations
from math import comb

import pytest
import torch

from tools.pretext.cpc.task import CPC, _sample_without_replacement
from tools.utils.errors import InputError


def make(**kw):
    return CPC(**{"roi_size": (16, 16, 16), "grid": 4, "negatives_same_volume": 9, "negatives_other_volumes": 20, **kw})


@pytest.mark.parametrize("seed", range(5))
def test_positive_is_the_cell_ahead(seed):
    """Spec 1.1: the target lies `step` rows ahead in the same column along the drawn axis."""
    task = make(seed=seed)
    index = torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij")).float().expand(3, -1, -1, -1, -1)
    params = task.draw_params(3, 1)
    patches, candidates = task.apply(index, params)
    place = (patches.flatten(5).amin(-1) / 4).flatten(1, 3)
    axis = int(params["axis"])
    ahead = task._steps(task.layout).tolist()
    query = 0
    for step in task.steps:
        for row in range(step, 4):
            for column in range(16):
                cell = candidates[:, query, 0] % 64
                found = place[torch.arange(3), cell]
                assert (found[:, axis] == row).all()
                assert ahead[query] == step
                others = found[:, [(axis + 1) % 3, (axis + 2) % 3]]
                assert (others == torch.tensor([column // 4, column % 4])).all()
                query += 1
    assert query == candidates.shape[1]


def test_numbers_of_negatives_and_no_positive_among_them():
    """Spec 7.10."""
    task = make()
    for step in range(1, 20):
        candidates = task.draw_params(4, step)["candidates"]
        volume = candidates // 64
        assert (candidates[..., 1:] != candidates[..., :1]).all()
        assert ((volume[..., 1:] == volume[..., :1]).sum(-1) == 9).all()
        assert ((volume[..., 1:] != volume[..., :1]).sum(-1) == 20).all()
        for row in candidates.flatten(0, 1):
            assert row.unique().numel() == row.numel()


def test_same_position_of_other_volumes_is_among_the_negatives():
    candidates = torch.cat([make().draw_params(4, step)["candidates"] for step in range(1, 20)])
    same_place = (candidates[..., 1:] % 64 == candidates[..., :1] % 64).float().mean()
    assert same_place == pytest.approx(20 / 29 / 64, rel=0.2)


@pytest.mark.parametrize(("count", "below"), [(0, 4), (1, 4), (2, 5), (4, 5), (5, 5)])
def test_all_sets_are_sampled_equally_often(count, below):
    """Chi-squared with at most 9 degrees of freedom below its 1e-4 quantile."""
    sampled = _sample_without_replacement(6000, count, below, torch.Generator().manual_seed(0))
    found = Counter(tuple(sorted(row)) for row in sampled.tolist())
    expected = 6000 / comb(below, count)
    assert set(found) == set(combinations(range(below), count))
    assert sum((number - expected) ** 2 / expected for number in found.values()) < 33.7


def test_axes_are_drawn_uniformly():
    """Spec 7.3, chi-squared with 2 degrees of freedom below its 1e-4 quantile."""
    task = CPC((3, 3, 3), 3, negatives_same_volume=1, negatives_other_volumes=0)
    counts = torch.zeros(3)
    for step in range(5000):
        counts[task.draw_params(1, step)["axis"]] += 1
    assert ((counts - 5000 / 3) ** 2 / (5000 / 3)).sum() < 18.4


def test_constant_targets_are_excluded_unless_all_are_constant():
    task = make(negatives_other_volumes=0)
    image = torch.randn(2, 1, 16, 16, 16)
    image[0, :, 8:] = 3.0
    image[1] = 0.0
    _, candidates = task.apply(image, task.draw_params(2, 1))
    patches, _ = task.apply(image, task.draw_params(2, 1))
    flat = patches.flatten(4).flatten(1, 3)
    for query in candidates[0]:
        target = flat[0, query[0]]
        assert query[0] == -1 or target.min() < target.max()
    assert (candidates[0, :, 0] == -1).any()
    assert (candidates[1, :, 0] >= 0).all()


def test_overlap_skips_the_row_that_shows_in_the_context():
    assert CPC((128, 128), 5, cell_overlap=21, negatives_same_volume=24).steps == (2, 3)


@pytest.mark.parametrize("cell_overlap", [1, 8, 12, 20])
def test_targets_and_contexts_are_disjoint(cell_overlap):
    task = CPC((64, 64, 64), 6, cell_overlap=cell_overlap, prediction_steps=1)
    first_target = task.steps[0] * task.layout.stride[0]
    assert first_target >= task.layout.patch_size[0] + task.layout.jitter


def test_constant_patches_are_detected_by_channel():
    """Background of another constant in each channel is background all the same."""
    task = make(negatives_other_volumes=0)
    image = torch.randn(1, 2, 16, 16, 16)
    image[:, 0, 8:], image[:, 1, 8:] = 0.0, 1.0
    assert (task.apply(image, task.draw_params(1, 1))[1][..., 0] == -1).any()


def test_the_three_axes_predict_in_the_permuted_volume():
    """The predictions along axis a of a volume are those along axis 0 of the volume with cyclically permuted axes."""
    task = make(roi_size=(16, 20, 24), grid=(4, 4, 4), negatives_other_volumes=0)
    image = torch.randn(1, 1, 16, 20, 24)
    params = task.draw_params(1, 1)
    for axis in range(3):
        order = [(axis + i) % 3 for i in range(3)]
        turned = make(roi_size=[(16, 20, 24)[a] for a in order], negatives_other_volumes=0)
        a, _ = task.apply(
            image, params | {"axis": torch.tensor([axis]), "corners": task.layout.permute(order).patch_corners(1, None)}
        )
        b, _ = turned.apply(
            image.permute(0, 1, *(2 + i for i in order)),
            params | {"axis": torch.tensor([0]), "corners": turned.layout.patch_corners(1, None)},
        )
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prediction_steps": 4}, "prediction_steps"),
        ({"negatives_same_volume": 64}, "negatives_same_volume"),
        ({"negatives_same_volume": 0, "negatives_other_volumes": 0}, "negatives_same_volume"),
    ],
)
def test_impossible_questions(arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)


def test_too_few_other_volumes():
    with pytest.raises(InputError, match="negatives_other_volumes"):
        make().draw_params(1, 1)
