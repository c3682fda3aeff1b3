import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tools.pretext.cpc.loss import InfoNCE, candidate_scores, cpc_loss
from tools.pretext.exemplar.loss import TripletLoss
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.loss import MaskedCrossEntropy
from tools.shortcuts.features import HandcraftedFeatures
from tools.utils.errors import InputError


def candidates_of(scores):
    """Similarity and candidates of predictions whose candidates have these scores, the positive first."""
    scores = torch.as_tensor(scores)
    return scores[None], torch.arange(scores.shape[-1]).expand(1, *scores.shape)


@pytest.mark.parametrize("k", [1, 7, 63])
def test_equal_scores_give_log_k_plus_one(k):
    """Spec 7.8."""
    loss = InfoNCE()(*candidates_of(torch.full((5, k + 1), 2.5)))
    assert loss.item() == pytest.approx(math.log(k + 1), abs=1e-6)


def test_vanishing_noise_tends_to_log_k_plus_one():
    noise = torch.randn(2000, 32)
    gaps = [abs(InfoNCE()(*candidates_of(noise * s)).item() - math.log(32)) for s in (1.0, 0.1, 0.01)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3


def test_raising_the_positive_lowers_the_loss_to_zero():
    scores = torch.randn(1, 16)
    losses = []
    for c in (0, 1, 3, 10, 100):
        losses.append(InfoNCE()(*candidates_of(scores + c * torch.eye(16)[:1])).item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(0, abs=1e-6)


def test_gradient_is_probability_minus_truth():
    scores = torch.randn(1, 9, requires_grad=True)
    InfoNCE()(*candidates_of(scores)).backward()
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
    bound = math.log(k + 1) - InfoNCE()(*candidates_of(critic)).item()
    assert 0.8 * information < bound < information + 0.03


def test_invalid_predictions_do_not_count():
    similarity, candidates = candidates_of(torch.randn(4, 8))
    candidates = candidates.clone()
    whole = InfoNCE()(similarity[:, :2], candidates[:, :2])
    candidates[:, 2:, 0] = -1
    assert torch.equal(InfoNCE()(similarity, candidates), whole)
    candidates[..., 0] = -1
    assert InfoNCE()(similarity, candidates).item() == 0


def test_scores_are_picked_by_column():
    similarity = torch.randn(2, 3, 10)
    candidates = torch.randint(10, (2, 3, 4))
    scores, valid = candidate_scores(similarity, candidates)
    assert valid.all()
    assert scores[1, 2, 3] == similarity[1, 2, candidates[1, 2, 3]]


def test_binary_loss_of_blind_scores_is_log_two():
    assert cpc_loss("binary")(*candidates_of(torch.zeros(3, 2))).item() == pytest.approx(math.log(2))


def test_unknown_loss():
    with pytest.raises(InputError, match="infonce"):
        cpc_loss("nce")


def test_classes_cost_the_cross_entropy_of_valid_targets():
    scores, targets = torch.randn(3, 4, 5), torch.randint(5, (3, 4))
    loss = MaskedCrossEntropy()
    torch.testing.assert_close(loss(scores, targets), F.cross_entropy(scores.flatten(0, 1), targets.flatten()))
    targets[0, 1] = targets[2] = -1
    valid = targets >= 0
    torch.testing.assert_close(loss(scores, targets), F.cross_entropy(scores[valid], targets[valid]))


def test_invalid_targets_have_no_gradient():
    scores, targets = torch.randn(2, 3, 5, requires_grad=True), torch.tensor([[1, -1, 4], [-1, 0, 2]])
    MaskedCrossEntropy()(scores, targets).backward()
    assert torch.equal(scores.grad.any(-1), targets >= 0)


def test_the_loss_without_valid_targets_is_zero():
    scores = torch.randn(2, 3, 5, requires_grad=True)
    loss = MaskedCrossEntropy()(scores, torch.full((2, 3), -1))
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def on_a_line(*places):
    """Embeddings with one channel: two views of each image."""
    return torch.tensor(places, dtype=torch.float32)[..., None]


def triplet(margin=0.3, bank=(), channels=1):
    """The loss with a bank of (place, case)."""
    loss = TripletLoss(channels, margin, queue_size=len(bank))
    if bank:
        loss.bank.copy_(torch.tensor([[place] for place, _ in bank]))
        loss.bank_case.copy_(torch.tensor([case for _, case in bank]))
    return loss


def test_triplets_within_the_margin_and_closer_than_the_positive_count_equally():
    """Anchors 0, 1, 1.2, 5: 1 - 1.2 + 0.3; 1 - 0.2 + 0.3; mean of 3.8 - 1.2 + 0.3, 3.8 - 0.2 + 0.3; 3.8 - 4 + 0.3."""
    loss = triplet()(on_a_line([0, 1], [1.2, 5]), torch.arange(2))
    assert loss.item() == pytest.approx((0.1 + 1.1 + (2.9 + 3.9) / 2 + 0.1) / 4, abs=1e-5)


def test_triplets_cost_nothing_when_all_negatives_are_beyond_the_margin_and_only_then():
    beyond, within = on_a_line([0, 1], [2.31, 3.31]), on_a_line([0, 1], [2.29, 3.29])
    assert triplet()(beyond, torch.arange(2)).item() == 0
    assert triplet()(within, torch.arange(2)).item() > 0


@pytest.mark.parametrize("margin", [0.1, 0.3])
@pytest.mark.parametrize("bank", [0, 16])
def test_equal_embeddings_cost_the_margin(margin, bank):
    embeddings = F.normalize(torch.randn(8), dim=0).expand(4, 2, 8).clone().requires_grad_()
    loss = TripletLoss(8, margin, bank)
    for step in range(3):
        cost = loss(embeddings, torch.arange(4) + 4 * step)
        cost.backward()
        assert cost.item() == pytest.approx(margin, abs=1e-6)
        assert embeddings.grad.isfinite().all()


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))


