"""Linear maps of images about their middle, sampled linearly, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F

from tools.pretext.rotations import Rotation90, turn_into

BLOCK = 2**18  # voxels sampled at once: enough to outweigh the calls, few enough to stay in the cache


def resample(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Sample V linear maps of each image about its middle, linearly, reflecting once at the borders.

    On the CPU, turns of volumes by right angles and flips move voxels, a map that keeps one axis apart, as turns about
    an axis and zooms do, is sampled line by line, and any other block by block: several times as fast as by
    `torch.nn.functional.grid_sample`, equal up to rounding.

    Args:
        images: (B, C, *spatial).
        matrices: (B, V, dims, dims), from voxels of a view to voxels of the image, axes in the order of the image.

    Returns:
        (B, V, C, *spatial).
    """
    if images.ndim == 4 or not images.is_cpu:
        return _resample_voxels(images, matrices)
    views = images.new_empty(*matrices.shape[:2], *images.shape[1:])
    for b, v in product(*map(range, matrices.shape[:2])):
        turn = _right_angle_turn(matrices[b, v], images.shape[2:])
        axes = _lone_axes(matrices[b, v])
        if turn is not None:
            turn_into(views[b, v], images[b], turn)
        elif axes is not None:
            _resample_lines(views[b, v], images[b], matrices[b, v], *axes)
        else:
            _resample_blocks(views[b, v], images[b], matrices[b, v])
    return views


def _right_angle_turn(matrix: torch.Tensor, size: Sequence[int]) -> Rotation90 | None:
    """The turn by right angles, with or without flips, that a map is; None where voxels fall between voxels."""
    whole = matrix.round()
    if (matrix - whole).abs().amax() > 1e-6 or not torch.equal(whole @ whole.T, torch.eye(len(whole))):
        return None
    order = tuple(whole.abs().argmax(0).tolist())
    if any(size[axis] != edge for axis, edge in zip(order, size, strict=True)):
        return None
    flips = tuple((whole.sum(1) < 0).nonzero().flatten().tolist())
    return Rotation90("right angles", flips, order)


def _lone_axes(matrix: torch.Tensor) -> tuple[int, int] | None:
    """An axis of the image and the one axis of the view that it depends on, and nothing else does; None without."""
    linked = matrix.abs() > 1e-6  # less is the rounding of a right angle
    lone = linked & (linked.sum(0) == 1) & (linked.sum(1, keepdim=True) == 1)
    places = [(image_axis, view_axis) for image_axis, view_axis in lone.nonzero().tolist()]
    return max(places, key=sum, default=None)  # the later an axis, the less is moved to bring it last


def _resample_lines(
    view: torch.Tensor, image: torch.Tensor, matrix: torch.Tensor, image_axis: int, view_axis: int
) -> None:
    """Write a map that keeps an axis apart: sums of four lines along that axis, then a sampling along the lines.

    Args:
        view: (C, *spatial), written.
        image: (C, *spatial).
        matrix: (3, 3), see `resample`.
        image_axis: the axis in the image.
        view_axis: the axis in the view.
    """
    image_axes, view_axes = ([*(axis for axis in range(3) if axis != lone), lone] for lone in (image_axis, view_axis))
    source, size = [image.shape[1 + axis] for axis in image_axes], [view.shape[1 + axis] for axis in view_axes]
    matrix = matrix[image_axes][:, view_axes]
    flips = (image_axis,) if matrix[2, 2] < 0 else ()
    rows = torch.empty(*source[:2], len(image), source[2])
    turn_into(rows.movedim(2, 0), image, Rotation90("lines last", flips, tuple(image_axes)))
    neighbours, weights = _neighbours(matrix[:2, :2], size[:2], source[:2])
    found = F.embedding_bag(neighbours, rows.flatten(2).flatten(0, 1), mode="sum", per_sample_weights=weights)
    found = found.reshape(*size[:2], len(image), source[2])
    along = torch.zeros(size[2], source[2]).scatter_add_(1, *_neighbours(matrix[2:, 2:].abs(), size[2:], source[2:]))
    if not torch.equal(along, torch.eye(*along.shape)):
        found = found @ along.T
    turn_into(
        view, found.movedim(2, 0), Rotation90("lines back", (), tuple(view_axes.index(axis) for axis in range(3)))
    )


