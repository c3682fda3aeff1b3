"""Linear maps of images about their middle, sampled linearly, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F

from tools.pretext.turns import Turn, turn_into


def resample(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Sample V linear maps of each image about its middle, linearly, reflecting once at the borders.

    On the CPU, turns of volumes by right angles and flips move voxels, and a map that keeps one axis apart, as turns
    about an axis and zooms do, is sampled line by line: several times as fast, equal up to rounding.

    Args:
        images: (B, C, *spatial).
        matrices: (B, V, dims, dims), from voxels of a view to voxels of the image, axes in the order of the image.

    Returns:
        (B, V, C, *spatial).
    """
    if images.ndim == 4 or images.is_cuda:
        return _resample_voxels(images, matrices)
    views = images.new_empty(*matrices.shape[:2], *images.shape[1:])
    others = []
    for b, v in product(*map(range, matrices.shape[:2])):
        turn = _right_angle_turn(matrices[b, v], images.shape[2:])
        axes = _lone_axes(matrices[b, v])
        if turn is not None:
            turn_into(views[b, v], images[b], turn)
        elif axes is not None:
            _resample_lines(views[b, v], images[b], matrices[b, v], *axes)
        else:
            others.append((b, v))
    if others:
        b, v = torch.tensor(others).unbind(1)
        views[b, v] = _resample_voxels(images[b], matrices[b, v][:, None])[:, 0]
    return views


def _right_angle_turn(matrix: torch.Tensor, size: Sequence[int]) -> Turn | None:
    """The turn by right angles, with or without flips, that a map is; None where voxels fall between voxels."""
    whole = matrix.round()
    if (matrix - whole).abs().amax() > 1e-6 or not torch.equal(whole @ whole.T, torch.eye(len(whole))):
        return None
    order = tuple(whole.abs().argmax(0).tolist())
    if any(size[axis] != edge for axis, edge in zip(order, size, strict=True)):
        return None
    flips = tuple((whole.sum(1) < 0).nonzero().flatten().tolist())
    return Turn("right angles", flips, order)


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
    turn_into(rows.movedim(2, 0), image, Turn("lines last", flips, tuple(image_axes)))
    neighbours, weights = _neighbours(matrix[:2, :2], size[:2], source[:2])
    found = F.embedding_bag(neighbours, rows.flatten(2).flatten(0, 1), mode="sum", per_sample_weights=weights)
    found = found.reshape(*size[:2], len(image), source[2])
    along = torch.zeros(size[2], source[2]).scatter_add_(1, *_neighbours(matrix[2:, 2:].abs(), size[2:], source[2:]))
    if not torch.equal(along, torch.eye(*along.shape)):
        found = found @ along.T
    turn_into(view, found.movedim(2, 0), Turn("lines back", (), tuple(view_axes.index(axis) for axis in range(3))))


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
        line = place + last / 2
        line = torch.lerp(line, line.clamp(-0.5, last + 0.5), 2.0).clamp(0, last)  # reflected
        low, part = line.long(), line.frac()
        ends = torch.stack([low, (low + 1).clamp(max=last)], 1)
        index = (index[..., None] * edge + ends[:, None]).flatten(1)
        weight = (weight[..., None] * torch.stack([1 - part, part], 1)[:, None]).flatten(1)
    return index, weight.float()


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
    extent = torch.tensor(size, dtype=matrices.dtype, device=matrices.device)
    scaled = (matrices * extent / extent[:, None]).flip(-2)
    points: torch.Tensor | float = 0.0
    for axis in reversed(range(len(size))):
        line = (2 * torch.arange(size[axis], device=matrices.device) + 1) / size[axis] - 1
        term = line[:, None] * scaled[..., None, :, axis]
        places = [1] * len(size)
        places[axis] = size[axis]
        points = points + term.reshape(*matrices.shape[:2], *places, len(size))
    return points