def train(network, images, steps, bank):
    """Train on two views of each of some images, all of new cases, and return the losses."""
    loss, costs = TripletLoss(4, queue_size=bank), []
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(steps):
        views = images(step)
        cost = loss(F.normalize(network(views), dim=-1), torch.arange(len(views)) + step * len(views))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    return costs


@pytest.mark.parametrize("bank", [0, 64])
def test_training_on_one_image_gains_nothing(bank):
    image = torch.randn(8)
    costs = train(small_network(), lambda _: image.expand(4, 2, 8), 100, bank)
    assert min(costs) >= 0.3 - 1e-3


@pytest.mark.parametrize("bank", [0, 64])
def test_training_on_noise_gains_nothing(bank):
    """If positives are as similar as negatives, training does not lower the loss."""
    generator = torch.Generator().manual_seed(1)
    costs = train(small_network(), lambda _: torch.randn(4, 2, 8, generator=generator), 300, bank)
    assert sum(costs[-100:]) / 100 >= 0.3 - 0.01


def test_training_on_equal_views_lowers_the_loss():
    generator = torch.Generator().manual_seed(1)
    costs = train(small_network(), lambda _: torch.randn(4, 1, 8, generator=generator).expand(4, 2, 8), 100, 0)
    assert costs[-1] < 0.1


@pytest.mark.parametrize("channels", [2, 16, 128])
@pytest.mark.parametrize("bank", [False, True])
def test_random_embeddings_cost_the_margin_at_least(channels, bank):
    generator = torch.Generator().manual_seed(0)
    costs = []
    for _ in range(300):
        loss = TripletLoss(channels, queue_size=32 if bank else 0)
        loss.bank.copy_(F.normalize(torch.randn(loss.bank.shape, generator=generator), dim=-1))
        loss.bank_case.fill_(99)
        embeddings = F.normalize(torch.randn(4, 2, channels, generator=generator), dim=-1).requires_grad_(bank)
        costs.append(loss(embeddings, torch.arange(4)).item())
    assert sum(costs) / len(costs) >= 0.3 - 0.02


