import itertools

import pytest
import torch

from tools.pretext.rpl.task import RelativePatchLocation
from tools.utils.errors import InputError

SIZES = {2: (40, 37), 3: (40, 37, 43)}
DIMS = pytest.mark.parametrize("dims", [2, 3])


def make(dims=3, **kw):
    return RelativePatchLocation(**{"roi_size": SIZES[dims], "gap": 1, "jitter": 3, "views_per_volume": 4, **kw})


def places(task, batch):
    """Images of voxel coordinates, one channel per axis."""
    lines = [torch.arange(edge).float() for edge in task.roi_size]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(batch, -1, *task.roi_size)


@pytest.fixture
def raw(monkeypatch):
    """Leave the patches as they are cut."""
    monkeypatch.setattr("tools.pretext.rpl.task.standardise", lambda patches: patches)


@DIMS
@pytest.mark.parametrize("grid", [3, 4])
@pytest.mark.usefixtures("raw")
def test_the_label_is_the_direction_from_anchor_to_neighbour(dims, grid):
    task = make(dims, grid=grid, jitter=1, views_per_volume=3**dims - 1)
    patches, targets = task.apply(places(task, 4), task.draw_params(4, 1))
    corners = patches.flatten(3).amin(-1)
    steps = (corners[:, 1:] - corners[:, :1]) / torch.tensor(task.layout.stride)
    assert torch.equal(steps.round().long(), task.directions[targets])
    for row in targets:
        assert sorted(row.tolist()) == list(range(3**dims - 1))


@DIMS
@pytest.mark.usefixtures("raw")
def test_patches_lie_in_their_cells_and_never_touch(dims):
    task = make(dims, views_per_volume=3**dims - 1)
    stride, size = torch.tensor(task.layout.stride), torch.tensor(task.patch_size)
    gaps = []
    for step in range(1, 12):
        params = task.draw_params(4, step)
        patches, targets = task.apply(places(task, 4), params)
        first, last = (bound(patches.flatten(3), -1) for bound in (torch.amin, torch.amax))
        cells = torch.cat([torch.zeros(4, 1, dims), task.directions[targets]], 1) + 1  # the anchor is in the middle
        assert (first >= cells * stride).all()
        assert (last < (cells + 1) * stride).all()
        assert (last - first == size - 1).all()
        ahead = torch.where(task.directions[targets] == 1, first[:, 1:] - last[:, :1] - 1, torch.nan)
        behind = torch.where(task.directions[targets] == -1, first[:, :1] - last[:, 1:] - 1, torch.nan)
        gaps += [ahead.flatten(), behind.flatten()]
    gaps = torch.cat(gaps)
    gaps = gaps[~gaps.isnan()]
    assert set(gaps.tolist()) == set(range(task.gap, task.gap + 2 * task.jitter + 1))


@DIMS
def test_larger_grids_have_several_anchors_all_inside(dims):
    task = make(dims, grid=5)
    seen = torch.cat([task.draw_params(50, step)["anchor"] for step in range(1, 20)]).unique()
    assert torch.equal(seen, task.anchors)
    cell = torch.stack(torch.unravel_index(seen, task.layout.cells), -1)
    assert len(seen) == 3**dims
    assert cell.min() == 1
    assert cell.max() == 3


def half_zero(task, batch):
    images = torch.randn(batch, 1, *task.roi_size, generator=torch.Generator().manual_seed(0))
    images[:, :, : task.roi_size[0] // 2] = 0
    return images


@DIMS
@pytest.mark.parametrize("views", [4, None])
@pytest.mark.usefixtures("raw")
def test_constant_patches_are_no_targets(dims, views):
    task = make(dims, views_per_volume=views or 3**dims - 1)
    for step in range(1, 6):
        patches, targets = task.apply(half_zero(task, 4), task.draw_params(4, step))
        flat = patches.flatten(2)
        full = flat.amin(-1) < flat.amax(-1)
        valid = targets >= 0
        assert full[:, 1:][valid].all()
        assert full[:, 0][valid.any(1)].all()
        assert valid.any()
        if views is None:
            assert (~valid).any(1).all()  # the neighbours with content do not suffice


@DIMS
def test_constant_neighbours_are_replaced_by_others(dims):
    task = make(dims, views_per_volume=2)
    images = half_zero(task, 4)
    params = task.draw_params(4, 1)
    first = params["order"][:, :2]
    _, targets = task.apply(images, params)
    valid = targets >= 0
    assert valid.all()
    assert not torch.equal(targets, first)


@DIMS
def test_a_constant_anchor_has_no_valid_target(dims):
    task = make(dims)
    images = torch.randn(3, 1, *task.roi_size)
    middle = tuple(slice(s, 2 * s) for s in task.layout.stride)
    images[(slice(2), slice(None), *middle)] = 7.0
    _, targets = task.apply(images, task.draw_params(3, 1))
    assert (targets[:2] == -1).all()
    assert (targets[2] >= 0).all()


@DIMS
@pytest.mark.parametrize("value", [0.0, 0.1, -3e3])
def test_all_targets_of_a_constant_image_are_valid(dims, value):
    task = make(dims)
    params = task.draw_params(3, 1)
    _, targets = task.apply(torch.full((3, 2, *task.roi_size), value), params)
    assert torch.equal(targets, params["order"][:, :4])


@DIMS
def test_scores_are_invariant_to_brightness_and_contrast(dims):
    task = make(dims)
    images = torch.randn(2, 2, *task.roi_size)
    params = task.draw_params(2, 1)
    patches, targets = task.apply(images, params)
    other, same = task.apply(images * 3.7 - 2.5, params)
    torch.testing.assert_close(other, patches, rtol=0, atol=1e-4)
    assert torch.equal(same, targets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"grid": 2}, "grid"), ({"grid": (3, 3, 2)}, "grid"), ({"jitter": 12}, "roi_size"), ({"gap": -1}, "gap")],
)
def test_impossible_grids(arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)


