import copy

import pytest
import torch
from monai.networks.nets import BasicUNet

from tools.networks.decoders import build_segmenter
from tools.networks.encoders import build_encoder

ENCODERS = [
    ("unet", 3, {"round_up": True}),
    ("resnet18", 3, {"depth_stride": False}),
    ("resnet18", 3, {"conv1_t_stride": 2}),
]


@pytest.mark.parametrize("protocol", ["finetune", "linear"])
@pytest.mark.parametrize(("name", "dims", "options"), ENCODERS)
def test_every_voxel_is_scored_for_any_size(name, dims, options, protocol):
    network = build_segmenter(build_encoder(name, dims, 2, "group", **options), 3, protocol).eval()
    image = torch.randn(1, 2, *(17, 22, 19)[:dims])
    scores = network(image)
    assert scores.shape == (1, 3, *image.shape[2:])
    assert scores.isfinite().all()
    torch.testing.assert_close(torch.jit.script(network)(image), scores)


def stock(norm=("group", {"num_groups": 8})):
    return BasicUNet(3, 2, 3, features=(16, 32, 64, 128, 256, 16), norm=norm).eval()


def without_prefixes(state):
    """As the README of `tools/transfer` does it."""
    return {key.removeprefix("encoder.").removeprefix("decoder."): value for key, value in state.items()}


def test_the_unet_is_monais_but_for_the_names_of_its_parts():
    network = build_segmenter(build_encoder("unet", 3, 2, "group"), 3).eval()
    basic = stock()
    assert basic.load_state_dict(without_prefixes(network.state_dict())) == ([], [])
    image = torch.randn(1, 2, 35, 48, 33)
    assert torch.equal(basic(image), network(image))
    other = stock()
    assert network.load_state_dict(other.state_dict()) == ([], [])
    assert torch.equal(other(image), network(image))


def test_state_dicts_survive_wrapping_and_copying():
    """With the prefixes and without them."""
    network = build_segmenter(build_encoder("unet", 2, 1, "group"), 2)
    wrapped = torch.nn.ModuleDict({"inner": network, "other": torch.nn.Linear(1, 1)})
    for state in (
        wrapped.state_dict(),
        {k.replace(".encoder.", ".").replace(".decoder.", "."): v for k, v in wrapped.state_dict().items()},
    ):
        clone = copy.deepcopy(wrapped)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.zero_()
        assert clone.load_state_dict(state) == ([], [])
        assert all(torch.equal(a, b) for a, b in zip(clone.parameters(), wrapped.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="conv_0"):
        network.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("encoder.conv_0")})


def test_a_tensor_with_and_without_its_prefix_is_refused():
    network = build_segmenter(build_encoder("unet", 2, 1, "group"), 2)
    state = network.state_dict()
    key = next(iter(state))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*conv_0"):
        network.load_state_dict(state | {key.removeprefix("encoder."): torch.zeros_like(state[key])})


def test_a_linear_probe_is_linear_in_the_maps():
    network = build_segmenter(build_encoder("unet", 2, 1, "group"), 2, "linear").eval()
    maps = [
        torch.randn(1, c, 32 // s[0], 32 // s[1])
        for c, s in zip(*(getattr(network.encoder, n) for n in ("channels", "strides")), strict=True)
    ]
    others = [torch.randn_like(m) for m in maps]
    image = torch.zeros(1, 1, 32, 32)

    def scores(given):
        network.encoder.features = lambda _: given
        return network(image)

    zero = scores([torch.zeros_like(m) for m in maps])
    mixed = scores([2 * a - 3 * b for a, b in zip(maps, others, strict=True)])
    expected = zero + 2 * (scores(maps) - zero) - 3 * (scores(others) - zero)
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-4)
