import copy

import pytest
import torch
from torch import nn

from tools.networks.encoders import build_encoder
from tools.pretext.cpc.network import CausalContext, CPCNetwork
from tools.utils.errors import InputError


def make(spatial_dims=3, **kw):
    torch.manual_seed(0)
    encoder = build_encoder("unet", spatial_dims=spatial_dims, in_channels=1)
    return CPCNetwork(encoder, **{"embedding_dim": 16, "context_dim": 24, "temperature": 0.1, **kw})


def grid_of_patches(spatial_dims=3, batch=2, cells=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *[cells] * spatial_dims, 1, *[16] * spatial_dims, generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
def test_similarity_has_a_row_per_question_and_a_column_per_patch(dims):
    columns = 4 ** (dims - 1)
    similarity = make(dims)(grid_of_patches(dims))
    assert similarity.shape == (2, (3 + 2) * columns, 2 * 4 * columns)
    assert similarity.abs().max() <= 1 / 0.1 + 1e-4


@pytest.mark.parametrize("dims", [2, 3])
def test_each_patch_is_encoded_once_and_alone(dims):
    """Spec 7.11: one encoder pass over n^d patches equals gather-then-encode."""
    network, patches = make(dims), grid_of_patches(dims)
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    codes = network.encode(patches)
    assert seen == [2 * 4**dims]
    alone = network.encode(patches[1:, 2:3, 1:2])
    torch.testing.assert_close(alone[0, 0, 0], codes[1, 2, 1], rtol=1e-4, atol=1e-5)


def test_predictions_never_see_the_rows_ahead():
    """Spec 7.9: exactly zero gradient from a context to voxels ahead of it, non-zero from every cell of its pyramid."""
    network = make(2)
    patches = grid_of_patches(2, batch=1).requires_grad_()
    contexts = network.context(network.encode(patches).movedim(-1, 1))
    contexts[0, 1, 2].sum().backward()
    touched = patches.grad[0].flatten(2).abs().amax(-1) > 0
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1, 2] = True
    expected[0, 1:4] = True
    assert torch.equal(touched, expected)


def test_pyramid_widens_by_one_cell_per_row_back():
    pyramid = CausalContext(3, 1, 1, rows=3).pyramid()[0, 0]
    assert [int(row.sum()) for row in pyramid] == [25, 9, 1]


def test_borders_use_existing_cells_only():
    """Constant embeddings give equal contexts in cells with equal pyramids; padding values are not used."""
    context = CausalContext(2, 4, 4, rows=2)
    codes = torch.randn(1, 4, 1, 1).expand(1, 4, 5, 5)
    nn.init.constant_(context.conv.weight, 0.1)
    out = context(codes)
    torch.testing.assert_close(out, out[:, :1, :1].expand_as(out))


def test_prediction_of_a_step_is_scored_against_all_patches():
    network, patches = make(2), grid_of_patches(2)
    similarity = network(patches)
    codes = nn.functional.normalize(network.encode(patches), dim=-1).flatten(0, 2)
    context = network.context(network.encode(patches).movedim(-1, 1))
    prediction = nn.functional.normalize(network.predict[1](context[1, 0, 3]), dim=-1)
    torch.testing.assert_close(similarity[1, 3 * 4 + 3], codes @ prediction / 0.1)


def test_temperature_scales_the_scores():
    network, patches = make(2), grid_of_patches(2)
    cold = copy.deepcopy(network)
    cold.temperature = 0.05
    torch.testing.assert_close(cold(patches), 2 * network(patches))


def test_gradient_reaches_every_parameter():
    network = make()
    network(grid_of_patches(batch=1, cells=3)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_too_small_patches_are_refused():
    with pytest.raises(InputError, match="at least 16"):
        make(2)(torch.zeros(1, 4, 4, 1, 8, 8))
