import pytest
import torch

from tools.networks.encoders import build_encoder
from tools.pretext.embeddings import principal_components
from tools.pretext.patch_embedder import PatchEmbedder
from tools.utils.errors import InputError


@pytest.mark.parametrize("size", [(48, 37, 16), (40, 33)])
def test_every_voxel_is_covered_without_padding(size):
    embedder = PatchEmbedder([16] * len(size))
    for line, edge in zip(embedder.starts(size), size, strict=True):
        assert line[0] == 0
        assert line[-1] == edge - 16
        assert (line.diff() <= 8).all()


@pytest.mark.parametrize("batch_size", [3, 64])
def test_embedding_is_that_of_the_patch_alone(batch_size):
    torch.manual_seed(0)
    encoder = build_encoder("unet", 3).eval()
    image = torch.randn(2, 1, 32, 37, 16)
    with torch.no_grad():
        embeddings = PatchEmbedder([16] * 3, batch_size=batch_size)(image, encoder)
        alone = encoder(image[1:, :, 8:24, 16:32]).flatten(2).mean(-1)[0]
    assert embeddings.shape == (2, 256, 3, 4, 1)
    torch.testing.assert_close(embeddings[1, :, 1, 2, 0], alone, rtol=1e-4, atol=1e-5)


def test_standardised_patches_hide_brightness_and_contrast():
    torch.manual_seed(0)
    encoder = build_encoder("unet", 2).eval()
    image = torch.randn(1, 1, 40, 32)
    with torch.no_grad():
        plain, alike = (PatchEmbedder([16] * 2, standardised=chosen) for chosen in (False, True))
        torch.testing.assert_close(alike(3 * image + 5, encoder), alike(image, encoder), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(plain(3 * image + 5, encoder), plain(image, encoder), rtol=1e-2)


def test_components_explain_most_and_have_a_fixed_sign():
    torch.manual_seed(0)
    factors = torch.randn(3, 200) * torch.tensor([[5.0], [3], [1]])
    embedding = (torch.linalg.qr(torch.randn(16, 3))[0] @ factors).reshape(16, 10, 20)
    colors, fractions = principal_components(embedding)
    assert sum(fractions) == pytest.approx(1)
    assert fractions == sorted(fractions, reverse=True)
    assert colors.shape == (3, 10, 20)
    assert torch.equal(colors, principal_components(embedding.clone())[0])
    assert abs(torch.corrcoef(torch.stack([colors[0].flatten(), factors[0]]))[0, 1]) > 0.95


def test_few_or_equal_patches_give_a_figure():
    colors, _ = principal_components(torch.ones(8, 1, 2, 1))
    assert torch.isfinite(colors).all()
    assert colors.shape == (3, 1, 2, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_of_a_volume_is_embedded_by_a_2d_encoder(axis):
    torch.manual_seed(0)
    encoder = build_encoder("unet", 2).eval()
    volume = torch.randn(2, 1, 20, 24, 28)
    embedder = PatchEmbedder([16, 16], [4, 8], batch_size=7, slice_axis=axis)
    assert embedder.patch_size == (*[16] * axis, 1, *[16] * (2 - axis))
    starts = embedder.starts(volume.shape[2:])
    assert starts[axis].tolist() == list(range(volume.shape[2 + axis]))
    with torch.no_grad():
        embeddings = embedder(volume, encoder)
        flat = PatchEmbedder([16, 16], [4, 8])(volume.select(2 + axis, 3), encoder)
    assert embeddings.shape == (2, 256, *(len(line) for line in starts))
    torch.testing.assert_close(embeddings.select(2 + axis, 3), flat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("patch_size", "stride", "axis"), [([16] * 3, None, 0), ([16] * 2, [8] * 3, 1), ([16] * 2, None, 3)]
)
def test_patches_that_do_not_fit_slices(patch_size, stride, axis):
    with pytest.raises(InputError, match=f"slice_axis: expected None.*found {axis}"):
        PatchEmbedder(patch_size, stride, slice_axis=axis)
