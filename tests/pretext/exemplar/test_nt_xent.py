"""The loss of SimCLR against its formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from tools.pretext.exemplar import NTXentLoss, TripletLoss, exemplar_loss
from tools.utils.errors import InputError


def embeddings(images, channels=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(images, 2, channels, generator=generator), dim=-1)


def by_hand(pairs, cases, temperature):
    """Equation 1 of Chen et al., one view after the other; views of the same case are no negatives."""
    views = [(view, case) for image, case in zip(pairs, cases, strict=True) for view in image]
    costs = []
    for i, (anchor, case) in enumerate(views):
        positive = math.exp(float(anchor @ views[i ^ 1][0]) / temperature)
        negatives = [math.exp(float(anchor @ view) / temperature) for view, other in views if other != case]
        if negatives:
            costs.append(-math.log(positive / (positive + sum(negatives))))
    return sum(costs) / max(len(costs), 1)


@pytest.mark.parametrize("cases", [[0, 1, 2, 3], [0, 1, 0, 2], [7, 7, 7, 7]])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_it_is_the_formula(cases, temperature):
    pairs = embeddings(len(cases))
    loss = NTXentLoss(temperature)(pairs, torch.tensor(cases))
    assert loss.item() == pytest.approx(by_hand(pairs, cases, temperature), abs=1e-5)


@pytest.mark.parametrize("images", [2, 5])
def test_equal_embeddings_cost_the_logarithm_of_the_candidates(images):
    pairs = torch.ones(images, 2, 4) / 2
    assert NTXentLoss()(pairs, torch.arange(images)).item() == pytest.approx(math.log(2 * images - 1), abs=1e-5)


def test_closer_positives_cost_less():
    pairs = embeddings(6)
    costs = [
        NTXentLoss()(F.normalize(pairs + t * pairs.mean(1, keepdim=True), dim=-1), torch.arange(6)).item()
        for t in (0, 1, 4)
    ]
    assert costs[0] > costs[1] > costs[2]


def test_half_precision_does_not_reach_the_loss():
    """As under the trainer's autocast, where a product of matrices would be rounded to bfloat16."""
    pairs, cases = embeddings(6), torch.arange(6)
    with torch.autocast("cpu", torch.bfloat16):
        found = NTXentLoss()(pairs, cases)
    assert torch.equal(found, NTXentLoss()(pairs, cases))


def test_a_batch_of_one_case_costs_nothing():
    pairs = embeddings(2).requires_grad_()
    cost = NTXentLoss()(pairs, torch.tensor([5, 5]))
    cost.backward()
    assert cost.item() == 0
    assert not pairs.grad.any()


def test_losses_by_name():
    assert isinstance(exemplar_loss("triplet", 8, margin=0.2, queue_size=4), TripletLoss)
    assert exemplar_loss("nt_xent", 8, temperature=0.3).temperature == 0.3
    with pytest.raises(InputError, match="did you mean nt_xent"):
        exemplar_loss("nt-xent", 8)
