import pytest
import torch

from tools.networks.depth_pooling import DEPTH_POOLINGS, GroupTransform, build_depth_pooling
from tools.networks.encoders import build_encoder
from tools.utils.errors import InputError


def _maps(depth=5, channels=3):
    return torch.randn(2, channels, depth, 4, 6, generator=torch.Generator().manual_seed(depth))


def _with(weight):
    module = GroupTransform(*weight.shape)
    module.weight.data = weight
    return module


@pytest.mark.parametrize("depth", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("name", DEPTH_POOLINGS)
def test_projections(name, depth):
    x, key = _maps(depth), (depth - 1) // 2
    depth_pooling = build_depth_pooling(name, 3, depth)
    expected = {"center": x[:, :, key], "mean": x.mean(2), "max": x.max(2).values, "gtm": x[:, :, key]}[name]
    torch.testing.assert_close(depth_pooling(x), expected)
    torch.testing.assert_close(torch.jit.script(depth_pooling)(x), expected)


def test_group_transform_of_equal_weights_is_the_mean():
    torch.testing.assert_close(_with(torch.full((3, 5), 1 / 5))(_maps()), _maps().mean(2))


def test_group_transform_of_one_slice_is_that_slice():
    for d in range(5):
        weight = torch.zeros(3, 5)
        weight[:, d] = 1
        assert _with(weight)(_maps()).equal(_maps()[:, :, d])


def test_group_transform_is_the_grouped_convolution():
    weight, x = torch.randn(3, 5), _maps()
    folded = torch.nn.functional.conv2d(x.flatten(1, 2), weight.view(3, 5, 1, 1), groups=3)
    torch.testing.assert_close(_with(weight)(x), folded)


def test_group_transform_keeps_channels_apart():
    module, x = _with(torch.randn(3, 5)), _maps()
    other = x.clone()
    other[:, 1] += 1
    changed = (module(other) - module(x)).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_group_transform_learns_every_slice_from_its_start():
    module = GroupTransform(3, 5)
    module(_maps()).square().sum().backward()
    assert module.weight.grad.all()


def test_group_transforms_of_the_paper_have_3840_weights_per_slice():
    with torch.device("meta"):
        encoder = build_encoder("mp3d63")
        levels = zip(encoder.channels, [edges[0] for edges in encoder.map_sizes((9, 64, 64))], strict=True)
        count = sum(p.numel() for c, d in levels for p in build_depth_pooling("gtm", c, d).parameters())
    assert count == 3840 * 9 == 34_560


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("centre", 3, 5),
            "depth_pooling: expected one of center, mean, max, gtm, found 'centre'; did you mean center",
        ),
        (("gtm", 3, 0), "depth: expected a whole number of slices above 0, found 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        build_depth_pooling(*arguments)


@pytest.mark.parametrize("depth", [1, 4])
def test_group_transform_refuses_another_depth(depth):
    with pytest.raises(InputError, match=rf"maps: expected channels and slices \[3, 5\], found \[3, {depth}\]"):
        build_depth_pooling("gtm", 3, 5)(_maps(depth))