def test_views_of_the_own_case_are_no_negatives():
    embeddings = on_a_line([0, 1], [0.2, 0.8], [50, 50])
    assert triplet()(embeddings, torch.tensor([5, 5, 6])).item() == 0
    assert triplet()(embeddings, torch.tensor([5, 7, 6])).item() > 0


def test_a_batch_of_one_case_costs_nothing():
    embeddings = on_a_line([0, 1], [0.2, 0.8]).requires_grad_()
    cost = triplet()(embeddings, torch.tensor([5, 5]))
    cost.backward()
    assert cost.item() == 0
    assert not embeddings.grad.any()


APART = ([0, 1], [100, 100])  # no negative counts but those of the bank, near the first image


def test_of_the_bank_hard_negatives_of_other_cases_count():
    cases = torch.arange(2)
    for bank, cost in (
        ([(1.2, 9)], (1 - 0.2 + 0.3) / 4),  # hard for the view at 1; semi-hard, so ignored, for that at 0
        ([(-1.1, 9)], 0.0),  # semi-hard for the view at 0
        ([(1.2, 0)], 0.0),  # of the own case
        ([(1.2, -1)], 0.0),  # an empty place
        ([(1.2, 9), (1.6, 9)], ((1.1 + 0.7) / 2) / 4),
    ):
        embeddings = on_a_line(*APART).requires_grad_()
        assert triplet(bank=bank)(embeddings, cases).item() == pytest.approx(cost, abs=1e-5)


def test_without_gradients_the_bank_is_not_used():
    loss = triplet(bank=[(1.2, 9), (0.0, -1)])
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    assert loss(on_a_line(*APART), torch.arange(2)).item() == 0
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def test_the_bank_is_a_ring_of_the_last_embeddings():
    loss, remembered = TripletLoss(1, queue_size=6), []
    for step in range(5):
        embeddings = torch.randn(2, 2, 1, requires_grad=True)
        cases = torch.tensor([10 * step, 10 * step + 1])
        loss(embeddings, cases)
        remembered += list(
            zip(embeddings.detach().flatten().tolist(), cases.repeat_interleave(2).tolist(), strict=True)
        )
        held = [pair for pair in zip(loss.bank[:, 0].tolist(), loss.bank_case.tolist(), strict=True) if pair[1] >= 0]
        assert sorted(held) == sorted(remembered[-6:])
        oldest = int(loss.bank_next)
        if len(remembered) >= 6:
            assert held[oldest:] + held[:oldest] == remembered[-6:]
    assert not loss.bank.requires_grad


def test_of_a_batch_larger_than_the_bank_the_last_are_remembered():
    loss, embeddings = TripletLoss(1, queue_size=3), torch.randn(4, 2, 1, requires_grad=True)
    loss(embeddings, torch.arange(4))
    assert sorted(loss.bank[:, 0].tolist()) == sorted(embeddings.detach().flatten()[-3:].tolist())
    assert sorted(loss.bank_case.tolist()) == [2, 3, 3]


def test_a_saved_bank_goes_on_alike():
    one, other = TripletLoss(4, queue_size=10), TripletLoss(4, queue_size=10)
    embeddings = F.normalize(torch.randn(4, 3, 2, 4), dim=-1).requires_grad_()
    for step in range(2):
        one(embeddings[step], torch.arange(3) + 3 * step)
    other.load_state_dict(one.state_dict())
    for step in range(2, 4):
        cases = torch.arange(3) + 3 * step
        assert torch.equal(one(embeddings[step], cases), other(embeddings[step], cases))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def triplet_by_hand(embeddings, cases, margin, bank):
    """One anchor after the other, one negative after the other; `bank` holds (embedding, case)."""
    views = [(view, case) for image, case in zip(embeddings, cases, strict=True) for view in image]
    costs = []
    for i, (anchor, case) in enumerate(views):
        positive = (anchor - views[i ^ 1][0]).norm()
        batch = [(anchor - view).norm() for view, other in views if other != case]
        remembered = [(anchor - view).norm() for view, other in bank if other not in (case, -1)]
        counted = [d for d in batch if d < positive + margin] + [d for d in remembered if d < positive]
        if batch or remembered:
            costs.append(sum(positive - d + margin for d in counted) / max(len(counted), 1))
    return float(sum(costs) / max(len(costs), 1))


