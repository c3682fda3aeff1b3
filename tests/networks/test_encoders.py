import copy
import functools
import json

import pytest
import torch
from monai.networks.nets import BasicUNet, densenet121, resnet18, resnet34, resnet50

from tools.networks.encoder import ENCODERS, build_encoder
from tools.utils.errors import InputError

STACKS = [name for name in ENCODERS if "p3d" in name]  # pseudo-3D: no 2D, and a depth of its own; see test_p3d.py
CASES = [
    pytest.param(name, dims, id=f"{name}-{dims}d") for name in ENCODERS for dims in ((3,) if name in STACKS else (2, 3))
]
MONAI_NORMS = {
    "group": ("group", {"num_groups": 8}),
    "batch": "batch",
    "instance": ("instance", {"affine": True}),
}


@functools.cache
def _built(name, dims):
    torch.manual_seed(0)
    return build_encoder(name, dims, **({"width": 16} if name in STACKS else {}))


def _image(dims, edge, batch=1, channels=1):
    return torch.rand(batch, channels, *[edge] * dims, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "dims"), CASES)
class TestEveryEncoder:
    def test_maps_agree_with_channels_and_strides(self, name, dims):
        encoder = _built(name, dims)
        edge = max(encoder.strides)
        with torch.no_grad():
            maps = encoder.features(_image(dims, edge))
        assert [m.shape[1] for m in maps] == list(encoder.channels)
        assert [list(m.shape[3:]) for m in maps] == [[edge // s] * (dims - 1) for s in encoder.strides]
        if name not in STACKS:
            assert [m.shape[2] for m in maps] == [edge // s for s in encoder.strides]
            assert encoder.depth_strides == encoder.strides
        assert (encoder.spatial_dims, encoder.in_channels) == (dims, 1)

    def test_scripted_equals_eager_and_forward_is_last_map(self, name, dims):
        encoder = _built(name, dims)
        scripted, image = torch.jit.script(encoder), _image(dims, max(encoder.min_size, 16))
        with torch.no_grad():
            maps, last, again = encoder.features(image), scripted(image), scripted.features(image)
            torch.testing.assert_close(encoder(image), maps[-1], rtol=0, atol=0)
        torch.testing.assert_close(last, maps[-1])
        torch.testing.assert_close(again, maps)

    def test_smallest_input_trains_every_parameter(self, name, dims):
        encoder = copy.deepcopy(_built(name, dims))
        for key, parameter in encoder.named_parameters():
            if key.endswith("bn3.weight"):
                parameter.data.fill_(1)  # from 0, where P3D's bottlenecks start, nothing reaches what is before
        maps = encoder.features(_image(dims, max(encoder.min_size, 4)))
        sum((m * torch.rand_like(m)).sum() for m in maps).backward()
        assert not [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]

    def test_batched_equals_single(self, name, dims):
        encoder = _built(name, dims)
        images = _image(dims, max(encoder.min_size, 16), batch=2)
        with torch.no_grad():
            single = torch.cat([encoder(images[:1]), encoder(images[1:])])
            torch.testing.assert_close(encoder(images), single, rtol=1e-4, atol=1e-4)

    def test_arguments_rebuild_it(self, name, dims):
        encoder = _built(name, dims)
        with torch.device("meta"):
            again = build_encoder(**json.loads(json.dumps(encoder.arguments)))
        assert again.arguments == encoder.arguments
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in encoder.state_dict().items()
        }


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
    image = _image(dims, encoder.min_size, batch=2, channels=2)
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
        encoder(_image(2, encoder.min_size - 1))


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_norm_reaches_every_layer(name):
    kinds = {type(m).__name__ for m in _built(name, 2).modules() if "Norm" in type(m).__name__}
    assert kinds == {"GroupNorm"}


def test_resnet_without_depth_stride_keeps_depth_and_weights():
    with torch.device("meta"):
        thin = build_encoder("resnet18", 3, conv1_t_stride=2, depth_stride=False)
        maps = thin.features(torch.empty(1, 1, 3, 64, 64))
    assert [tuple(m.shape[2:]) for m in maps] == [(3, 64 // s, 64 // s) for s in thin.strides]
    assert thin.strides == (2, 4, 8, 16, 32)
    assert thin.depth_strides == (1, 1, 1, 1, 1)
    assert thin.state_dict().keys() == _built("resnet18", 3).state_dict().keys()


@pytest.mark.parametrize("name", ["unet", "resnet18", "densenet121"])
def test_smallest_input_of_instance_norm(name):
    encoder = build_encoder(name, 2, norm="instance")
    encoder(_image(2, encoder.min_size))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        encoder(_image(2, encoder.min_size - 1))


@pytest.mark.parametrize("name", STACKS)
def test_smallest_stack_of_instance_norm(name):
    encoder = build_encoder(name, 3, norm="instance", width=2)
    encoder(_image(3, encoder.min_size))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        encoder(_image(3, encoder.min_size - 1))


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
        ({"norm": ["group"]}, r"norm: expected one of .* found \['group'\]"),
        ({"norm": ["group", {"num_groups": 7}]}, "encoder unet .*divisible"),
        ({"spatial_dims": 4}, "spatial_dims: expected 2 or 3, found 4"),
        ({"in_channels": 0}, "in_channels: expected a whole number above 0, found 0"),
        ({"features": (8, 16)}, "features: expected the widths of 5 levels"),
        ({"name": "densenet121", "depth_stride": False}, "encoder densenet121 .*depth_stride"),
        ({"name": "resnet18", "spatial_dims": 2, "depth_stride": False}, "depth_stride: expected True in 2D"),
        ({"name": "p3d63", "spatial_dims": 2}, "spatial_dims: expected 3 for a pseudo-3D network, found 2"),
        ({"name": "mp3d63", "width": 0}, "width: expected a whole number above 0, found 0"),
        ({"name": "mp3d63", "width": 12}, "encoder mp3d63 .*divisible"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        build_encoder(**arguments)
