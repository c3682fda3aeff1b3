import pytest
import torch
import torch.nn.functional as F

from tools.pretext.exemplar.resampling import resample
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.task import case_numbers
from tools.utils.errors import InputError

SIZES = [(12, 12, 12), (9, 12, 14), (16, 16), (11, 16)]


def parameters(matrix, batch=2, brightness=0.0, contrast=1.0):
    """The same linear map, brightness and contrast for all views."""
    return {
        "matrix": matrix.expand(batch, 2, *matrix.shape),
        "brightness": torch.full((batch, 2), brightness),
        "contrast": torch.full((batch, 2), contrast),
    }


def both(images):
    return images[:, None].expand(-1, 2, *images.shape[1:])


@pytest.mark.parametrize("size", SIZES)
def test_no_distortion_returns_the_image(size):
    images = torch.randn(2, 2, *size)
    views, _ = Exemplar(size).apply(images, parameters(torch.eye(len(size))))
    torch.testing.assert_close(views, both(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_negative_diagonal_flips(size):
    images = torch.randn(2, 2, *size)
    for axis in range(len(size)):
        matrix = torch.eye(len(size))
        matrix[axis, axis] = -1
        views, _ = Exemplar(size).apply(images, parameters(matrix))
        torch.testing.assert_close(views, both(images.flip(2 + axis)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_rotation_by_a_right_angle_is_exact(dims):
    images = torch.randn(2, 2, *[12] * dims)
    for a, b in [(0, 1), (1, 2), (0, 2)][: 1 if dims == 2 else 3]:
        matrix = torch.eye(dims)
        matrix[[a, b]] = matrix[[b, a]]
        matrix[a] *= -1  # voxel (i, j) of the view is voxel (-j, i) of the image
        views, _ = Exemplar((12,) * dims).apply(images, parameters(matrix))
        torch.testing.assert_close(views, both(images.rot90(-1, (2 + a, 2 + b))), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 12, 14), (15, 11, 9), (11, 15)])
def test_rotations_of_anisotropic_crops_preserve_distances(size):
    """The centre of a crop of unequal edges is rotated like the centre of a cube, without distortion."""
    images = torch.randn(1, 1, *size)
    edge = min(size)
    middle = images[(..., *(slice((s - edge) // 2, (s + edge) // 2) for s in size))]
    matrix = torch.eye(len(size))
    matrix[[0, 1]] = matrix[[1, 0]]
    matrix[0] *= -1
    views, _ = Exemplar(size).apply(images, parameters(matrix, 1))
    found = views[(..., *(slice((s - edge) // 2, (s + edge) // 2) for s in size))]
    torch.testing.assert_close(found, both(middle.rot90(-1, (2, 3))), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_zoom_of_two_shows_the_middle_half(size):
    line = torch.linspace(-1, 1, size[0]).reshape(-1, *[1] * (len(size) - 1))
    ramp = line.expand(size)[None, None]
    views, _ = Exemplar(size).apply(ramp, parameters(torch.eye(len(size)) / 2, 1))
    torch.testing.assert_close(views[0], both(ramp)[0] / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_views_stay_in_the_range_of_their_image(size):
    task = Exemplar(size, max_zoom=0.5, zoom_prob=1.0, brightness=0.5, contrast=0.9)
    scale = torch.tensor([1.0, 1e-3, 500.0, 1.0]).reshape(4, 1, *[1] * len(size))
    images = torch.randn(4, 2, *size) * scale
    low, high = (bound(images.flatten(2), -1)[:, None] for bound in (torch.amin, torch.amax))
    for step in range(1, 6):
        views = task.apply(images, task.draw_params(4, step))[0].flatten(3)
        assert views.isfinite().all()
        assert (views.amin(-1) >= low).all()
        assert (views.amax(-1) <= high).all()


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_filled_in_from_outside(size):
    """Were there zeros outside, an image without them would show them."""
    task = Exemplar(size, max_zoom=0.9, zoom_prob=1.0)
    images = 1 + torch.rand(3, 1, *size)
    for step in range(1, 6):
        params = task.draw_params(3, step)
        assert resample(images, params["matrix"]).min() >= 1 - 1e-5
        assert task.apply(images, params)[0].min() >= 1


@pytest.mark.parametrize("dims", [2, 3])
def test_transforms_are_rotations_flips_and_zooms(dims):
    task = Exemplar((8,) * dims, zoom_prob=0.5, max_zoom=0.2)
    params = task.sample_params(500, torch.Generator().manual_seed(0))
    matrix = params["matrix"].flatten(0, 1)
    stretch = torch.linalg.svdvals(matrix)
    assert stretch.min() >= 1 / 1.2 - 1e-5
    assert stretch.max() <= 1 / 0.8 + 1e-5
    unzoomed = ((stretch - 1).abs() < 1e-5).all(-1)
    assert unzoomed.float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (torch.linalg.det(matrix) > 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert params["brightness"].abs().max() <= task.brightness
    assert (params["contrast"] - 1).abs().max() <= task.contrast


def test_both_views_of_an_image_differ():
    task = Exemplar((12, 12))
    views, _ = task.apply(torch.randn(20, 1, 12, 12), task.draw_params(20, 1))
    assert (views[:, 0] != views[:, 1]).flatten(1).any(1).float().mean() > 0.9


@pytest.mark.parametrize("cases", [["a"], ["a", "a", "a"]])
def test_a_batch_of_one_case_is_refused(cases):
    images = torch.randn(len(cases), 1, 8, 8)
    with pytest.raises(InputError, match="at least 2 different cases"):
        Exemplar((8, 8)).make_batch({"image": images, "case": cases}, 1)


def test_equal_ids_have_equal_case_numbers():
    numbers = case_numbers(["liver 1", "liver 2", "liver 1", ""])
    assert numbers[0] == numbers[2]
    assert len(numbers.unique()) == 3
    assert (numbers >= 0).all()
    assert len(case_numbers([str(i) for i in range(1000)]).unique()) == 1000


def test_views_of_the_same_case_are_not_negatives():
    task = Exemplar((8, 8))
    _, targets = task.make_batch({"image": torch.randn(3, 1, 8, 8), "case": ["a", "b", "a"]}, 1)
    _, valid = task.top1_correct(torch.randn(3, 2, 4), targets)
    assert torch.equal(valid, torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool())


def test_top1_is_one_for_a_closer_positive_and_half_for_a_tie():
    first = torch.tensor([[0.0], [10.0]])
    second = torch.tensor([[1.0], [9.0]])
    task, targets = Exemplar((8, 8)), torch.arange(2)
    others = ~torch.eye(2, dtype=torch.bool)
    for one, correct in ((second, 1.0), (second.flip(0), 0.0), (torch.full((2, 1), 5.0), 0.5)):
        found, valid = task.top1_correct(torch.stack([first, one], 1), targets)
        assert torch.equal(valid, others)
        assert (found[others] == correct).all()


@pytest.mark.parametrize("name", ["max_zoom", "contrast"])
@pytest.mark.parametrize("value", [1.0, -0.1])
def test_impossible_distortions(name, value):
    with pytest.raises(InputError, match=name):
        Exemplar((8, 8), **{name: value})


@pytest.mark.parametrize("size", SIZES)
def test_sampling_is_that_of_an_affine_grid_with_reflection(size):
    """As written plainly: every axis from -1 to 1, the last first; mirrored at the outer faces of the border voxels."""
    images = torch.randn(2, 2, *size)
    matrices = Exemplar(size, zoom_prob=1.0).draw_params(2, 3)["matrix"]
    extent = torch.tensor(size).float()
    theta = (matrices * extent / extent[:, None]).flip(-1, -2)
    for b in range(2):
        for v in range(2):
            points = F.affine_grid(F.pad(theta[b, v], (0, 1))[None], [1, 1, *size], align_corners=False)
            assert points.abs().max() < 3  # one reflection brings all back
            expected = F.grid_sample(images[b : b + 1], points, padding_mode="reflection", align_corners=False)[0]
            torch.testing.assert_close(resample(images, matrices)[b, v], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("brightness", "contrast"), [(0.1, 1.0), (-0.1, 1.0), (0.0, 0.5), (0.0, 1.5), (0.05, 1.2)])
def test_contrast_is_about_the_mean_and_brightness_a_fraction_of_the_range(brightness, contrast):
    """Channel by channel, and cut off at what the channel holds."""
    images = torch.randn(2, 2, 11, 16) * torch.tensor([1.0, 300.0]).reshape(2, 1, 1) + 5
    views, _ = Exemplar((11, 16)).apply(images, parameters(torch.eye(2), 2, brightness, contrast))
    for image, pair in zip(images, views, strict=True):
        for channel, shown in zip(image, pair.unbind(1), strict=True):
            low, high = channel.min(), channel.max()
            expected = (channel - channel.mean()) * contrast + channel.mean() + brightness * (high - low)
            expected = expected.clamp(low, high).expand_as(shown)
            torch.testing.assert_close(shown, expected, rtol=0, atol=1e-5 * float(high - low))


@pytest.mark.parametrize("dims", [2, 3])
def test_half_of_the_planes_are_rotated_and_half_of_these_by_right_angles(dims):
    """Spec 1.5: nothing, or 0, 90, 180 or 270 degrees, in 3/4 of the planes; otherwise any angle."""
    task = Exemplar((8,) * dims, zoom_prob=0.0)
    matrix = task.sample_params(2000, torch.Generator().manual_seed(0))["matrix"].flatten(0, 1).abs()
    right = ((matrix - matrix.round()).abs() < 1e-5).flatten(1).all(1)
    assert right.float().mean().item() == pytest.approx(0.75 ** {2: 1, 3: 3}[dims], abs=0.03)
    if dims == 2:
        swapped = right & (matrix[:, 0, 1] > 0.5)
        assert swapped.float().mean().item() == pytest.approx(0.25 / 2, abs=0.025)
        angles = matrix[~right, 0, 0].acos() / (torch.pi / 2)
        assert angles.histc(10, 0, 1).tolist() == pytest.approx([len(angles) / 10] * 10, rel=0.4)
    else:  # each axis comes to lie along each
        assert (matrix.mean(0) > 0.1).all()
        assert (matrix[right].mean(0) > 0.05).all()


@pytest.mark.parametrize("batch", [24, 32])  # by default torch.cdist multiplies matrices beyond 25 points
def test_credit_of_embeddings_close_to_each_other_is_exact(batch):
    """As a network about to collapse makes them: positives far closer than negatives, all within 1e-4."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 1, 64, generator=generator) + 1e-4 * torch.randn(batch, 1, 64, generator=generator)
    embeddings = F.normalize(images + 1e-6 * torch.randn(batch, 2, 64, generator=generator), dim=-1)
    correct, valid = Exemplar((8, 8)).top1_correct(embeddings, torch.arange(batch))
    assert (correct[valid] == 1).all()
