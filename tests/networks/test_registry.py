import re
import sys

import pytest
import torch
from own_encoders import SegResNetEncoder, SwinLikeEncoder
from torch import nn

from tools.networks import ENCODERS, Encoder, build_encoder, build_segmenter, encoders, register_encoder
from tools.networks.norms import NORMS, fit_norm, parse_norm
from tools.utils.errors import InputError


def norms(network):
    return {type(module).__name__.rstrip("23d") for module in network.modules() if "Norm" in type(module).__name__}


def test_a_module_in_the_folder_is_found(tmp_path, monkeypatch):
    """Without being listed anywhere."""
    (tmp_path / "dropped_in.py").write_text(
        "from tools.networks.encoders.unet import UNetEncoder\n"
        "from tools.networks.encoders.registry import register_encoder\n"
        "@register_encoder('dropped_in')\n"
        "class DroppedIn(UNetEncoder):\n    pass\n"
    )
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(tmp_path)])
    try:
        encoders.import_modules()
        assert build_encoder("dropped_in", 2).arguments["name"] == "dropped_in"
    finally:
        ENCODERS.pop("dropped_in", None)
        sys.modules.pop("tools.networks.encoders.dropped_in", None)


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(
        InputError, match=r"encoder unet: expected a new name for .*SwinLikeEncoder, found that of .*UNetEncoder"
    ):
        register_encoder("unet")(SwinLikeEncoder)
    assert build_encoder("unet", 2).arguments["name"] == "unet"


def test_a_reloaded_module_replaces_its_encoder():
    again = type("SegResNetEncoder", (SegResNetEncoder,), {"__module__": SegResNetEncoder.__module__})
    present = ENCODERS["own_segresnet"]
    try:
        register_encoder("own_segresnet")(again)
        assert ENCODERS["own_segresnet"] is again
    finally:
        ENCODERS["own_segresnet"] = present


@pytest.mark.parametrize("name", ["unet", "resnet18", "densenet121"])
def test_auto_is_the_norm_the_class_has_by_default(name):
    automatic, explicit = build_encoder(name, 2), build_encoder(name, 2, norm="group")
    assert automatic.arguments == explicit.arguments
    assert norms(automatic) == {"GroupNorm"}


@pytest.mark.parametrize("norm", [*NORMS, ["group", {"num_groups": 8}]])
def test_changed_arguments_of_a_norm_change_no_later_one(norm):
    """MONAI's SegResNetDS adds ``affine`` to the dictionary it is given."""
    before = parse_norm(norm)
    parse_norm(norm)[1]["affine"] = "changed"
    assert parse_norm(norm) == before


@pytest.mark.parametrize("norm", ["group", "batch", ["instance", {"affine": True}]])
def test_an_encoder_with_a_norm_of_its_own_refuses_others(norm):
    assert build_encoder("own_swin", 2, norm="auto").arguments["norm"] == "auto"
    with pytest.raises(InputError, match=r"^norm: expected auto, since encoder own_swin has a fixed norm, found"):
        build_encoder("own_swin", 2, norm=norm)


@pytest.mark.parametrize(
    ("name", "norm", "expected"),
    [
        ("unet", "auto", "GroupNorm"),
        ("unet", "batch", "BatchNorm"),
        ("resnet18", "instance", "InstanceNorm"),
        ("own_swin", "auto", "InstanceNorm"),
        ("own_six_levels", "auto", "GroupNorm"),
    ],
)
def test_the_decoder_has_the_norm_that_the_encoder_declares(name, norm, expected):
    network = build_segmenter(build_encoder(name, 2, norm=norm), 2)
    assert norms(network.decoder) == {expected}


def test_a_decoder_is_independent_of_the_encoder_arguments():
    encoder = build_encoder("unet", 2, norm="batch")
    encoder.arguments = {}
    assert norms(build_segmenter(encoder, 2).decoder) == {"BatchNorm"}


@pytest.mark.parametrize(("width", "groups"), [(16, 8), (8, 8), (12, 2), (6, 1), (4, 2), (7, 1), (20, 2)])
def test_group_norm_of_any_width(width, groups):
    name, arguments = fit_norm(("group", {"num_groups": 8}), width)
    assert (name, arguments) == ("group", {"num_groups": groups})
    assert fit_norm(("batch", {}), width) == ("batch", {})