def test_more_views_than_neighbours_are_refused():
    with pytest.raises(InputError, match="views_per_volume"):
        make(2, views_per_volume=9)


@pytest.mark.parametrize(("size", "grid"), [((12, 15), (4, 5)), ((12, 15, 9), (4, 5, 3))])
def test_the_anchor_does_not_predict_the_direction(size, grid):
    """Chi-squared of anchor and direction together, p > 1e-4."""
    task = RelativePatchLocation(size, grid, gap=1, jitter=0)
    params = task.sample_params(4000, torch.Generator().manual_seed(2))
    anchors, numbers = params["anchor"][:, 0].unique(return_inverse=True)
    assert len(anchors) == (4 - 2) * (5 - 2)
    classes = len(task.classes)
    counts = torch.bincount(numbers * classes + params["order"][:, 0], minlength=len(anchors) * classes).double()
    expected, freedom = 4000 / len(counts), len(counts) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3  # Wilson and Hilferty
    assert ((counts - expected) ** 2 / expected).sum() < limit


@DIMS
def test_inputs_are_the_anchor_and_the_target_neighbours(dims):
    """Voxel for voxel, sliced and standardised here."""
    task = make(dims, views_per_volume=3, jitter=1, grid=4)
    images, params = torch.randn(4, 2, *task.roi_size), task.draw_params(4, 1)
    patches, targets = task.apply(images, params)
    assert patches.shape == (4, 1 + 3, 2, *task.patch_size)
    for b in range(4):
        anchor = torch.stack(torch.unravel_index(params["anchor"][b, 0], task.layout.cells))
        corners = params["corners"][b].unflatten(0, task.layout.cells)
        for patch, step in zip(patches[b], [torch.zeros_like(anchor), *task.directions[targets[b]]], strict=True):
            corner = corners[tuple(anchor + step)].tolist()
            where = (slice(c, c + s) for c, s in zip(corner, task.patch_size, strict=True))
            flat = images[(b, slice(None), *where)].flatten(1)
            scores = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True, correction=0)
            torch.testing.assert_close(patch.flatten(1), scores, rtol=0, atol=1e-4)


def test_directions_are_numbered_in_raster_order_and_named():
    """Spec 1.2: cell k of the 27 (9), numbered without the central cell."""
    for dims in (2, 3):
        raster = list(itertools.product((-1, 0, 1), repeat=dims))
        raster.pop(3**dims // 2)
        task = make(dims)
        assert task.directions.tolist() == [list(step) for step in raster]
        assert [tuple(map(int, name.split())) for name in task.classes] == raster


@DIMS
def test_neighbours_taken_in_place_of_empty_ones_are_drawn_uniformly(dims):
    """A third of the cells is empty; the others are targets equally often (chi-squared, p > 1e-4)."""
    task = RelativePatchLocation((15,) * dims, gap=1, jitter=0, views_per_volume=2)
    image = torch.randn(1, 1, *[15] * dims)
    image[:, :, :5] = 0
    _, targets = task.apply(image.expand(1500, *image.shape[1:]), task.draw_params(1500, 1))
    assert (targets[:, 0] != targets[:, 1]).all()
    empty = 3 ** (dims - 1)
    counts = torch.bincount(targets[:, 0], minlength=3**dims - 1)
    assert not counts[:empty].any()
    expected = 1500 / (3**dims - 1 - empty)
    assert ((counts[empty:] - expected) ** 2 / expected).sum() < {2: 23.5, 3: 45.9}[dims]


@DIMS
def test_constant_patches_are_no_targets_on_larger_grids(dims):
    task = make(dims, grid=5, jitter=0)
    images = half_zero(task, 1)
    corner = torch.tensor(sum(task.layout.num_cells // 5 ** (axis + 1) for axis in range(dims))).reshape(1, 1)
    images[:, :, : 3 * task.layout.stride[0]] = 0  # rows 0 to 2, all around this anchor
    patches, targets = task.apply(images, task.draw_params(1, 1) | {"anchor": corner})
    assert images.any()
    assert not patches.any()
    assert (targets == -1).all()
