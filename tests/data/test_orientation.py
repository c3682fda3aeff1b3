"""Figures of volumes in radiological convention: the patient's right on the left of the image, with letters."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor

from tools.detection.figures import SliceDetections
from tools.detection.figures import draw_slices as draw_detections
from tools.pretext.cpc.task import CPC
from tools.pretext.embeddings import draw_components
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.jigsaw.task import Jigsaw
from tools.pretext.mae.task import MaskedAutoencoding
from tools.pretext.preview import Preview
from tools.pretext.rotation.task import Rotation
from tools.pretext.rpl.task import RelativePatchLocation
from tools.segmentation.figures import draw_cases, representative_slice
from tools.utils import figures

SIZE = (24, 30, 36)
LETTERS = {0: ["A", "P"], 1: ["R", "L"], 2: ["R", "L"]}
AXES = pytest.mark.parametrize("axis", [0, 1, 2])


def far(size, axes):
    """Image (1, *size) that is bright at the far end of some axes: right, anterior or superior in RAS."""
    places = torch.meshgrid(*[torch.linspace(0, 1, edge) for edge in size], indexing="ij")
    return torch.stack([places[axis] > 0.7 for axis in axes]).all(0)[None].float()


def drawn(axes):
    """The image of a panel, and its letters from left to right."""
    letters = [text for text in axes.texts if text.get_text() in "RLAPSI"]
    return axes.images[0].get_array(), [text.get_text() for text in sorted(letters, key=lambda t: t.get_position()[0])]


def is_at_top_left(pixels):
    """Whether the brightest third of rows and columns, and no other part, is bright."""
    rows, columns = (edge // 3 for edge in pixels.shape[:2])
    bright = pixels > 0.9
    return bright[: rows - 3, : columns - 3].all() and not bright[rows:].any() and not bright[:, columns:].any()


@AXES
def test_a_voxel_is_displayed_on_its_side(axis):
    volume = np.zeros(SIZE)
    volume[tuple(edge - 1 - place for edge, place in zip(SIZE, (2, 4, 6), strict=True))] = 1
    orientation = figures.Orientation.across(axis)
    pixels = orientation.display(volume.max(axis))
    down, along = {0: (6, 4), 1: (6, 2), 2: (4, 2)}[axis]  # from superior or anterior; from anterior or right
    assert np.argwhere(pixels).tolist() == [[down, along]]
    assert list(orientation.letters) == LETTERS[axis]
    swapped = figures.Orientation(orientation.second, orientation.first)
    np.testing.assert_array_equal(swapped.display(volume.max(axis).T), pixels)


@pytest.mark.parametrize("orientation", [figures.Orientation(0, 2), figures.Orientation(2, 1)])
def test_boxes_lie_where_their_voxels_are_displayed(orientation):
    pixels = np.zeros((20, 30))
    pixels[3:8, 10:12] = 1
    axes = Figure().subplots()
    figures.show(axes, orientation.display(pixels), orientation=orientation)
    figures.draw_box(axes, (3, 10), (5, 2), figures.RED, orientation=orientation)
    [frame] = axes.patches
    rows, columns = (np.flatnonzero(orientation.display(pixels).any(side)) for side in (1, 0))
    assert frame.get_xy() == (columns[0] - 0.5, rows[0] - 0.5)
    assert (frame.get_width(), frame.get_height()) == (len(columns), len(rows))


TASKS = {
    "rpl": (lambda size: RelativePatchLocation(size, 3, 1, 0, 2), (2, 26), 2),
    "jigsaw": (lambda size: Jigsaw(size, 2, 1, 0, 4, 2, 2), (2, 4), 0),
    "exemplar": (Exemplar, (2, 8), 0),
    "mae": (lambda size: MaskedAutoencoding(size, 6, 0.5), None, 2),
}


def preview_of(name, size, images):
    """Panel of a task's figure that shows the image itself."""
    build, predictions, panel = TASKS[name]
    task = build(size)
    params = task.draw_params(2, 1)
    prediction = task.apply(images, params)[1] if predictions is None else torch.rand(2, *predictions)
    return task.figure(images, params, prediction).axes[panel]


@pytest.mark.parametrize("name", list(TASKS))
def test_pretext_figures_of_volumes(name):
    noise = 0.05 * torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(0))  # constant patches are not used
    pixels, letters = drawn(preview_of(name, SIZE, 0.95 * far(SIZE, (0, 1)) + noise))
    assert is_at_top_left(pixels)
    assert letters == ["R", "L"]


