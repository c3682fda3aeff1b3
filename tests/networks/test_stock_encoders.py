"""Encoders of other libraries: the stock network loads their weights strictly, and its features are the same."""

from importlib.util import find_spec

import pytest
import torch
from monai.networks.nets import SegResNet, SegResNetDS, SwinUNETR
from torch import nn

from tools.networks import ENCODERS, build_encoder
from tools.networks.encoders import PRESETS, encoder_key
from tools.utils.errors import InputError

needs_nnunet = pytest.mark.skipif(
    find_spec("dynamic_network_architectures") is None, reason="needs dynamic-network-architectures"
)
needs_einops = pytest.mark.skipif(find_spec("einops") is None, reason="needs einops")


def residual_unet(dims, channels, features, blocks, strides=None, kernel_sizes=None):
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    stages = len(features)
    return ResidualEncoderUNet(
        channels,
        stages,
        list(features),
        nn.Conv3d if dims == 3 else nn.Conv2d,
        kernel_sizes or 3,
        strides or [1] + [2] * (stages - 1),
        blocks,
        2,
        1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def segresnet(dims, channels, init_filters=16, norm=("group", {"num_groups": 8}), **options):
    return SegResNet(dims, init_filters, channels, norm=norm, **options)


def segresnet_ds(dims, channels, init_filters=16, norm="group", blocks_down=(1, 2, 2, 4)):
    norm = {"group": ("group", {"num_groups": 8})}.get(norm, norm)
    return SegResNetDS(dims, init_filters, channels, norm=norm, blocks_down=blocks_down)


def swin_unetr(dims, channels, **options):
    return SwinUNETR(channels, 2, spatial_dims=dims, **options)


SMALL = {"features": [4, 8, 8], "blocks": [1, 2, 1]}
UNEQUAL = {"features": [4, 8, 8], "blocks": 1, "strides": [1, [1, 2, 2], 2], "kernel_sizes": [[1, 3, 3], 3, 3]}
#: options of both networks, stock network, prefix of the encoder's keys in it, part of it that returns the maps
STOCK = [
    pytest.param("resenc", SMALL, residual_unet, "encoder.", "encoder", 2, marks=needs_nnunet),
    pytest.param("resenc", SMALL, residual_unet, "encoder.", "encoder", 3, marks=needs_nnunet),
    pytest.param("resenc", UNEQUAL, residual_unet, "encoder.", "encoder", 3, marks=needs_nnunet),
    pytest.param("segresnet", {"init_filters": 8}, segresnet, "", "encode", 2),
    pytest.param("segresnet", {"norm": "batch"}, segresnet, "", "encode", 3),
    pytest.param("segresnet_ds", {"init_filters": 8}, segresnet_ds, "encoder.", "encoder", 2),
    pytest.param("segresnet_ds", {"blocks_down": (1, 2, 2, 1, 1)}, segresnet_ds, "encoder.", "encoder", 3),
    pytest.param("segresnet_ds", {"norm": "instance"}, segresnet_ds, "encoder.", "encoder", 2),
    pytest.param("swin", {"feature_size": 12}, swin_unetr, "swinViT.", "swinViT", 3, marks=needs_einops),
    pytest.param(
        "swin", {"feature_size": 12, "use_v2": True}, swin_unetr, "swinViT.", "swinViT", 2, marks=needs_einops
    ),
]
#: parts of the stock networks that are no encoder
OTHERS = ("decoder", "up_", "conv_final", "out.", "encoder1.", "encoder2.", "encoder3.", "encoder4.", "encoder10.")


@pytest.mark.parametrize(("name", "options", "build_stock", "prefix", "part", "dims"), STOCK)
def test_weights_load_strictly_and_features_are_equal(name, options, build_stock, prefix, part, dims):
    torch.manual_seed(0)
    encoder = build_encoder(name, dims, 2, **options).eval()
    for weight in encoder.parameters():
        nn.init.normal_(weight, std=0.3)  # some start from 0, which hides what follows them
    stock = build_stock(dims, 2, **options).eval()
    state = stock.state_dict()
    weights = {prefix + key: value for key, value in encoder.state_dict().items()}
    assert weights.keys() == {key for key in state if not key.startswith(OTHERS)}
    stock.load_state_dict(state | weights, strict=True)
    image = torch.randn(2, 2, *([64] * 2 if dims == 2 else [32] * 3))
    with torch.no_grad():
        maps = getattr(stock, part)(image)
        maps = maps[1] if part == "encode" else maps
        for ours, theirs in zip(encoder.features(image), maps, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@needs_nnunet
@pytest.mark.parametrize("preset", ["resenc_m", "resenc_l", "resenc_xl"])
def test_presets_have_the_network_of_nnunet(preset):
    with torch.device("meta"):
        encoder = build_encoder(preset)
        stock = residual_unet(3, 1, [32, 64, 128, 256, 320, 320], [1, 3, 4, 6, 6, 6]).encoder
    shapes = ({key: value.shape for key, value in one.state_dict().items()} for one in (encoder, stock))
    assert next(shapes) == next(shapes)
    assert encoder.arguments["name"] == "resenc"
    assert build_encoder([preset, {"features": [4, 8], "blocks": 1}], 2).channels == (4, 8)


@needs_nnunet
def test_residual_encoder_starts_as_in_nnunet():
    """Blocks as their shortcut, convolutions with He et al.'s variance."""
    encoder = build_encoder("resenc", 2)
    scales = [value for key, value in encoder.state_dict().items() if key.endswith("conv2.norm.weight")]
    assert scales
    assert not torch.cat(scales).any()
    kernel = encoder.stages[-1].blocks[-1].conv2.conv.weight
    assert kernel.std().item() == pytest.approx((2 / kernel[0].numel()) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        pytest.param(["resenc", {"features": []}], "features: expected", marks=needs_nnunet),
        pytest.param(["resenc", {"features": [8, -8]}], "features: expected", marks=needs_nnunet),
        pytest.param(["resenc", {"blocks": [1, 2]}], "blocks: expected .* 4 stages", marks=needs_nnunet),
        pytest.param(["resenc", {"blocks": 0}], "blocks: expected", marks=needs_nnunet),
        pytest.param(["resenc", {"strides": [1, 2, 2, [2, 2]]}], "strides: expected", marks=needs_nnunet),
        pytest.param(["resenc", {"kernel_sizes": [3, 3, 3, 2]}], "kernel_sizes: expected odd", marks=needs_nnunet),
        pytest.param(["swin", {"feature_size": 16}], "feature_size: expected", marks=needs_einops),
        pytest.param(["swin", {"depths": [2, 2]}], "depths: expected", marks=needs_einops),
        pytest.param(["swin", {"num_heads": [3, 6]}], "num_heads: expected", marks=needs_einops),
        (["segresnet", {"blocks_down": []}], "blocks_down: expected"),
        (["segresnet_ds", {"blocks_down": [1, 0]}], "blocks_down: expected"),
        (["segresnet_ds", {"init_filters": 0}], "init_filters: expected"),
        (["segresnet", {"init_filters": 12}], "segresnet .*divisible"),
        (["segresnet", {"filters": 8}], "segresnet .*filters"),
        (["unet"], "encoder: expected a name or"),
        (["unet", {"norm": "batch"}], "encoder: expected options of unet, found norm"),
        (["unet", 3], "encoder: expected a name or"),
        (["unit", {}], "encoder: expected one of .*did you mean unet"),
        ("resenc_s", "encoder: expected one of .*resenc_m"),
    ],
)
def test_options_that_do_not_fit_are_refused(encoder, words):
    with pytest.raises(InputError, match=words) as caught:
        build_encoder(encoder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("resenc", "dynamic_network_architectures", "dynamic-network-architectures"), ("swin", "einops", "einops")],
)
def test_a_missing_package_is_named(name, module, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda found, *_: None if found == module else find_spec(found))
    with pytest.raises(InputError, match=rf"^encoder {name}: expected .* pip install {package}$"):
        build_encoder(name)


@pytest.mark.parametrize("encoder", ["unet", "resnet18", ["unet", {"features": [8, 8, 8, 8, 8]}]])
def test_a_card_returns_the_key(encoder):
    assert encoder_key(build_encoder(encoder).arguments) == encoder


def test_presets_stand_for_encoders():
    assert not set(PRESETS) & set(ENCODERS)
    assert {name for name, _ in PRESETS.values()} <= set(ENCODERS)
