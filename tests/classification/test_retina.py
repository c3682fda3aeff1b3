import pytest
import torch

from tools.classification.grading_transforms import (
    PhotographParams,
    RandPhotographd,
    augment_photograph,
    build_grading_preprocessing,
)
from tools.classification.retina import CropRetinad, LocalContrastd, find_disc
from tools.utils.errors import InputError

VIEWS = ["plain", "noisy", "dark", "cut top and bottom", "cut left", "shadow", "notch"]


def paint(height, width, row, column, radius, gain=150.0, noise=1.0, shadow=0.0, seed=0):
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((x - column) ** 2 + (y - row) ** 2).sqrt()
    light = (
        (distance < radius) * gain * (1 - 0.4 * (distance / radius) ** 2) * (1 - shadow * (x > column + 0.6 * radius))
    )
    grain = noise * torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))
    return (torch.stack([light, 0.5 * light, 0.25 * light]) + grain).round().clamp(0, 255)


def view(kind, seed):
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * float(torch.rand(1, generator=generator))

    height, width = int(uniform(260, 420)), int(uniform(320, 600))
    radius = uniform(0.3, 0.42) * height if height < width else 0.35 * width
    row, column = uniform(radius + 3, height - radius - 3), uniform(radius + 3, width - radius - 3)
    settings = {"gain": uniform(40, 220), "seed": seed}
    settings |= {"noisy": {"noise": 8.0}, "dark": {"gain": 8.0, "noise": 0.7}, "shadow": {"shadow": 0.85}}.get(kind, {})
    if kind == "cut top and bottom":
        radius = 0.57 * height
        row, width, column = height / 2, int(2 * radius + 30), radius + 15
    elif kind == "cut left":
        column = 0.75 * radius
    image = paint(height, width, row, column, radius, **settings)
    if kind == "notch":
        image[:, int(row) - 8 : int(row) + 8, int(column + 0.9 * radius) : int(column + 1.2 * radius)] = 120
    return image, (row, column, radius)


@pytest.mark.parametrize("kind", VIEWS)
def test_the_disc_is_found(kind):
    for seed in range(8):
        image, truth = view(kind, seed)
        found = find_disc(image)
        assert max(abs(a - b) for a, b in zip(found, truth, strict=True)) < 0.03 * truth[2], seed


def test_flipping_flips_and_scaling_scales():
    image, _ = view("plain", 3)
    one, flipped = find_disc(image), find_disc(image.flip(2))
    assert flipped.column == pytest.approx(image.shape[2] - one.column, abs=2)
    larger = find_disc(image.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert [value / 3 for value in larger] == pytest.approx(list(one), abs=2)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 90, 120),
        torch.full((3, 90, 120), 90.0),
        2 * torch.rand(3, 300, 400),
        90 + 3 * torch.randn(3, 300, 400, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_image_without_a_disc_is_refused(image):
    with pytest.raises(InputError, match="a: expected a photograph of the retina"):
        CropRetinad()({"case": "a", "image": image})


def test_image_without_border_is_not_cropped():
    image, (row, column, radius) = view("plain", 1)
    inner = int(0.6 * radius)
    close = image[:, int(row) - inner : int(row) + inner, int(column) - inner : int(column) + inner]
    assert CropRetinad()({"image": close})["image"].shape == close.shape


@pytest.mark.parametrize("kind", VIEWS)
def test_crop_is_a_square_around_the_disc(kind):
    image, (_, _, radius) = view(kind, 5)
    found = CropRetinad()({"image": image})["image"]
    assert found.shape[1] == found.shape[2] == pytest.approx(2 * radius, rel=0.03)
    assert found.isfinite().all()
    edge = found.shape[1]
    assert found[:, edge // 2 - 5 : edge // 2 + 5, edge // 2 - 5 : edge // 2 + 5].amax(0).mean() > 0.5 * found.max() - 8


def test_local_contrast_removes_illumination():
    """Twice the brightness on one side gives nearly the same image; outside the disc it is grey."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    inside = (x**2 + y**2 < 1).float()
    detail = 6 * torch.sin(40 * x) * torch.sin(40 * y)
    images = [(inside * (100 + slope * x + detail))[None].expand(3, -1, -1) for slope in (0.0, 35.0)]
    even, tilted = (LocalContrastd()({"image": image})["image"] for image in images)
    assert (even - tilted).abs().mean() < 0.1 * (even - 128).abs().mean() + 1
    assert (even[:, :8, :8] == 128).all()
    assert (even >= 0).all()
    assert (even <= 255).all()


@pytest.mark.parametrize("local_contrast", [False, True])
def test_photographs_of_any_size_have_one_output_size(tmp_path, local_contrast):
    from PIL import Image

    prepare = build_grading_preprocessing([48, 48], local_contrast=local_contrast)
    for kind in ("plain", "cut top and bottom"):
        path = tmp_path / f"{kind}.png"
        Image.fromarray(view(kind, 2)[0].byte().permute(1, 2, 0).numpy()).save(path)
        sample = prepare({"case": kind, "image": str(path)})
        assert sample["image"].shape == (3, 48, 48)
        assert sample["image"].isfinite().all()
        assert len(sample["hashes"]) == 3


def test_the_same_seed_gives_the_same_view():
    change, image, made = RandPhotographd(), torch.randn(3, 32, 32), []
    for seed in (1, 1, 2):
        change.set_random_state(seed=seed)
        made.append(change({"image": image})["image"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_parameters_have_the_documented_distribution():
    change = RandPhotographd(max_zoom=0.2, intensity_aug=0.1)
    change.set_random_state(seed=0)
    views = [change.randomize() for _ in range(2000)]
    for axis in (0, 1):
        assert sum(axis in view.flips for view in views) == pytest.approx(1000, abs=90)
    assert sum(view.zoom == 1 for view in views) == pytest.approx(1000, abs=90)
    for name, middle, reach in (("zoom", 1, 0.2), ("contrast", 1, 0.1), ("brightness", 0, 0.1)):
        values = torch.tensor([getattr(view, name) for view in views])
        assert values.min() < middle - 0.9 * reach < middle + 0.9 * reach < values.max()
        assert (values - middle).abs().max() <= reach


def test_identity_parameters_return_the_image():
    image = torch.randn(3, 31, 32)
    assert torch.equal(augment_photograph(image, PhotographParams((), 1.0, 1.0, 0.0)), image)
    flipped = augment_photograph(image, PhotographParams((0, 1), 1.0, 1.0, 0.0))
    assert torch.equal(augment_photograph(flipped, PhotographParams((0, 1), 1.0, 1.0, 0.0)), image)
    torch.testing.assert_close(augment_photograph(image, PhotographParams((), 1.0, 1.2, -0.3)), 1.2 * image - 0.3)


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_zoom_is_about_the_centre(zoom):
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = ((x**2 + y**2) < 16**2).float()[None]
    shown = augment_photograph(disc, PhotographParams((), zoom, 1.0, 0.0))
    assert shown.shape == disc.shape
    expected = ((x**2 + y**2) < (16 * zoom) ** 2).float()[None]
    assert (shown - expected).abs().mean() < 0.02


def test_roi_size_must_be_square():
    with pytest.raises(InputError, match="roi_size: expected two equal edges"):
        build_grading_preprocessing([48, 64])