@AXES
@pytest.mark.parametrize("name", ["jigsaw", "exemplar", "mae"])
def test_pretext_figures_of_slices_of_volumes(name, axis):
    images = far(SIZE[:2], (0, 1)).expand(2, 1, *SIZE[:2])
    with figures.slices_across(axis):
        pixels, letters = drawn(preview_of(name, SIZE[:2], images))
    assert is_at_top_left(pixels)
    assert letters == LETTERS[axis]


@pytest.mark.parametrize("name", ["jigsaw", "exemplar", "mae"])
def test_photographs_stay_as_they_are(name):
    images = far(SIZE[:2], (0, 1)).expand(2, 1, *SIZE[:2])
    pixels, letters = drawn(preview_of(name, SIZE[:2], images))
    np.testing.assert_allclose(pixels, images[0, 0], atol=1e-6)
    assert letters == []


@AXES
def test_predictive_coding_is_drawn_upright_for_any_axis(axis):
    task = CPC(SIZE, 3, negatives_same_volume=2, negatives_other_volumes=2)
    params = next(p for p in (task.draw_params(2, step) for step in range(99)) if int(p["axis"]) == axis)
    across = (axis + 2) % 3
    images = far(SIZE, [a for a in range(3) if a != across]).expand(2, 1, *SIZE)
    questions = len(params["candidates"][0])
    panel = task.figure(images, params, torch.rand(2, questions, 2 * 27)).axes[0]
    pixels, letters = drawn(panel)
    assert is_at_top_left(pixels)
    assert letters == LETTERS[across]


def test_rotations_are_drawn_beside_the_upright_image():
    task = Rotation((24,) * 3, 10, 2)
    image = sum(far(task.roi_size, axes) for axes in ((0, 1), (0, 2), (1, 2))).clamp(max=1)
    images = image.expand(2, 1, *task.roi_size)
    reference, *others = task.figure(images, task.draw_params(2, 1), torch.rand(2, 2, 10)).axes[:3]
    pixels, letters = drawn(reference)
    assert all(is_at_top_left(pixels[:, start : start + 24]) for start in (0, 24, 48))
    assert letters == ["A", "P", "R", "L", "R", "L"]
    assert all(drawn(other)[1] == [] for other in others)


def test_mosaics_lie_as_their_image():
    task = Jigsaw((24, 24, 24), 2, 0, 0, 4, 2, 1)
    images = far(task.roi_size, (0, 1)).expand(2, 1, *task.roi_size)
    params = task.draw_params(2, 1)
    chances = torch.nn.functional.one_hot(params["label"], 4) * 99.0
    unshuffle = task.figure(images, params, chances).axes[2].images[0].get_array()
    for layer in (unshuffle[:, :28], unshuffle[:, -28:]):
        assert layer[3:7, 3:7].min() > 0.9
        assert layer[11:13, 3:11].max() < 0.5
        assert layer[17:25, 17:25].max() < 0.5


@AXES
def test_segmented_cases(axis):
    image = far(SIZE, [other for other in range(3) if other != axis])
    affine = torch.diag(torch.tensor([1.0, 2.0, 5.0, 1.0]))
    shown = representative_slice("case", MetaTensor(image, affine=affine), image > 0, image > 0, axis)
    for panel in draw_cases([shown], ["bright"]).axes:
        pixels, letters = drawn(panel)
        assert is_at_top_left(pixels)
        assert letters == LETTERS[axis]
        assert panel.get_aspect() == pytest.approx({0: 5 / 2, 1: 5, 2: 2}[axis])
    assert shown.label[0].tolist() == shown.prediction[0].tolist() == (shown.image > 0).tolist()


def test_embeddings():
    image = sum(far(SIZE, axes) for axes in ((0, 1), (0, 2), (1, 2))).clamp(max=1)
    panels = draw_components(image, torch.rand(5, 3, 3, 3), "case").axes
    assert [drawn(panel)[1] for panel in panels] == [LETTERS[axis] for axis in (0, 1, 2, 0, 1, 2)]
    assert all(is_at_top_left(drawn(panel)[0]) for panel in panels[:3])


def test_detections_are_marked_as_published():
    shown = SliceDetections("case", np.eye(8), None, torch.zeros(0, 4), torch.zeros(0))
    pixels, letters = drawn(draw_detections([shown]).axes[0])
    np.testing.assert_array_equal(pixels, np.eye(8))
    assert letters == ["R", "L"]


def test_the_preview_of_slices_uses_their_axis(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, path: saved.append(figure))
    task = Exemplar((24, 30))
    images = far((24, 30), (0, 1)).expand(2, 1, 24, 30)
    Preview(tmp_path / "preview.png", task, 0)._draw(images, task.draw_params(2, 1), torch.rand(2, 2, 8))
    assert drawn(saved[0].axes[0])[1] == ["A", "P"]
