"""Properties of every encoder. A new encoder is one line of `SUITE`."""

import copy
import json
import warnings
from functools import cache
from importlib.util import find_spec

import own_encoders  # noqa: F401  registers encoders as users write them
import pytest
import torch
from torch import nn
from torch.jit.frontend import FrontendError

from tools.detection.network import DetectionNetwork
from tools.networks import (
    ENCODERS,
    ClassificationNetwork,
    build_anisotropic_encoder,
    build_encoder,
    build_segmenter,
    build_stack_encoder,
    prepare_network,
)
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.jigsaw.network import PatchPositionClassifier, PermutationClassifier
from tools.pretext.mae.network import MaskedAutoencoder
from tools.pretext.rotation.network import ViewClassifier
from tools.pretext.rpl.network import PairClassifier
from tools.pretext.vdt.network import VolumeClassifier
from tools.transfer import export_encoder, load_encoder
from tools.utils.errors import InputError

#: every encoder: the dimensions it is run in (shapes are computed in all of `SPATIAL`), and options that make it small
SUITE = {
    "unet": ((2, 3), {}),
    "resnet18": ((2, 3), {}),
    "resnet34": ((), {}),  # differs from resnet18 in its number of blocks
    "resnet50": ((), {}),  # and in their kind
    "densenet121": ((2,), {}),
    "p3d18ba": ((3,), {"width": 8}),
    "p3d63": ((3,), {"width": 8}),
    "mp3d18ba": ((3,), {"width": 8}),
    "mp3d63": ((3,), {"width": 8}),
    "resenc": ((2, 3), {"features": (4, 8, 8), "blocks": 1}),
    "segresnet": ((2, 3), {"init_filters": 8}),
    "segresnet_ds": ((2, 3), {"init_filters": 8}),
    "swin": ((2, 3), {"feature_size": 6, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 2), "window_size": 3}),
    "own_segresnet": ((2, 3), {}),
    "own_swin": ((2, 3), {}),
    "own_six_levels": ((2, 3), {}),
    "own_anisotropic": ((2, 3), {}),
    "own_names": ((2, 3), {}),
}
SPATIAL = {name: (3,) if dims == (3,) else (2, 3) for name, (dims, _) in SUITE.items()}
#: encoders that merge slices by other means than strides of convolutions and pools
NO_STACKS = ("own_swin", "swin")
#: optional packages
PACKAGES = {"resenc": "dynamic_network_architectures", "swin": "einops"}


def case(name, *dims):
    missing = name in PACKAGES and find_spec(PACKAGES[name]) is None
    marks = pytest.mark.skipif(missing, reason=f"needs {PACKAGES.get(name)}")
    return pytest.param(name, *dims, id=name + "".join(f"-{one}d" for one in dims), marks=marks)


CASES = [case(name, dims) for name, (run_in, _) in SUITE.items() for dims in run_in]
SHAPES = [case(name, dims) for name, all_dims in SPATIAL.items() for dims in all_dims]
HEADS = {
    "classification": lambda e: (ClassificationNetwork(e, 3), ()),
    "cpc": lambda e: (CPCNetwork(e, 8, 8, steps=[1]), (2,) * e.spatial_dims),
    "pairs": lambda e: (PairClassifier(e, 3, 8, [8]), (3,)),
    "views": lambda e: (ViewClassifier(e, 3, 8, [8]), (2,)),
    "projection": lambda e: (ProjectionNetwork(e, 8, 8), (2,)),
    "volumes": lambda e: (VolumeClassifier(e, 3), ()),
}
PERMUTATIONS = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3]])


def build(name, dims, **more):
    torch.manual_seed(0)
    encoder = build_encoder(name, dims, **SUITE[name][1], **more)
    for key, weight in encoder.named_parameters():
        if key.endswith(("bn3.weight", "conv2.norm.weight")):
            nn.init.ones_(weight)  # from 0, where some residual blocks start, nothing reaches what is before
    return encoder


built = cache(build)


def shapes_only(name):
    """Compute no values, except for MONAI's Swin transformer, which is built with some."""
    return torch.device("cpu" if name == "swin" else "meta")