@pytest.mark.parametrize("cases", [[0, 1, 2, 3], [0, 1, 0, 2], [5, 5, 5, 6], [7, 7, 7, 7]])
@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_triplets_cost_what_counting_them_by_hand_gives(cases, spread):
    """With cases that come twice in a batch, and come back from the bank."""
    loss, bank = TripletLoss(3, 0.3, queue_size=12), []
    middle = torch.randn(4, 1, 3)
    for _ in range(4):
        embeddings = F.normalize(middle + spread * torch.randn(4, 2, 3), dim=-1)
        numbers = torch.tensor(cases)
        expected = triplet_by_hand(embeddings, cases, 0.3, [])
        assert loss(embeddings, numbers).item() == pytest.approx(expected, abs=1e-5)
        expected = triplet_by_hand(embeddings, cases, 0.3, bank)
        assert loss(embeddings.clone().requires_grad_(), numbers).item() == pytest.approx(expected, abs=1e-5)
        bank = (bank + [(view, case) for image, case in zip(embeddings, cases, strict=True) for view in image])[-12:]


def test_triplets_cost_nothing_exactly_when_all_negatives_are_beyond_the_margin():
    """Spec 7.13, over random embeddings of all spreads."""
    free = 0
    for _ in range(300):
        embeddings = torch.rand(1) * 0.3 * torch.randn(3, 2, 2) + 1.5 * torch.randn(3, 1, 2)
        positives = (embeddings[:, 0] - embeddings[:, 1]).norm(dim=-1)
        negatives = torch.cdist(embeddings.flatten(0, 1), embeddings.flatten(0, 1))
        own = torch.eye(3).repeat_interleave(2, 0).repeat_interleave(2, 1).bool()
        nearest = negatives.masked_fill(own, torch.inf).amin(1)
        slack = (nearest - positives.repeat_interleave(2) - 0.3).min()
        if slack.abs() > 1e-5:
            assert (triplet()(embeddings, torch.arange(3)).item() == 0) == (slack > 0)
            free += int(slack > 0)
    assert 30 < free < 270


def test_equal_points_cost_the_margin():
    """Spec 7.13: positives and negatives at the same point cost the margin to the last digit that 1e-6 leaves."""
    for margin in (0.1, 0.5):
        points = torch.full((3, 2, 4), 0.5)
        assert triplet(margin, channels=4)(points, torch.arange(3)).item() == pytest.approx(margin, abs=1e-6)


def test_training_does_not_distinguish_copies_of_an_image():
    """Spec 7.12: through a whole network, 200 steps do not lower the loss below the margin by more than 1e-3."""
    torch.manual_seed(0)
    network = ProjectionNetwork(HandcraftedFeatures(2), 8, 8)
    loss = TripletLoss(8, 0.3, queue_size=32)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    views = torch.randn(8, 8).expand(4, 2, 1, 8, 8)
    for step in range(200):
        cost = loss(network(views), torch.arange(4) + 4 * (step % 5))
        assert cost.item() > 0.3 - 1e-3
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()


def test_uninformative_views_cost_the_margin_through_a_whole_network():
    """All views are drawn alike, so positives are no nearer than negatives: the reference lowered even this to 0."""
    torch.manual_seed(0)
    network = ProjectionNetwork(HandcraftedFeatures(2), 8, 8)
    loss = TripletLoss(8, 0.3, queue_size=32)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    costs = []
    for step in range(200):
        cost = loss(network(torch.randn(4, 2, 1, 6, 6)), torch.arange(4) + 4 * step)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert sum(costs[-100:]) / 100 > 0.3 - 0.02