@pytest.mark.parametrize(
    ("channels", "strides", "words"),
    [
        ([], [], "same number of maps"),
        ([8, 16], [1], "same number of maps"),
        ([8, 16], [2, 3], "multiples"),
        ([8, 16], [(1, 2), (2, 3)], "multiples"),
    ],
)
def test_contradicting_declarations_are_refused(channels, strides, words):
    with pytest.raises(InputError, match=words):
        Encoder(channels, strides, 2, 1)


@pytest.mark.parametrize(
    ("declared", "fits", "fails"),
    [
        ({"min_size": 5}, [(5, 9)], [(4, 9), (9, 4)]),
        ({"min_size": (3, 5)}, [(3, 5)], [(2, 5), (3, 4)]),
        ({"divisor": 32}, [(32, 64)], [(32, 65), (0, 32)]),
        ({"min_size": 33, "divisor": (1, 32)}, [(33, 64)], [(33, 32), (32, 64), (33, 65)]),
    ],
)
def test_sizes_are_checked_against_the_declaration(declared, fits, fails):
    encoder = Encoder([8], [1], 2, 1, **declared)
    for size in fits:
        encoder.check_size(size)
    for size in fails:
        with pytest.raises(
            InputError, match=rf"^image_size: expected .* found {size[0]} x {size[1]}; change image_size,"
        ) as caught:
            encoder.check_size(size, "image_size")
        assert ("multiples of" in str(caught.value)) == ("divisor" in declared)


@pytest.mark.parametrize(
    ("widths", "strides", "found"),
    [
        ([8, 16, 32], [1, 2, 4], "(64, 1, 1)"),
        ([8, 16, 32, 64], [1, 2, 4, 16], "(64, 2, 2)"),
        ([8, 16, 32, 32], [1, 2, 4, 8], "(64, 1, 1)"),
        ([8, 16, 32, 64], [2, 4, 8, 16], "(8, 16, 16)"),
    ],
)
def test_an_encoder_that_declares_other_maps_than_it_returns_is_refused(widths, strides, found):
    class Wrong(SegResNetEncoder):
        def __init__(self, spatial_dims, in_channels):
            super().__init__(spatial_dims, in_channels)
            self.channels, self.strides = tuple(widths), tuple((stride,) * spatial_dims for stride in strides)

    try:
        register_encoder("own_wrong")(Wrong)
        with pytest.raises(
            InputError, match=rf"encoder own_wrong: expected maps .* found .*{re.escape(found)}"
        ) as caught:
            build_encoder("own_wrong", 2)
        assert "\n" not in str(caught.value)
    finally:
        ENCODERS.pop("own_wrong")


def test_an_encoder_that_fails_on_what_it_declares_is_refused_in_one_line():
    class Failing(SwinLikeEncoder):
        def __init__(self, spatial_dims, in_channels):
            super().__init__(spatial_dims, in_channels)
            self.min_size = self.divisor = (1,) * spatial_dims
            self.strides, self.channels = self.strides[:2], self.channels[:2]

    try:
        register_encoder("own_failing")(Failing)
        with pytest.raises(InputError, match=r"encoder own_failing: expected maps .* found RuntimeError: ") as caught:
            build_encoder("own_failing", 2)
        assert "\n" not in str(caught.value)
    finally:
        ENCODERS.pop("own_failing")


class Levels(Encoder):
    """Maps of average pooling, of any number and stride."""

    def __init__(self, count, finest, dims=2):
        strides = [finest * 2**level for level in range(count)]
        super().__init__([4] * count, strides, dims, 1)
        self.conv = nn.Conv2d(1, 4, 1) if dims == 2 else nn.Conv3d(1, 4, 1)

    def features(self, x):
        sizes = self.map_sizes(x.shape[2:])
        return [nn.functional.interpolate(self.conv(x), size=size) for size in sizes]


@pytest.mark.parametrize("finest", [1, 2, 4])
@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("protocol", ["finetune", "linear"])
def test_any_number_of_levels_and_stride_of_the_finest(count, finest, protocol):
    network = build_segmenter(Levels(count, finest), 3, protocol)
    scores = network(torch.randn(1, 1, 37, 50))
    assert scores.shape == (1, 3, 37, 50)
    scores.sum().backward()
    assert not [key for key, weight in network.named_parameters() if weight.grad is None]
