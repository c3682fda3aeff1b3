import pytest
import torch

from tools.networks.encoders import build_encoder
from tools.pretext.mae.network import MaskedAutoencoder, patchify
from tools.pretext.mae.task import MaskedAutoencoding
from tools.pretext.patch_grid import extract_patches
from tools.shortcuts.features import HandcraftedFeatures
from tools.utils.errors import InputError

ENCODERS = pytest.mark.parametrize(
    ("name", "dims", "norm"),
    [("unet", 2, "group"), ("unet", 3, "group"), ("resnet18", 2, "batch"), ("densenet121", 2, "group")],
)


def made(name="resnet18", dims=2, norm="group", channels=2, **options):
    torch.manual_seed(0)
    task = MaskedAutoencoding(({2: 32, 3: 16}[dims],) * dims, 8)
    encoder = build_encoder(name, dims, channels, norm, **options)
    return task, MaskedAutoencoder(encoder, task.layout.patch_size, 8)


def make(task, batch=2, channels=2):
    images = torch.randn(batch, channels, *task.roi_size, generator=torch.Generator().manual_seed(1))
    return task.apply(images, task.draw_params(batch, 1))


@pytest.mark.parametrize("size", [(8, 12), (4, 8, 6)])
def test_patches_are_in_grid_order(size):
    task = MaskedAutoencoding(size, 2)
    images = torch.randn(2, 3, *size)
    corners = task.layout.cell_corners().expand(2, -1, -1)
    assert torch.equal(patchify(images, (2,) * len(size)), extract_patches(images, corners, (2,) * len(size)))


@ENCODERS
def test_every_encoder_is_taught_and_no_parameter_is_idle(name, dims, norm):
    task, network = made(name, dims, norm)
    inputs, targets = make(task)
    found = network(inputs)
    assert found.shape == targets.shape
    (found - targets).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_masked_patches_are_returned_in_order(monkeypatch):
    """An identity network returns the patches of the given cells in their order."""
    task, network = made()
    (_, masked), _ = make(task)
    image = torch.randn(2, 2, 32, 32)
    monkeypatch.setattr(network.voxels, "forward", lambda x: image)
    expected = extract_patches(image, task.layout.cell_corners()[masked.flip(1)], task.layout.patch_size)
    assert torch.equal(network((torch.randn(2, 2, 32, 32), masked.flip(1))), expected)


def test_every_image_is_reconstructed_alone():
    task, network = made()
    (seen, masked), _ = make(task, 3)
    alone = network((seen[1:2], masked[1:2]))
    torch.testing.assert_close(alone[0], network((seen, masked))[1], rtol=1e-4, atol=1e-4)


def test_a_network_that_sees_no_places_earns_chance():
    """Handcrafted features are global, so that all patches have the same prediction."""
    task = MaskedAutoencoding((32, 32), 8)
    network = MaskedAutoencoder(HandcraftedFeatures(2, 2), task.layout.patch_size, 8)
    inputs, targets = make(task)
    assert task.accuracy(network(inputs), targets).tolist() == pytest.approx([task.chance] * 2)


def test_one_image_is_learnt_by_heart():
    task, network = made("unet", channels=1, features=[16] * 5)
    inputs, targets = make(task, 1, 1)
    targets = torch.nn.functional.avg_pool2d(targets.flatten(0, 2), 5, 1, 2).reshape(targets.shape)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        losses.append(torch.nn.functional.mse_loss(network(inputs), targets))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_too_small_images_are_refused():
    _, network = made("densenet121")
    with pytest.raises(InputError, match="at least 29"):
        network((torch.zeros(1, 2, 24, 24), torch.zeros(1, 2, dtype=torch.int64)))


def test_reconstructions_are_single_precision_under_autocast():
    task, network = made("unet")
    inputs, _ = make(task)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(inputs).dtype == torch.float32