def image(size, batch=2, channels=1):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def small(encoder, least=4):
    """A small size that the encoder takes."""
    return tuple(
        -(-max(edge, least) // step) * step for edge, step in zip(encoder.min_size, encoder.divisor, strict=True)
    )


def sizes(encoder):
    """The smallest size and some larger ones, odd ones among them."""
    for more in ((0, 0, 0), (1, 0, 2), (3, 5, 1), (13, 6, 11)):
        shape = zip(encoder.min_size, encoder.divisor, more, strict=False)
        yield tuple(edge + extra * step for edge, step, extra in shape)


def test_every_encoder_is_in_the_suite():
    assert set(SUITE) == set(ENCODERS)


@pytest.mark.parametrize(("norm", "depth_stride"), [("auto", True), ("instance", True), ("auto", False)])
@pytest.mark.parametrize(("name", "dims"), SHAPES)
def test_maps_are_the_declared_ones(name, dims, norm, depth_stride):
    with shapes_only(name):
        only_own_norm = build_encoder(name, dims, **SUITE[name][1]).arguments["norm"] == "auto"
        loses_slices = dims == 2 or name in NO_STACKS or name.startswith("p3d")
        if (only_own_norm and norm != "auto") or (loses_slices and not depth_stride):
            with pytest.raises(InputError, match=r"^(norm|encoder|depth_stride): expected"):
                build_encoder(name, dims, norm=norm, depth_stride=depth_stride, **SUITE[name][1])
            return
        encoder = build_encoder(name, dims, norm=norm, depth_stride=depth_stride, **SUITE[name][1])
        assert [len(stride) for stride in encoder.strides] == [dims] * len(encoder.channels)
        assert depth_stride or {stride[0] for stride in encoder.strides} == {1}
        for size in sizes(encoder):
            maps = encoder.features(torch.empty(2, 1, *size))
            assert [m.shape[1] for m in maps] == list(encoder.channels)
            assert [tuple(m.shape[2:]) for m in maps] == encoder.map_sizes(size)
        whole = [tuple(96 // step for step in stride) for stride in encoder.strides]
        assert encoder.map_sizes([96] * dims) == whole or name.startswith("p3d")


@pytest.mark.parametrize(("name", "dims"), SHAPES)
def test_one_voxel_less_is_refused(name, dims):
    with shapes_only(name):
        encoder = build_encoder(name, dims, **SUITE[name][1])
        networks = [
            build_segmenter(encoder, 2),
            build_segmenter(encoder, 2, "linear"),
            ClassificationNetwork(encoder, 2),
        ]
        encoder.check_size(encoder.min_size)
        for axis, edge in enumerate(encoder.min_size):
            size = [edge - 1 if axis == one else whole for one, whole in enumerate(encoder.min_size)]
            for network in (*networks, ViewClassifier(encoder, 2, 4, [4]).encode):
                with pytest.raises(InputError, match=f"^roi_size: expected .* {name}, found ") as caught:
                    network(torch.empty(2, 1, *size))
                assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "dims"), CASES)
class TestEveryEncoder:
    def test_forward_is_the_last_map(self, name, dims):
        encoder = copy.deepcopy(built(name, dims)).eval()
        x = image(small(encoder))
        with torch.no_grad():
            torch.testing.assert_close(encoder(x), encoder.features(x)[-1], rtol=0, atol=0)

    def test_smallest_input_trains_every_parameter(self, name, dims):
        encoder = copy.deepcopy(built(name, dims)).train()
        maps = encoder.features(image(encoder.min_size, 8))
        sum((m * torch.rand_like(m)).sum() for m in maps).backward()
        assert all(m.isfinite().all() for m in maps)
        assert not [key for key, weight in encoder.named_parameters() if weight.grad is None]

    @pytest.mark.filterwarnings("ignore:TF32")  # of Intel's GPUs, when oneDNN is switched
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_mixed_precision(self, name, dims, dtype):
        """Under the CPU's autocast; see `test_a_step_in_bfloat16_is_finite` about oneDNN."""
        encoder = copy.deepcopy(built(name, dims)).eval()
        images = image(small(encoder))
        with torch.no_grad():
            exact = encoder(images)
        with torch.backends.mkldnn.flags(enabled=False):
            with torch.autocast("cpu", dtype):
                maps = encoder.features(images)
            sum(one.float().square().mean() for one in maps).backward()
        assert (maps[-1] - exact).norm() < 0.4 * exact.norm()
        assert all(weight.grad.isfinite().all() for weight in encoder.parameters())

    @pytest.mark.parametrize("head", HEADS)
    def test_heads(self, name, dims, head):
        network, views = HEADS[head](copy.deepcopy(built(name, dims)))
        size = small(network.encoder)
        patches = image((*views, 1, *size))[:, 0] if views else image(size)
        scores = network.train()(patches)
        assert scores.isfinite().all()
        scores.square().mean().backward()
        assert next(network.encoder.parameters()).grad.isfinite().all()

    @pytest.mark.parametrize("kind", [PatchPositionClassifier, PermutationClassifier])
    def test_jigsaw(self, name, dims, kind):
        network = kind(built(name, dims), PERMUTATIONS, 8, [8])
        orders = PERMUTATIONS[None, :1].expand(2, -1, -1)
        with torch.no_grad():
            assert network((image((4, 1, *small(network.encoder)))[:, 0], orders)).shape == (2, 1, 2)

    def test_masked_autoencoder(self, name, dims):
        encoder = built(name, dims)
        size = small(encoder)
        network = MaskedAutoencoder(encoder, [edge // 2 if edge % 2 == 0 else edge for edge in size], 8)
        hidden = torch.zeros(2, 1, dtype=torch.long)
        with torch.no_grad():
            assert network((image(size), hidden)).isfinite().all()

    @pytest.mark.parametrize("protocol", ["finetune", "linear"])
    def test_decoders(self, name, dims, protocol):
        encoder = copy.deepcopy(built(name, dims))
        network = build_segmenter(encoder, 3, protocol)
        size = tuple(
            edge + (5, 2, 0)[axis] * step
            for axis, (edge, step) in enumerate(zip(small(encoder), encoder.divisor, strict=True))
        )
        scores = network(image(size))
        assert scores.shape == (2, 3, *size)
        scores.square().mean().backward()
        assert not [key for key, weight in network.named_parameters() if weight.grad is None]
        assert {f"encoder.{key}" for key in encoder.state_dict()} == {
            key for key in network.state_dict() if key.startswith("encoder.")
        }

    def test_scripted_equals_eager(self, name, dims):
        """The decoder of linear probes is in tests/networks/test_decoders.py."""
        network = build_segmenter(copy.deepcopy(built(name, dims)), 3).eval()
        x = image(small(network.encoder))
        if not network.encoder.scriptable:
            with pytest.raises((RuntimeError, FrontendError)):  # else the exemption is out of date
                torch.jit.script(network)
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # sizes become constants
                traced = torch.jit.trace(network, torch.zeros_like(x), check_trace=False)
                torch.testing.assert_close(traced(x), network(x))
            return
        scripted = torch.jit.script(network)
        with torch.no_grad():
            torch.testing.assert_close(scripted(x), network(x))
            torch.testing.assert_close(scripted.encoder.features(x), network.encoder.features(x))

    def test_state_dict_without_prefixes_loads(self, name, dims):
        """As files were written before, and as MONAI's networks have them."""
        network = build_segmenter(copy.deepcopy(built(name, dims)), 2)
        state = network.state_dict()
        old = {key.removeprefix("encoder.").removeprefix("decoder."): value for key, value in state.items()}
        if len(old) < len(state):  # names that were written over each other
            with pytest.raises(RuntimeError, match="Missing key"):
                network.load_state_dict(old)
            return
        other = build_segmenter(build(name, dims), 2)
        for weight in other.parameters():
            nn.init.zeros_(weight)
        assert other.load_state_dict(old) == ([], [])
        assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())

    def test_transfer(self, name, dims, tmp_path):
        encoder, other = built(name, dims).eval(), build(name, dims).eval()
        for weight in other.parameters():
            nn.init.zeros_(weight)
        export_encoder(encoder, tmp_path / "model.pt", {"task": "cpc3d"})
        report = load_encoder(other, tmp_path / "model.pt")
        assert report.percent == 100
        assert not report.warnings
        x = image(small(encoder))
        with torch.no_grad():
            torch.testing.assert_close(other.features(x), encoder.features(x), rtol=0, atol=0)

    def test_arguments_rebuild_it(self, name, dims):
        encoder = built(name, dims)
        with shapes_only(name):
            again = build_encoder(**json.loads(json.dumps(encoder.arguments)))
        assert again.arguments == encoder.arguments
        shapes = ({k: v.shape for k, v in one.state_dict().items()} for one in (again, encoder))
        assert next(shapes) == next(shapes)

    def test_memory_format_changes_nothing(self, name, dims):
        networks = [
            prepare_network(build_segmenter(copy.deepcopy(built(name, dims)), 2).eval(), "cpu", last)
            for last in (True, False)
        ]
        networks[0].load_state_dict(networks[1].state_dict())
        x = image(small(networks[0].encoder))
        with torch.no_grad():
            torch.testing.assert_close(networks[0](x), networks[1](x), rtol=1e-3, atol=1e-4)

    def test_batched_equals_single(self, name, dims):
        encoder = copy.deepcopy(built(name, dims)).eval()
        images = image(small(encoder))
        with torch.no_grad():
            single = torch.cat([encoder(images[:1]), encoder(images[1:])])
            torch.testing.assert_close(encoder(images), single, rtol=1e-3, atol=5e-4)


@pytest.mark.parametrize("build_it", [build_anisotropic_encoder, build_stack_encoder])
@pytest.mark.parametrize("name", [case(name) for name, dims in SPATIAL.items() if 3 in dims])
def test_stacks_of_slices(name, build_it):
    if name in NO_STACKS:
        with pytest.raises(InputError, match=f"encoder: expected one that can keep all slices.*{name}"):
            build_it(name, "auto")
        return
    encoder = build_it(name, "auto")
    assert encoder.min_size[0] == 1
    with torch.no_grad():
        for depth in (1, 3):
            size = (depth, *small(encoder)[1:])
            assert [tuple(m.shape[2:]) for m in encoder.features(image(size))] == encoder.map_sizes(size)


@pytest.mark.parametrize("pooling", ["center", "gtm"])
@pytest.mark.parametrize(
    "name", [case(name) for name, (dims, _) in SUITE.items() if 3 in dims and name not in NO_STACKS]
)
def test_detection(name, pooling):
    network = DetectionNetwork(build_stack_encoder(name, "auto"), 3, pooling, 16).eval()
    edge = max(network.strides[-1], *network.encoder.min_size)
    with torch.no_grad():
        maps = network(image((3, edge, edge), 1))
    for stride, scores in zip(network.strides, maps[: len(maps) // 2], strict=True):
        assert scores.shape[2:] == (-(-edge // stride),) * 2
