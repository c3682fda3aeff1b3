import pytest
import torch
from torch import nn

from tools.networks import preparation
from tools.networks.encoders import build_encoder
from tools.networks.preparation import prepare_network
from tools.utils.errors import InputError

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def network():
    """3D and 2D layers in one network, as in the detection bundle."""
    return nn.ModuleDict({f"{dims}d": build_encoder("unet", dims, features=(8, 8, 8, 16, 16)) for dims in (2, 3)})


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_have_the_memory_format_and_equal_values(before, channels_last):
    made = prepare_network(network(), "cpu", before)
    names, images = list(made.state_dict()), {"2d": torch.randn(2, 1, 16, 32), "3d": torch.randn(2, 1, 16, 16, 32)}
    expected = {name: made[name](image) for name, image in images.items()}
    parameters = list(made.parameters())
    assert prepare_network(made, "cpu", channels_last) is made
    assert all(a is b for a, b in zip(parameters, made.parameters(), strict=True))
    for weight in parameters:
        order = LAST.get(weight.ndim) if channels_last else None
        assert weight.is_contiguous(memory_format=order or torch.contiguous_format)
    assert list(made.state_dict()) == names
    for name, image in images.items():
        torch.testing.assert_close(made[name](image), expected[name], rtol=1e-4, atol=1e-4)


def test_a_compiled_network_keeps_its_names(monkeypatch):
    monkeypatch.setattr(preparation, "check_compiler", lambda device: None)
    made = network()
    names = list(made.state_dict())
    assert prepare_network(made, "cpu", compile=True)._compiled_call_impl is not None
    assert list(made.state_dict()) == names
    assert made._compiled_call_impl is not None
    assert network()._compiled_call_impl is None


def test_a_missing_compiler_is_reported_in_one_line(monkeypatch):
    def fail(function):
        raise RuntimeError("\n  no g++ here\n\nset these twenty variables")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(InputError, match=r"^compile: expected a compiler .* \(no g\+\+ here\)$"):
        prepare_network(nn.Conv2d(1, 1, 1), "cpu", compile=True)
    prepare_network(nn.Conv2d(1, 1, 1), "cpu", compile=False)
