from itertools import product

import pytest
import torch

from tools.pretext.patch_grid import PatchGrid, extract_patches, has_content, standardise
from tools.utils.errors import InputError

GRIDS = [
    PatchGrid.build((48, 48, 48), 3),
    PatchGrid.build((50, 41, 36), (3, 2, 2), jitter=3),
    PatchGrid.build((128, 128), 5, jitter=4, cell_overlap=21),
    PatchGrid.build((128, 128, 128), 4),
    PatchGrid.build((48, 45, 40), 3, jitter=2, gap=3),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_patches_lie_in_their_cell_and_in_the_image(grid, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    corners = grid.patch_corners(50, generator)
    inside = corners - grid.cell_corners()
    assert inside.min() >= 0
    assert inside.max() <= grid.gap // 2 + grid.jitter
    assert (corners + torch.tensor(grid.patch_size) <= torch.tensor(grid.image_size)).all()
    if grid.jitter and seed is not None:
        assert (inside - grid.gap // 2).unique().tolist() == list(range(grid.jitter + 1))


@pytest.mark.parametrize("grid", GRIDS)
def test_cutting_equals_slicing(grid):
    image = torch.randn(2, 2, *grid.image_size)
    corners = grid.patch_corners(2, torch.Generator().manual_seed(0))
    patches = extract_patches(image, corners, grid.patch_size)
    for b in range(2):
        for cell in range(0, grid.num_cells, 3):
            where = [slice(c, c + s) for c, s in zip(corners[b, cell].tolist(), grid.patch_size, strict=True)]
            assert torch.equal(patches[b, cell], image[(b, slice(None), *where)])


@pytest.mark.parametrize("grid", GRIDS)
def test_cutting_does_not_depend_on_how_voxels_lie_in_memory(grid):
    image = torch.randn(2, 3, *grid.image_size)
    corners = grid.patch_corners(2, torch.Generator().manual_seed(0))
    patches = extract_patches(image, corners, grid.patch_size)
    padded = torch.zeros(2, 3, *(edge + 2 for edge in grid.image_size))
    inner = padded[(..., *[slice(1, -1)] * len(grid.image_size))].copy_(image)
    turned = image.movedim(1, -1).contiguous().movedim(-1, 1)
    for stored in (inner, turned, image.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(extract_patches(stored, corners, grid.patch_size), patches)
    shared = image[:1].expand(2, -1, *grid.image_size)
    assert torch.equal(extract_patches(shared, corners, grid.patch_size)[0], patches[0])


def test_published_geometries():
    """Spec of the reference: 3D cells of 32; 2D slices and fundus with overlap and their patch sizes."""
    assert PatchGrid.build((128,) * 3, 4).stride == (32, 32, 32)
    assert PatchGrid.build((128, 128), 5, cell_overlap=21).patch_size == (42, 42)
    assert PatchGrid.build((224, 224), 5, cell_overlap=37).patch_size == (74, 74)


def test_permuting_the_grid_is_gridding_the_permuted_image():
    grid = GRIDS[1]
    image = torch.randn(1, 1, *grid.image_size)
    turned = grid.permute((1, 2, 0))
    patches = extract_patches(image, grid.patch_corners(1, None), grid.patch_size).unflatten(1, grid.cells)
    other = extract_patches(image.permute(0, 1, 3, 4, 2), turned.patch_corners(1, None), turned.patch_size)
    assert torch.equal(other.unflatten(1, turned.cells), patches.permute(0, 2, 3, 1, 4, 6, 7, 5))


def test_impossible_grid():
    with pytest.raises(InputError, match="roi_size"):
        PatchGrid.build((8, 8, 8), 4, jitter=3)


@pytest.mark.parametrize(("jitter", "gap"), [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_patches_are_gap_to_gap_and_twice_the_jitter_apart(jitter, gap):
    grid = PatchGrid.build((40, 43), 4, jitter, gap=gap)
    corners = grid.patch_corners(200, torch.Generator().manual_seed(0)).unflatten(1, grid.cells)
    for axis in range(2):
        starts = corners[..., axis].movedim(1 + axis, 0)
        gaps = starts[1:] - starts[:-1] - grid.patch_size[axis]
        assert gaps.unique().tolist() == list(range(gap, gap + 2 * jitter + 1))


@pytest.mark.parametrize("grid", GRIDS)
def test_steps_take_every_nth_voxel(grid):
    images = torch.randn(2, 2, *grid.image_size)
    corners = grid.patch_corners(2, torch.Generator().manual_seed(0))
    steps = (2, 3, 4)[: len(grid.image_size)]
    thinned = extract_patches(images, corners, grid.patch_size)[(..., *(slice(None, None, step) for step in steps))]
    assert torch.equal(extract_patches(images, corners, thinned.shape[3:], steps), thinned)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_has_content_is_not_constant(dims):
    """Content is found channel by channel, wherever it fills a quarter of a patch."""
    grid = PatchGrid.build((24,) * dims, 2)
    images = torch.zeros(2, 2, *grid.image_size)
    images[:, 1] = 5.0
    corners = grid.patch_corners(2, None)
    assert not has_content(images, corners, grid.patch_size).any()
    images[0, 1, :6] += torch.randn(6, *grid.image_size[1:])
    found = has_content(images, corners, grid.patch_size)
    assert torch.equal(found[0], corners[0, :, 0] == 0)
    assert not found[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardised_patches_have_mean_0_and_deviation_1(dtype):
    patches = (torch.randn(2, 3, 2, 6, 7, 8) * torch.tensor([1e-4, 300]).reshape(2, 1, 1, 1) + 2e-4).to(dtype)
    flat = standardise(patches).flatten(3)
    torch.testing.assert_close(flat.mean(-1), torch.zeros(2, 3, 2, dtype=dtype), rtol=0, atol=1e-5)
    torch.testing.assert_close(flat.std(-1, correction=0), torch.ones(2, 3, 2, dtype=dtype), rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4 / 3, 1e-20, 1e20])
def test_a_standardised_constant_is_zero_exactly(value):
    assert not standardise(torch.full((1, 2, 1, 7, 9, 11), value)).any()


def test_a_gap_leaves_room_or_is_refused():
    with pytest.raises(InputError, match="gap 9"):
        PatchGrid.build((24, 24), 3, gap=9)


def exact_content(images, corners, size):
    """Which patches hold two values in a channel, patch by patch, every voxel read."""
    found = torch.zeros(corners.shape[:2], dtype=torch.bool)
    for b, image in enumerate(images):
        for n, corner in enumerate(corners[b].tolist()):
            where = (slice(c, c + s) for c, s in zip(corner, size, strict=True))
            flat = image[(slice(None), *where)].flatten(1)
            found[b, n] = (flat != flat[:, :1]).any()
    return found


@pytest.mark.parametrize(("size", "cells"), [((40, 44, 36), 3), ((60, 52), 3), ((16, 18, 17), 3)])
def test_content_is_seen_wherever_a_blob_reaches_well_in(size, cells):
    """What grazes a patch less deeply than probes are apart may be missed, seldom; nothing is made up."""
    generator = torch.Generator().manual_seed(0)
    grid = PatchGrid.build(size, cells, jitter=2, gap=1)
    lines = torch.meshgrid(*[torch.arange(s).float() for s in size], indexing="ij")
    images, cores = torch.zeros(40, 2, *size), torch.zeros(40, 2, *size)
    apart = max(1, *(edge // 4 for edge in grid.patch_size))
    hidden = len(size) ** 0.5 * (apart - 1)  # no voxel of a patch is farther from a probe
    noise = 1 + torch.rand(size, generator=generator)
    for i in range(40):
        centre = torch.rand(len(size), generator=generator) * torch.tensor(size)
        radius = hidden + 1 + 6 * torch.rand(1, generator=generator)
        distance = sum((line - c) ** 2 for line, c in zip(lines, centre, strict=True)).sqrt()
        images[i, i % 2] = torch.where(distance < radius, noise, 0)
        cores[i, i % 2] = torch.where(distance < radius - hidden, noise, 0)
    corners = grid.patch_corners(40, generator)
    found = has_content(images, corners, grid.patch_size)
    exact, certain = (exact_content(volumes, corners, grid.patch_size) for volumes in (images, cores))
    assert exact.any()
    assert not exact.all()
    assert not (found & ~exact).any()
    assert not (certain & ~found).any()
    assert (found != exact).float().mean() < 0.1


def test_a_constant_channel_leaves_the_others_alone():
    patches = torch.randn(1, 2, 2, 7, 7, 7)
    alone = standardise(patches[:, :, 1:])
    for value in (0.0, 0.1, 1e20):
        patches[:, :, 0] = value
        assert torch.equal(standardise(patches)[:, :, 1:], alone)


@pytest.mark.parametrize("factor", [1e-6, -1.0, 1e6])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_standardising_forgets_brightness_and_contrast(factor, shift):
    """Up to the sign of the contrast, and as far as a shift leaves anything to see in single precision."""
    patches = torch.randn(2, 3, 2, 6, 7, 8)
    expected = standardise(patches) * (1 if factor > 0 else -1)
    torch.testing.assert_close(standardise(factor * (patches + shift)), expected, rtol=0, atol=1e-4)


def test_in_validation_patches_lie_in_the_middle_to_one_voxel():
    for jitter, gap in product(range(4), range(4)):
        grid = PatchGrid.build((40, 43), 4, jitter, gap=gap)
        before = grid.patch_corners(1, None)[0] - grid.cell_corners()
        behind = torch.tensor(grid.stride) - torch.tensor(grid.patch_size) - before
        assert ((before - behind).abs() <= 2).all()
