import math

import pytest
import torch

from tools.pretext.probe.metric import linear_probe_accuracy, ridge_regression


def blobs(count, classes=3, channels=5, apart=6.0, seed=0):
    """Samples around one corner per class; the first class has most of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.zeros(3 * count), torch.arange(classes).repeat(count)]).long()
    means = apart * torch.eye(channels)[:classes]
    return means[labels] + torch.randn(len(labels), channels, generator=generator), labels


def test_separate_classes_are_distinguished():
    fit, test = blobs(30), blobs(20, seed=1)
    assert linear_probe_accuracy(*fit, *test, classes=3) > 0.97


def test_features_without_a_message_earn_chance():
    """Although answering the commonest class would be right more often."""
    fit, test = blobs(400, apart=0.0), blobs(400, apart=0.0, seed=1)
    assert linear_probe_accuracy(*fit, *test, classes=3) == pytest.approx(1 / 3, abs=0.05)
    constant = torch.ones(len(fit[1]), 4)
    assert linear_probe_accuracy(constant, fit[1], constant, fit[1], classes=3) == pytest.approx(1 / 3)


def test_units_of_features_do_not_matter():
    (features, labels), (others, truth) = blobs(30, apart=2.0), blobs(30, apart=2.0, seed=1)
    scale, shift = torch.tensor([1e-4, 1.0, 1e3, 10.0, 0.1]), torch.tensor([5.0, -3.0, 0.0, 100.0, 1.0])
    plain = linear_probe_accuracy(features, labels, others, truth, classes=3)
    changed = linear_probe_accuracy(features * scale + shift, labels, others * scale + shift, truth, classes=3)
    assert 0.4 < plain < 1
    assert changed == pytest.approx(plain, abs=0.02)


def test_both_systems_of_equations_have_one_solution():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 8, generator=generator).double()
    labels, weights = torch.arange(8) % 2, torch.full((8,), 1 / 8).double()
    wide = ridge_regression(
        torch.cat([features, torch.zeros(8, 1).double()], 1), labels, weights, 2
    )  # 8 equations, 9 unknowns
    torch.testing.assert_close(wide[:8], ridge_regression(features, labels, weights, 2))


@pytest.mark.parametrize(("variance", "kept"), [(1.0, 10 / 11), (0.1, 1 / 2), (0.01, 1 / 11)])
def test_directions_of_little_variance_are_damped(variance, kept):
    """With a tenth of the variance half of the slope is left."""
    labels = torch.arange(8) % 2
    features = (2.0 * labels - 1)[:, None] * variance**0.5
    found = ridge_regression(features.double(), labels, torch.full((8,), 1 / 8).double(), 2)
    assert (found[0, 1] * variance**0.5).item() == pytest.approx(kept / 2)
    assert found[0, 0] == pytest.approx(-found[0, 1])


def test_a_rare_class_weighs_as_much_as_a_common_one():
    """Two overlapping classes, one twenty times as common: the decision boundary is halfway between them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(40000), torch.ones(2000)]).long()
    features = [1.5 * labels[:, None] + torch.randn(42000, 1, generator=generator) for _ in range(2)]
    found = linear_probe_accuracy(features[0], labels, features[1], labels, classes=2)
    assert found == pytest.approx(0.773, abs=0.015)  # the normal distribution up to 0.75


def test_a_broken_encoder_is_no_number():
    features, labels = blobs(5)
    assert math.isnan(linear_probe_accuracy(features * math.nan, labels, features, labels, classes=3))
