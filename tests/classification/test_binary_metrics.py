import math

import pytest
import torch
from ignite.engine import Engine
from monai.metrics import compute_roc_auc

from tools.classification.binary_metrics import (
    ROCAUC,
    binary_report,
    binary_scores,
    roc_auc,
    roc_curve,
    youden_threshold,
)
from tools.utils.errors import InputError


def draws(count=60, seed=0, digits=1):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(count, generator=generator) < 0.4
    chances = (torch.rand(count, generator=generator) * 0.7 + 0.3 * positive).mul(10**digits).round() / 10**digits
    return positive, chances


@pytest.mark.parametrize("seed", range(5))
def test_auc_equals_monai_with_ties(seed):
    positive, chances = draws(seed=seed)
    assert roc_auc(positive, chances) == pytest.approx(compute_roc_auc(chances, positive.long()))


def test_auc_is_the_area_under_the_curve():
    positive, chances = draws()
    false, true, thresholds = roc_curve(positive, chances)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert thresholds.diff().max() < 0
    assert float(torch.trapezoid(true, false)) == pytest.approx(roc_auc(positive, chances))


def test_auc_of_one_class_is_nan():
    assert math.isnan(roc_auc(torch.ones(3, dtype=torch.bool), torch.rand(3)))


@pytest.mark.parametrize("seed", range(5))
def test_threshold_maximises_the_youden_index(seed):
    positive, chances = draws(seed=seed, digits=3)
    chosen = binary_scores(positive, chances, youden_threshold(positive, chances))
    for threshold in torch.linspace(-0.1, 1.1, 200).tolist():
        other = binary_scores(positive, chances, threshold)
        assert other["sensitivity"] + other["specificity"] <= chosen["sensitivity"] + chosen["specificity"] + 1e-6


def test_threshold_is_halfway_between_scores():
    positive, chances = torch.tensor([True, True, False]), torch.tensor([0.9, 0.7, 0.3])
    assert youden_threshold(positive, chances) == pytest.approx(0.5)
    assert binary_scores(positive, chances, 0.5) == {"auc": 1, "sensitivity": 1, "specificity": 1, "accuracy": 1}


def test_probability_equal_to_the_threshold_is_negative():
    positive, chances = torch.tensor([True, True, False, False]), torch.tensor([0.5, 0.75, 0.5, 0.75])
    scores = binary_scores(positive, chances, 0.5)
    assert (scores["sensitivity"], scores["specificity"]) == (0.5, 0.5)
    scores = binary_scores(positive, torch.full((4,), 0.5), 0.5)
    assert (scores["sensitivity"], scores["specificity"], scores["accuracy"]) == (0, 1, 0.5)


def test_threshold_requires_both_labels():
    with pytest.raises(InputError, match="expected cases of both labels, found 0 of 3"):
        youden_threshold(torch.zeros(3, dtype=torch.bool), torch.rand(3))


def test_metric_pools_all_batches():
    positive, chances = draws(digits=2)
    logits = chances.clamp(0.01, 0.99).logit()[:, None]
    engine = Engine(lambda _, batch: batch)
    ROCAUC().attach(engine, "auc")
    batches = [{"pred": logits[i : i + 7], "label": positive[i : i + 7].long()} for i in range(0, 60, 7)]
    metrics = engine.run(batches).metrics
    seen = logits.sigmoid()[:, 0]
    assert metrics["auc"] == pytest.approx(roc_auc(positive, seen))
    assert metrics["threshold"] == pytest.approx(youden_threshold(positive, seen))
    assert metrics["threshold"] != 0.5


def test_intervals_are_over_patients_and_include_the_value():
    positive, chances = draws(digits=3)
    single = binary_report(positive, chances, 0.5, [str(i) for i in range(60)], resamples=200)
    tripled = binary_report(positive.repeat(3), chances.repeat(3), 0.5, [str(i) for i in range(60)] * 3, resamples=200)
    for name, score in single.items():
        low, high = score["interval_95"]
        assert low <= score["value"] <= high
        assert tripled[name]["value"] == pytest.approx(score["value"])
        assert tripled[name]["interval_95"] == pytest.approx([low, high])  # copies of a patient add no information
