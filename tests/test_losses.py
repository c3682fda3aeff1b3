import math

import pytest
import torch

from tools.errors import InputError
from tools.losses import InfoNCE, choice_scores, cpc_loss


def question(scores):
    """Similarity and candidates of questions whose candidates have these scores, the positive first."""
    scores = torch.as_tensor(scores)
    return scores[None], torch.arange(scores.shape[-1]).expand(1, *scores.shape)


@pytest.mark.parametrize("k", [1, 7, 63])
def test_equal_scores_give_log_k_plus_one(k):
    """Spec 7.8."""
    loss = InfoNCE()(*question(torch.full((5, k + 1), 2.5)))
    assert loss.item() == pytest.approx(math.log(k + 1), abs=1e-6)


def test_vanishing_noise_tends_to_log_k_plus_one():
    noise = torch.randn(2000, 32)
    gaps = [abs(InfoNCE()(*question(noise * s)).item() - math.log(32)) for s in (1.0, 0.1, 0.01)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3


def test_raising_the_positive_lowers_the_loss_to_zero():
    scores = torch.randn(1, 16)
    losses = []
    for c in (0, 1, 3, 10, 100):
        losses.append(InfoNCE()(*question(scores + c * torch.eye(16)[:1])).item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(0, abs=1e-6)


def test_gradient_is_probability_minus_truth():
    scores = torch.randn(1, 9, requires_grad=True)
    InfoNCE()(*question(scores)).backward()
    expected = scores.detach().softmax(-1)
    expected[0, 0] -= 1
    torch.testing.assert_close(scores.grad, expected)


def test_bound_on_mutual_information():
    """log(K+1) - loss stays below the mutual information of a Gaussian pair, even with the optimal critic."""
    generator = torch.Generator().manual_seed(0)
    rho, k, n = 0.9, 31, 4000
    x = torch.randn(n, 1, generator=generator)
    y = torch.randn(n, k + 1, generator=generator)
    y[:, :1] = rho * x + math.sqrt(1 - rho**2) * y[:, :1]
    critic = (rho * x * y - rho**2 * (x**2 + y**2) / 2) / (1 - rho**2)
    information = -0.5 * math.log(1 - rho**2)
    bound = math.log(k + 1) - InfoNCE()(*question(critic)).item()
    assert 0.8 * information < bound < information + 0.03


def test_unasked_questions_do_not_count():
    similarity, candidates = question(torch.randn(4, 8))
    candidates = candidates.clone()
    whole = InfoNCE()(similarity[:, :2], candidates[:, :2])
    candidates[:, 2:, 0] = -1
    assert torch.equal(InfoNCE()(similarity, candidates), whole)
    candidates[..., 0] = -1
    assert InfoNCE()(similarity, candidates).item() == 0


def test_scores_are_picked_by_column():
    similarity = torch.randn(2, 3, 10)
    candidates = torch.randint(10, (2, 3, 4))
    scores, asked = choice_scores(similarity, candidates)
    assert asked.all()
    assert scores[1, 2, 3] == similarity[1, 2, candidates[1, 2, 3]]


def test_binary_loss_of_blind_scores_is_log_two():
    assert cpc_loss("binary")(*question(torch.zeros(3, 2))).item() == pytest.approx(math.log(2))


def test_unknown_loss():
    with pytest.raises(InputError, match="infonce"):
        cpc_loss("nce")