def _neighbours(matrix: torch.Tensor, size: Sequence[int], source: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxels of the image around each voxel of a view, and their weights: both (voxels, 2 to the power of dims).

    Args:
        matrix: (dims, dims), see `resample`.
        size: of the view.
        source: size of the image.
    """
    points = torch.cartesian_prod(*(torch.arange(edge, dtype=torch.float64) - (edge - 1) / 2 for edge in size))
    places = points.reshape(-1, len(size)) @ matrix.double().T
    index, weight = torch.zeros(len(places), 1, dtype=torch.int64), torch.ones(len(places), 1, dtype=torch.float64)
    for place, edge in zip(places.T, source, strict=True):
        last = edge - 1
        line = _reflect(place + last / 2, last)
        low, part = line.long(), line.frac()
        ends = torch.stack([low, (low + 1).clamp(max=last)], 1)
        index = (index[..., None] * edge + ends[:, None]).flatten(1)
        weight = (weight[..., None] * torch.stack([1 - part, part], 1)[:, None]).flatten(1)
    return index, weight.float()


def _resample_blocks(view: torch.Tensor, image: torch.Tensor, matrix: torch.Tensor) -> None:
    """Write any map of a volume, a block of its rows at a time, so that what is in between stays in the cache.

    Args:
        view: (C, *spatial), written.
        image: (C, *spatial).
        matrix: (3, 3), see `resample`.
    """
    size = image.shape[1:]
    strides = (size[1] * size[2], size[2], 1)
    channels = F.pad(image.float().flatten(1), (0, sum(strides)))  # the last voxels' next ones, which weigh nothing
    middle = (torch.tensor(size) - 1) / 2
    rows = torch.cartesian_prod(*(torch.arange(edge) for edge in size[:2])) - middle[:2]
    along = (torch.arange(size[2]) - middle[2])[:, None] * matrix[:, 2]
    starts = (rows @ matrix[:, :2].T + middle).split(max(1, BLOCK // size[2]))
    for block, start in zip(view.flatten(1, 2).split(len(starts[0]), 1), starts, strict=True):
        places = [_reflect(start[:, a, None] + along[:, a], size[a] - 1).flatten() for a in range(3)]
        index = torch.zeros(len(places[0]), dtype=torch.int32)
        for place, stride in zip(places, strides, strict=True):
            index.add_(place.int(), alpha=stride)
        parts = [place.frac_() for place in places]
        for target, voxels in zip(block, channels, strict=True):
            target.copy_(_between(voxels, index, parts, strides).view_as(target))


def _reflect(places: torch.Tensor, last: int) -> torch.Tensor:
    """Places along an axis of the voxels 0 to `last`, reflected once at the outer faces of the border voxels."""
    return places.clamp(-0.5, last + 0.5).mul_(2).sub_(places).clamp_(0, last)


def _between(
    voxels: torch.Tensor, index: torch.Tensor, parts: Sequence[torch.Tensor], strides: Sequence[int]
) -> torch.Tensor:
    """Interpolate between the voxel of an index and the next ones along all axes: (N,).

    Args:
        voxels: all voxels, in raster order.
        index: (N,).
        parts: for each axis, how far each place lies on the way to the next voxel, (N,).
        strides: voxels from one to the next along each axis.
    """
    if not parts:
        return voxels.index_select(0, index)
    near, far = (_between(voxels[shift:], index, parts[1:], strides[1:]) for shift in (0, strides[0]))
    return near.lerp_(far, parts[0])


def _resample_voxels(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Sample any maps; see `resample`."""
    size, views = images.shape[2:], matrices.shape[1]
    points = _sampling_points(matrices, size)
    points = points.clamp(-1, 1).mul_(2).sub_(points)  # 2 - x above 1: grid_sample's own reflection is twice as slow
    points = points.flatten(1, 2)  # the views of an image, one on the other
    found = F.grid_sample(images.float(), points, padding_mode="border", align_corners=False)
    return found.to(images.dtype).unflatten(2, (views, size[0])).movedim(2, 1)


def _sampling_points(matrices: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Where `torch.nn.functional.grid_sample` is to look, (B, V, *size, dims): -1 to 1, last axis first.

    A sum of one term for each axis; `torch.nn.functional.affine_grid` multiplies matrices, three times as slowly.
    """
    extent = torch.tensor(size, dtype=matrices.dtype).to(matrices.device, non_blocking=True)
    scaled = (matrices * extent / extent[:, None]).flip(-2)
    points: torch.Tensor | float = 0.0
    for axis in reversed(range(len(size))):
        line = (2 * torch.arange(size[axis], device=matrices.device) + 1) / size[axis] - 1
        term = line[:, None] * scaled[..., None, :, axis]
        places = [1] * len(size)
        places[axis] = size[axis]
        points = points + term.reshape(*matrices.shape[:2], *places, len(size))
    return points
