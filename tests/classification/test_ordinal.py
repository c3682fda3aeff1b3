import pytest
import torch

from tools.classification.ordinal import (
    OrdinalLoss,
    balanced_weights,
    decode_grade,
    encode_grade,
    grade_probabilities,
    referable_probability,
)

GRADES = torch.arange(5)


def test_decoding_inverts_encoding():
    assert torch.equal(decode_grade(2 * encode_grade(GRADES) - 1), GRADES)


def test_every_vector_of_logits_gives_a_grade():
    """No image is excluded; without a positive logit the grade is 0."""
    logits = 5 * torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    grades = decode_grade(logits)
    assert set(grades.tolist()) == set(range(5))
    assert decode_grade(torch.full((1, 4), -3.0)).item() == 0
    assert decode_grade(torch.full((1, 4), 3.0)).item() == 4


def test_probabilities_sum_to_one_and_agree_with_confident_grades():
    logits = 4 * torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    chances = grade_probabilities(logits)
    assert (chances >= 0).all()
    torch.testing.assert_close(chances.sum(-1), torch.ones(200))
    torch.testing.assert_close(referable_probability(logits), chances[:, 2:].sum(-1))
    certain = grade_probabilities(40 * (2 * encode_grade(GRADES) - 1))
    torch.testing.assert_close(certain, torch.eye(5))


def test_monotonic_probabilities_are_unchanged():
    logits = torch.tensor([[3.0, 1.0, -1.0, -3.0]])
    torch.testing.assert_close(1 - grade_probabilities(logits)[:, 0], logits[:, 0].sigmoid())
    torch.testing.assert_close(referable_probability(logits), logits[:, 1].sigmoid())


def test_balanced_weights_are_one_on_average_and_heavier_for_rare_grades():
    grades = [0] * 70 + [1] * 20 + [2] * 10
    weights = balanced_weights(grades)
    assert float(weights[grades].mean()) == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]
    assert weights[3] == weights[4] == weights[2]


@pytest.mark.parametrize("grades", [None, [0, 0, 0, 1, 2, 3, 4]])
def test_loss_decreases_to_zero_for_confident_predictions(grades):
    loss, signs = OrdinalLoss(grades), 2 * encode_grade(GRADES) - 1
    values = [float(loss(strength * signs, GRADES)) for strength in (-5, 0, 1, 3, 50)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-5)


def test_weights_shift_the_loss_to_rare_grades():
    logits, truth = torch.zeros(2, 4), torch.tensor([0, 4])
    logits[1] = -2.0  # wrong about the rare one
    assert OrdinalLoss([0] * 9 + [4])(logits, truth) > OrdinalLoss()(logits, truth)
