import copy

import pytest
import torch
import torch.nn.functional as F

from tools.networks.encoders import ENCODERS, build_encoder
from tools.networks.encoders.p3d import InnerDepthPool, PseudoConv
from tools.transfer.load import load_encoder
from tools.utils.errors import InputError

NAMES = [name for name in ENCODERS if "p3d" in name]
DEPTHS = (1, 2, 3, 5, 7, 8, 9, 11, 17)


def _encoder(name, **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, **{"width": 8} | options)
    for key, parameter in encoder.named_parameters():
        if key.endswith("bn3.weight"):
            torch.nn.init.ones_(parameter)  # let every layer take part
    return encoder


def _stack(depth, edge=32, channels=1):
    return torch.rand(2, channels, depth, edge, edge, generator=torch.Generator().manual_seed(depth))


@pytest.mark.parametrize(("layers", "count"), [("18ba", 15_257_536), ("63", 27_281_728)])
def test_parameter_counts_and_equal_weights(layers, count):
    with torch.device("meta"):
        twins = [build_encoder(f"{kind}{layers}") for kind in ("p3d", "mp3d")]
    shapes = [{key: value.shape for key, value in encoder.state_dict().items()} for encoder in twins]
    assert shapes[0] == shapes[1]
    assert [sum(p.numel() for p in encoder.parameters()) for encoder in twins] == [count, count]


@pytest.mark.parametrize("layers", ["18ba", "63"])
def test_channels_widen_with_the_option(layers):
    factor = 4 if layers == "63" else 1
    with torch.device("meta"):
        encoder = build_encoder(f"p3d{layers}", width=32, in_channels=3, norm=["group", {"num_groups": 32}])
    assert encoder.channels == tuple(32 * factor * 2**i for i in range(4))
    assert encoder.conv1.weight.shape == (32, 3, 1, 7, 7)
    assert {m.num_groups for m in encoder.modules() if isinstance(m, torch.nn.GroupNorm)} == {32}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", NAMES)
