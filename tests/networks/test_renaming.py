import own_encoders  # noqa: F401  registers encoders
import pytest
import torch
from checkpoints import checkpoint_content

from tools.networks import build_encoder, build_segmenter
from tools.networks.renaming import rename_keys
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.mae.network import MaskedAutoencoder
from tools.training.checkpoint import load_network

NETWORKS = {
    "unet": lambda: build_segmenter(build_encoder("unet", 2), 3),
    "linear": lambda: build_segmenter(build_encoder("unet", 2), 3, "linear"),
    "segresnet": lambda: build_segmenter(build_encoder("own_segresnet", 2), 3),
    "cpc": lambda: CPCNetwork(build_encoder("unet", 2), 8, 8),
    "mae": lambda: MaskedAutoencoder(build_encoder("unet", 2), [4, 4], 8),
}


def earlier(state, segments):
    """Names of the same tensors in files of earlier versions."""
    if segments:
        return {key.removeprefix("encoder.").removeprefix("decoder."): value for key, value in state.items()}
    return {key.replace("projector.", "embed."): value for key, value in state.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_checkpoints_of_earlier_versions_load(name, tmp_path):
    network, other = NETWORKS[name](), NETWORKS[name]()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    old = earlier(state, hasattr(network, "decoder"))
    assert (old.keys() == state.keys()) == (name == "linear")
    torch.save(checkpoint_content(old), tmp_path / "checkpoint.pt")
    load_network(other, tmp_path / "checkpoint.pt", {})
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_names_of_this_version_stay(name):
    network = NETWORKS[name]()
    state = network.state_dict()
    assert list(rename_keys(network, state)) == list(state)


def test_unknown_keys_are_unchanged_and_refused():
    network = NETWORKS["unet"]()
    state = earlier(network.state_dict(), True)
    assert {"other.weight", "final_conv.weight"} <= rename_keys(network, state | {"other.weight": 0}).keys()
