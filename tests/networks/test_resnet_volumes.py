import functools

import pytest
import torch
from monai.networks.nets import resnet18

from tools.networks.anisotropic import build_anisotropic_encoder
from tools.networks.classification import ClassificationNetwork
from tools.networks.encoders import build_encoder

PICTURES = {"norm": "batch", "conv1_t_stride": 2, "depth_stride": False}


@functools.cache
def _pretrained():
    """ResNet for images as volumes, with norm layers that differ from their initial values."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", **PICTURES).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            for tensor in (module.weight, module.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, 0, 0.1)
    return encoder


def _image(*size):
    return torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 7, 9, 16])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_pretraining_keeps_the_depth(name, depth):
    with torch.device("meta"):
        encoder = build_encoder(name, **PICTURES)
        maps = encoder.features(torch.empty(1, 1, depth, 45, 70))
    assert [tuple(m.shape[2:]) for m in maps] == [(depth, -(-45 // s), -(-70 // s)) for s in (2, 4, 8, 16, 32)]


@pytest.mark.parametrize(
    ("stride", "size", "expected"),
    [
        (2, (48, 48, 48), [(e, e, e) for e in (24, 12, 6, 3, 2)]),
        (1, (32, 256, 256), [(32 // s, 256 // s, 256 // s) for s in (1, 2, 4, 8, 16)]),
    ],
)
def test_the_same_weights_run_with_equal_strides(stride, size, expected):
    with torch.device("meta"):
        encoder = build_encoder("resnet18", norm="batch", conv1_t_stride=stride)
        maps = encoder.features(torch.empty(1, 1, *size))
    assert [tuple(m.shape[2:]) for m in maps] == expected
    shapes = {key: value.shape for key, value in _pretrained().state_dict().items()}
    assert {key: value.shape for key, value in encoder.state_dict().items()} == shapes


def test_parameter_counts():
    with torch.device("meta"):
        encoder = build_encoder("resnet18", **PICTURES)
        counts = [sum(p.numel() for p in n.parameters()) for n in (encoder, ClassificationNetwork(encoder, 1000))]
    assert counts == [33_160_000, 33_673_000]
    assert len(encoder.state_dict()) == 120


@pytest.mark.parametrize("stride", [1, 2])
def test_pretrained_weights_run_in_stock_monai(stride):
    stock = resnet18(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=stride,
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    ).eval()
    stock.load_state_dict(_pretrained().state_dict(), strict=True)
    encoder = build_encoder("resnet18", norm="batch", conv1_t_stride=stride).eval()
    encoder.load_state_dict(_pretrained().state_dict(), strict=True)
    image = _image(32, 32, 32)
    with torch.no_grad():
        expected = stock(image)
        torch.testing.assert_close(encoder(image).flatten(2).mean(-1), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(_pretrained()(image).flatten(2).mean(-1), expected, atol=1e-2)  # other strides


def test_without_depth_stride_it_is_stock_with_those_strides():
    stock = resnet18(
        spatial_dims=3, n_input_channels=1, conv1_t_stride=2, bias_downsample=False, feed_forward=False
    ).eval()
    stock.load_state_dict(_pretrained().state_dict(), strict=True)
    stock.conv1.stride, stock.maxpool.stride = (1, 2, 2), (1, 2, 2)
    for layer in (stock.layer2, stock.layer3, stock.layer4):
        layer[0].conv1.stride = layer[0].downsample[0].stride = (1, 2, 2)
    image = _image(3, 64, 48)
    with torch.no_grad():
        expected = stock(image)
        torch.testing.assert_close(_pretrained()(image).flatten(2).mean(-1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "live"), [(1, [3]), (3, [1, 2, 3, 4, 5]), (4, list(range(7)))])
def test_taps_of_the_stem_that_only_meet_padding_learn_nothing(depth, live):
    encoder = build_encoder("resnet18", **PICTURES).train()
    images = torch.cat([_image(depth, 64, 64), 2 * _image(depth, 64, 64)])
    encoder(images).square().sum().backward()
    gradient = encoder.conv1.weight.grad.abs().amax((0, 1, 3, 4))
    assert [tap for tap in range(7) if gradient[tap] > 0] == live


def test_reversed_volumes_give_reversed_maps_of_reversed_kernels():
    flipped = build_encoder("resnet18", **PICTURES).eval()
    weights = {k: v.flip(2) if v.ndim == 5 else v for k, v in _pretrained().state_dict().items()}
    flipped.load_state_dict(weights, strict=True)
    image = _image(4, 32, 32)
    with torch.no_grad():
        expected = [m.flip(2) for m in _pretrained().features(image)]
        torch.testing.assert_close(flipped.features(image.flip(2)), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(_pretrained()(image.flip(2)), expected[-1], atol=1e-2)


def test_flat_encoders_start_as_their_shortcuts():
    """So what is seen after the stem is pooled and projected only; all scales train from there."""
    encoder = build_anisotropic_encoder("resnet18").train()
    for layer in (encoder.layer1, encoder.layer2):
        assert not any(block.bn2.weight.any() for block in layer)
    x = encoder.maxpool(encoder.act(encoder.bn1(encoder.conv1(_image(3, 64, 48)))))
    torch.testing.assert_close(encoder.layer1(x), x)
    encoder(_image(3, 64, 48)).square().mean().backward()
    assert all(block.bn2.weight.grad.any() for block in encoder.layer1)