def test_any_depth_gives_maps_of_the_strides(name, depth):
    encoder = _encoder(name)
    with torch.no_grad():
        maps = encoder.features(_stack(depth, 45))
    assert [tuple(m.shape[3:]) for m in maps] == [(-(-45 // s),) * 2 for s in (4, 8, 16, 32)]
    assert [tuple(m.shape[2:]) for m in maps] == encoder.map_sizes((depth, 45, 45))
    assert all(m.isfinite().all() for m in maps)


@pytest.mark.parametrize(
    ("depth", "pooled"), [(1, (1, 1, 1, 1)), (5, (3, 2, 1, 1)), (9, (5, 3, 1, 1)), (17, (9, 5, 3, 3))]
)
@pytest.mark.parametrize("layers", ["18ba", "63"])
def test_p3d_pools_the_depth_and_mp3d_keeps_it(layers, depth, pooled):
    with torch.device("meta"):
        maps = [build_encoder(f"{kind}{layers}").features(_stack(depth).to("meta")) for kind in ("p3d", "mp3d")]
    assert tuple(m.shape[2] for m in maps[0]) == pooled
    assert tuple(m.shape[2] for m in maps[1]) == (depth,) * 4


def test_inner_pool_takes_each_slice_with_its_neighbours():
    values = torch.tensor([1.0, 5, 2, 0, 4]).view(1, 1, 5, 1, 1)
    assert InnerDepthPool()(values).flatten().tolist() == [5, 5, 4]
    assert InnerDepthPool()(values[:, :, :2]).flatten().tolist() == [5]
    assert InnerDepthPool()(values[:, :, :1]).flatten().tolist() == [1]


@pytest.mark.parametrize(("name", "touched"), [("p3d18ba", [0, 0, 1, 0, 0]), ("mp3d18ba", [0, 1, 1, 1, 0])])
def test_the_stem_of_mp3d_pools_over_neighbouring_slices(name, touched):
    impulse = torch.zeros(1, 8, 5, 8, 8)
    impulse[:, :, 2, 4, 4] = 1
    pooled = _encoder(name).maxpool(impulse)
    assert pooled.shape == (1, 8, 5, 4, 4)
    assert pooled.amax((0, 1, 3, 4)).tolist() == touched


def test_strides_are_on_the_first_convolution_of_a_layer():
    basic, bottleneck = _encoder("p3d18ba"), _encoder("p3d63")
    for encoder in (basic, bottleneck):
        strided = [key for key, m in encoder.named_modules() if getattr(m, "stride", None) == (1, 2, 2)]
        first = "conv1.conv1" if encoder is basic else "conv1"
        expected = {f"layer{i}.0.{part}" for i in (2, 3, 4) for part in (first, "downsample.0")}
        if encoder is basic:
            expected.add("layer3.0.conv1.conv2")  # the one block of kind B among them
        assert set(strided) == {"conv1", "maxpool"} | expected


@pytest.mark.parametrize(
    ("name", "kinds"), [("p3d18ba", ["AB", "CA", "BC", "AB"]), ("mp3d63", ["ABC", "ABCA", "BCABCA", "BCA"])]
)
def test_kinds_alternate_over_all_blocks(name, kinds):
    encoder = _encoder(name)
    layers = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    found = [[{m.kind for m in block.modules() if isinstance(m, PseudoConv)} for block in layer] for layer in layers]
    assert found == [[{kind} for kind in word] for word in kinds]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", "ABC")
def test_kinds_of_pseudo_convolution(kind, stride):
    torch.manual_seed(0)
    module = PseudoConv(3, 4, ("group", {"num_groups": 2}), kind, stride)
    x = torch.randn(2, 3, 5, 8, 8)

    def spatial(x):
        return F.conv3d(x, module.conv1.weight, stride=(1, stride, stride), padding=(0, 1, 1))

    def temporal(x):
        thin = stride if kind == "B" else 1
        return F.conv3d(x, module.conv2.weight, stride=(1, thin, thin), padding=(1, 0, 0))

    s = F.group_norm(spatial(x), 2).relu()
    t = F.group_norm(temporal(x if kind == "B" else s), 2).relu()
    torch.testing.assert_close(module(x), {"A": t, "B": s + t, "C": s + t}[kind])


@pytest.mark.parametrize("name", NAMES)
def test_bottlenecks_start_as_their_shortcut_and_basic_blocks_learn_at_once(name):
    torch.manual_seed(0)
    encoder = build_encoder(name, width=8)
    blocks = [*encoder.layer1, *encoder.layer2, *encoder.layer3, *encoder.layer4]
    x = _stack(5, 16)
    if name.endswith("18ba"):
        encoder(x).square().sum().backward()
        assert not [n for n, p in encoder.named_parameters() if not p.grad.any()]
        return
    for block in blocks:
        x = torch.randn(1, block.conv1.in_channels, 2, 4, 4)
        torch.testing.assert_close(block(x), block.downsample(x).relu())
        assert not block(x).equal(x)  # not because nothing happens


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_keep_the_scale_of_their_fan_out(name):
    with torch.no_grad():
        encoder = build_encoder(name, width=32)
        for conv in (m for m in encoder.modules() if isinstance(m, torch.nn.Conv3d)):
            fan_out = conv.out_channels * conv.weight[0, 0].numel()
            if conv.weight.numel() > 4000:
                assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert conv.bias is None


def _flip_kernels(encoder):
    flipped = copy.deepcopy(encoder)
    for module in flipped.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.flip(2)
    return flipped


# P3D pools pairs of slices: only a stack of 4 n + 1 slices is symmetric
@pytest.mark.parametrize(
    ("name", "depth"), [("p3d18ba", 9), ("p3d63", 9), ("p3d18ba", 17), ("mp3d18ba", 9), ("mp3d63", 4)]
)
def test_reversed_stacks_give_reversed_maps_of_reversed_kernels(name, depth):
    encoder, stack = _encoder(name), _stack(depth)
    flipped = _flip_kernels(encoder)
    with torch.no_grad():
        expected = [m.flip(2) for m in encoder.features(stack)]
        torch.testing.assert_close(flipped.features(stack.flip(2)), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(encoder.features(stack.flip(2))[-1], expected[-1], atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_symmetric_kernels_are_invariant_to_slice_order(name):
    encoder, stack = _encoder(name), _stack(9)
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = (module.weight.data + module.weight.data.flip(2)) / 2
    with torch.no_grad():
        pairs = zip(encoder.features(stack), encoder.features(stack.flip(2)), strict=True)
        for one, other in pairs:
            key = (one.shape[2] - 1) // 2
            torch.testing.assert_close(one[:, :, key], other[:, :, key], rtol=1e-4, atol=1e-4)


def test_weights_go_from_mp3d_to_p3d_and_no_further(tmp_path):
    source, target = _encoder("mp3d18ba"), build_encoder("p3d18ba", width=8)
    torch.save({k: v.half() for k, v in source.state_dict().items()}, tmp_path / "model.pt")
    report = load_encoder(target, tmp_path / "model.pt")
    assert report.percent == 100
    assert {status: len(report.with_status(status)) for status in ("missing", "skipped", "adapted")} == dict.fromkeys(
        ("missing", "skipped", "adapted"), 0
    )
    for key, value in target.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, source.state_dict()[key], rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="tensors that do not fit"):
        load_encoder(build_encoder("p3d18ba", width=16), tmp_path / "model.pt")
