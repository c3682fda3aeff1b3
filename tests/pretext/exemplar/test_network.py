"""Projection head with batch norm."""

import pytest
import torch

from tools.networks import build_encoder
from tools.pretext.exemplar import ProjectionNetwork
from tools.utils.errors import InputError


def network(**options):
    torch.manual_seed(0)
    return ProjectionNetwork(build_encoder(["unet", {"features": [8] * 5}]), 8, 16, **options)


def test_batch_norm_separates_embeddings_of_scans_that_are_nearly_equal():
    views = torch.rand(1, 1, 1, 16, 16, 16) + 0.02 * torch.rand(6, 2, 1, 16, 16, 16)
    spread = {norm: network(head_norm=norm)(views).flatten(0, 1).std(0).norm() for norm in ("layer", "batch")}
    assert spread["batch"] > 10 * spread["layer"]


def test_embeddings_do_not_depend_on_the_batch_in_evaluation():
    made, views = network(head_norm="batch"), torch.rand(4, 2, 1, 16, 16, 16)
    made(views)
    made.eval()
    torch.testing.assert_close(made(views)[:2], made(views[:2]))


def test_an_unknown_norm_is_refused():
    with pytest.raises(InputError, match="head_norm"):
        network(head_norm="instance")
