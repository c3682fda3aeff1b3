import numpy as np
import pytest
import torch

from tools.pretext.accuracy import Top1Accuracy, top1_correct
from tools.pretext.cpc.loss import candidate_top1_correct
from tools.utils.bootstrap import bootstrap_interval


def test_ties_count_as_guesses():
    scores = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [2, 2, 2, 2]]])
    correct, valid = candidate_top1_correct(scores, torch.arange(4).expand(1, 4, 4))
    assert correct.tolist() == [[1, 0, 0.5, 0.25]]
    assert valid.all()


def test_rounding_differences_tie():
    scores = torch.full((1, 1, 4), 10.0)
    scores[0, 0, 0] += 5e-6
    assert candidate_top1_correct(scores, torch.arange(4).expand(1, 1, 4))[0].item() == 0.25


def test_differences_beyond_rounding_do_not_tie():
    scores = torch.tensor([10.0, 10.001, -3.0])
    assert top1_correct(scores, torch.tensor(1)).item() == 1
    assert top1_correct(scores, torch.tensor(0)).item() == 0


def test_scores_of_nothing_tie():
    for value in (0.0, -1.0, 3.0):
        assert top1_correct(torch.full((2, 4), value), torch.tensor([0, 3])).tolist() == [0.25, 0.25]


def test_accumulates_over_batches_and_skips_invalid_targets():
    metric = Top1Accuracy(candidate_top1_correct)
    candidates = torch.arange(2).expand(1, 2, 2).clone()
    metric.update((torch.tensor([[[1.0, 0], [1, 0]]]), candidates))
    candidates[0, 0, 0] = -1
    metric.update((torch.tensor([[[1.0, 0], [0, 1]]]), candidates))
    assert metric.compute() == pytest.approx(2 / 3)


def test_interval_has_the_nominal_coverage():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        mean, low, high = bootstrap_interval(rng.normal(size=40), resamples=300)
        assert low <= mean <= high
        hits += low <= 0 <= high
    assert 0.86 <= hits / 200 <= 1
