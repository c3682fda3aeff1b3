import pytest
import torch

from tools.errors import InputError
from tools.pretext.grid import PatchGrid, cut_patches

GRIDS = [
    PatchGrid.build((48, 48, 48), 3),
    PatchGrid.build((50, 41, 36), (3, 2, 2), jitter=3),
    PatchGrid.build((128, 128), 5, jitter=4, overlap=21),
    PatchGrid.build((128, 128, 128), 4),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_patches_lie_in_their_cell_and_in_the_image(grid, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    corners = grid.patch_corners(50, generator)
    inside = corners - grid.cell_corners()
    assert inside.min() >= 0
    assert inside.max() <= grid.jitter
    assert (corners + torch.tensor(grid.patch_size) <= torch.tensor(grid.image_size)).all()
    if grid.jitter and seed is not None:
        assert set(inside.unique().tolist()) == set(range(grid.jitter + 1))


@pytest.mark.parametrize("grid", GRIDS)
def test_cutting_equals_slicing(grid):
    image = torch.randn(2, 2, *grid.image_size)
    corners = grid.patch_corners(2, torch.Generator().manual_seed(0))
    patches = cut_patches(image, corners, grid.patch_size)
    for b in range(2):
        for cell in range(0, grid.num_cells, 3):
            where = [slice(c, c + s) for c, s in zip(corners[b, cell].tolist(), grid.patch_size, strict=True)]
            assert torch.equal(patches[b, cell], image[(b, slice(None), *where)])


def test_published_geometries():
    """Spec of the reference: 3D cells of 32; 2D slices and fundus with overlap and their patch sides."""
    assert PatchGrid.build((128,) * 3, 4).stride == (32, 32, 32)
    assert PatchGrid.build((128, 128), 5, overlap=21).patch_size == (42, 42)
    assert PatchGrid.build((224, 224), 5, overlap=37).patch_size == (74, 74)


def test_permuting_the_grid_is_gridding_the_permuted_image():
    grid = GRIDS[1]
    image = torch.randn(1, 1, *grid.image_size)
    turned = grid.permute((1, 2, 0))
    patches = cut_patches(image, grid.patch_corners(1, None), grid.patch_size).unflatten(1, grid.cells)
    other = cut_patches(image.permute(0, 1, 3, 4, 2), turned.patch_corners(1, None), turned.patch_size)
    assert torch.equal(other.unflatten(1, turned.cells), patches.permute(0, 2, 3, 1, 4, 6, 7, 5))


def test_impossible_grid():
    with pytest.raises(InputError, match="roi_size"):
        PatchGrid.build((8, 8, 8), 4, jitter=3)
