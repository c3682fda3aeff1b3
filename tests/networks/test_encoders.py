import copy
import functools

import pytest
import torch
from monai.networks.nets import BasicUNet, densenet121, resnet18, resnet34, resnet50

from tools.networks.encoders import build_encoder
from tools.utils.errors import InputError

MONAI_NORMS = {
    "group": ("group", {"num_groups": 8}),
    "batch": "batch",
    "instance": ("instance", {"affine": True}),
}


@functools.cache
def _built(name, dims):
    torch.manual_seed(0)
    return build_encoder(name, dims)


def _image(dims, edge, batch=1, channels=1):
    return torch.rand(batch, channels, *[edge] * dims, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", MONAI_NORMS)
def test_unet_is_the_contracting_path_of_basic_unet(norm, dims):
    encoder = build_encoder("unet", dims, in_channels=2, norm=norm)
    stock = BasicUNet(dims, in_channels=2, features=(16, 32, 64, 128, 256, 16), norm=MONAI_NORMS[norm])
    missing, unexpected = stock.load_state_dict(encoder.state_dict(), strict=False)
    assert not unexpected
    decoder = {k for k in stock.state_dict() if k.startswith(("upcat_", "final_conv"))}
    assert set(missing) == {k for k in decoder if not k.endswith("num_batches_tracked")}  # torch fills these in

    levels = [stock.conv_0, stock.down_1, stock.down_2, stock.down_3, stock.down_4]
    seen = []
    for level in levels:
        level.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    image = _image(dims, 32, batch=2, channels=2)
    with torch.no_grad():
        stock(image)
        torch.testing.assert_close(encoder.features(image), seen, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "stock", "dims"), [("resnet18", resnet18, 3), ("resnet34", resnet34, 2), ("resnet50", resnet50, 2)]
)
def test_resnet_with_batch_norm_is_stock(name, stock, dims):
    encoder = build_encoder(name, dims, norm="batch")
    network = stock(spatial_dims=dims, n_input_channels=1, bias_downsample=False, feed_forward=False)
    network.load_state_dict(encoder.state_dict(), strict=True)
    image = _image(dims, 16, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image).flatten(2).mean(-1), network(image))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_densenet_is_stock_without_its_class_layers(norm, dims):
    encoder = build_encoder("densenet121", dims, in_channels=2, norm=norm).eval()
    stock = densenet121(spatial_dims=dims, in_channels=2, out_channels=3, norm=MONAI_NORMS[norm]).eval()
    missing, unexpected = stock.load_state_dict(encoder.state_dict(), strict=False)
    assert not unexpected
    assert sorted(missing) == ["class_layers.out.bias", "class_layers.out.weight"]
    pooled = []
    stock.class_layers.flatten.register_forward_hook(lambda _module, _inputs, output: pooled.append(output))
    image = _image(dims, encoder.min_size[0], batch=2, channels=2)
    with torch.no_grad():
        stock(image)
        torch.testing.assert_close(encoder(image).flatten(2).mean(-1), pooled[0])


def test_densenet_maps_are_those_of_stock_and_not_written_over():
    encoder = _built("densenet121", 2)
    stock = densenet121(spatial_dims=2, in_channels=1, out_channels=1, norm=MONAI_NORMS["group"])
    stock.load_state_dict(encoder.state_dict(), strict=False)
    seen = []
    for name in ("relu0", "denseblock1", "denseblock2", "denseblock3"):
        getattr(stock.features, name).register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    image = _image(2, 40)
    with torch.no_grad():
        stock(image)
        torch.testing.assert_close(encoder.features(image)[:-1], seen, rtol=0, atol=0)


def test_densenet_refuses_less_than_its_smallest_input():
    encoder = _built("densenet121", 2)
    with pytest.raises(RuntimeError, match="too small"):
        encoder(_image(2, encoder.min_size[0] - 1))


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_norm_reaches_every_layer(name):
    kinds = {type(m).__name__ for m in _built(name, 2).modules() if "Norm" in type(m).__name__}
    assert kinds == {"GroupNorm"}


def test_resnet_without_depth_stride_keeps_depth_and_weights():
    with torch.device("meta"):
        thin = build_encoder("resnet18", 3, conv1_t_stride=2, depth_stride=False)
        maps = thin.features(torch.empty(1, 1, 3, 64, 64))
    assert [tuple(m.shape[2:]) for m in maps] == [(3, 64 // s, 64 // s) for s in (2, 4, 8, 16, 32)]
    assert thin.strides == tuple((1, step, step) for step in (2, 4, 8, 16, 32))
    assert thin.state_dict().keys() == _built("resnet18", 3).state_dict().keys()


@pytest.mark.parametrize("name", ["unet", "resnet18", "densenet121"])
def test_smallest_input_of_instance_norm(name):
    encoder = build_encoder(name, 2, norm="instance")
    encoder(_image(2, encoder.min_size[0]))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        encoder(_image(2, encoder.min_size[0] - 1))


def test_copies_are_independent():
    encoder = build_encoder("unet", 2)
    twin = copy.deepcopy(encoder)
    twin.conv_0.conv_0.conv.weight.data.zero_()
    assert encoder.conv_0.conv_0.conv.weight.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "encoder: expected one of .*unet.* found 'resnet81'; did you mean resnet18?"),
        ({"norm": "grup"}, "norm: expected one of group, batch, instance, found 'grup'; did you mean group?"),
        ({"norm": ["grup", {}]}, "did you mean group"),
        ({"norm": ["group"]}, r"norm: expected one of auto, .* found \['group'\]"),
        ({"norm": ["group", {"num_groups": 7}]}, "encoder unet .*divisible"),
        ({"spatial_dims": 4}, "spatial_dims: expected 2 or 3, found 4"),
        ({"in_channels": 0}, "in_channels: expected a whole number above 0, found 0"),
        ({"features": (8, 16)}, "features: expected the widths of 5 levels"),
        ({"name": "densenet121", "width": 8}, "encoder densenet121 .*width"),
        ({"name": "resnet18", "spatial_dims": 2, "depth_stride": False}, "depth_stride: expected True in 2D"),
        ({"name": "p3d63", "spatial_dims": 2}, "spatial_dims: expected 3 for a pseudo-3D network, found 2"),
        ({"name": "mp3d63", "width": 0}, "width: expected a whole number above 0, found 0"),
        ({"name": "mp3d63", "width": 12}, "encoder mp3d63 .*divisible"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        build_encoder(**arguments)
