import pytest
import torch

from tools.errors import InputError
from tools.pretext import RelativePatchLocation

SIZES = {2: (40, 37), 3: (40, 37, 43)}
DIMS = pytest.mark.parametrize("dims", [2, 3])


def make(dims=3, **kw):
    return RelativePatchLocation(**{"roi_size": SIZES[dims], "gap": 1, "jitter": 3, **kw})


def places(task, batch):
    """Images of which each voxel says where it lies, one channel per axis."""
    lines = [torch.arange(edge).float() for edge in task.roi_size]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(batch, -1, *task.roi_size)


@pytest.fixture
def raw(monkeypatch):
    """Leave the patches as they are cut."""
    monkeypatch.setattr("tools.pretext.rpl.standardise", lambda patches: patches)


@DIMS
@pytest.mark.parametrize("grid", [3, 4])
@pytest.mark.usefixtures("raw")
def test_the_label_is_the_direction_from_anchor_to_neighbour(dims, grid):
    task = make(dims, grid=grid, jitter=1, views_per_volume=3**dims - 1)
    patches, targets = task.apply(places(task, 4), task.draw(4, 1))
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
        params = task.draw(4, step)
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
    seen = torch.cat([task.draw(50, step)["anchor"] for step in range(1, 20)]).unique()
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
def test_no_empty_patch_is_asked_about(dims, views):
    task = make(dims, views_per_volume=views or 3**dims - 1)
    for step in range(1, 6):
        patches, targets = task.apply(half_zero(task, 4), task.draw(4, step))
        flat = patches.flatten(2)
        full = flat.amin(-1) < flat.amax(-1)
        asked = targets >= 0
        assert full[:, 1:][asked].all()
        assert full[:, 0][asked.any(1)].all()
        assert asked.any()
        if views is None:
            assert (~asked).any(1).all()  # the neighbours with content do not suffice


@DIMS
def test_another_neighbour_is_asked_about_in_place_of_an_empty_one(dims):
    task = make(dims, views_per_volume=2)
    images = half_zero(task, 4)
    params = task.draw(4, 1)
    first = params["order"][:, :2]
    _, targets = task.apply(images, params)
    asked = targets >= 0
    assert asked.all()
    assert not torch.equal(targets, first)


@DIMS
def test_an_empty_anchor_is_not_asked_about(dims):
    task = make(dims)
    images = torch.randn(3, 1, *task.roi_size)
    middle = tuple(slice(s, 2 * s) for s in task.layout.stride)
    images[(slice(2), slice(None), *middle)] = 7.0
    _, targets = task.apply(images, task.draw(3, 1))
    assert (targets[:2] == -1).all()
    assert (targets[2] >= 0).all()


@DIMS
@pytest.mark.parametrize("value", [0.0, 0.1, -3e3])
def test_a_constant_image_is_asked_about_everywhere(dims, value):
    task = make(dims)
    params = task.draw(3, 1)
    _, targets = task.apply(torch.full((3, 2, *task.roi_size), value), params)
    assert torch.equal(targets, params["order"][:, :4])


@DIMS
def test_brightness_and_contrast_tell_nothing(dims):
    task = make(dims)
    images = torch.randn(2, 2, *task.roi_size)
    params = task.draw(2, 1)
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
