import math

import pytest
import torch
from ignite.engine import Engine

from tools.classification.grading_metrics import (
    QuadraticWeightedKappa,
    confusion_matrix,
    grading_report,
    grading_scores,
    quadratic_weighted_kappa,
)
from tools.classification.ordinal import decode_grade, encode_grade


def pairs(count, size=40):
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        truth = torch.randint(0, 5, (size,), generator=generator)
        noise = torch.randint(-1, 2, (size,), generator=generator)
        yield truth, (truth + noise).clamp(0, 4)


def brute_force_kappa(truth, prediction, grades=5):
    total, n = [0.0, 0.0], len(truth)
    for i in range(grades):
        for j in range(grades):
            observed = sum(t == i and a == j for t, a in zip(truth, prediction, strict=True)) / n
            expected = truth.count(i) / n * prediction.count(j) / n
            weight = (i - j) ** 2 / (grades - 1) ** 2
            total[0] += weight * observed
            total[1] += weight * expected
    return 1 - total[0] / total[1]


def test_kappa_equals_the_definition():
    for truth, prediction in pairs(100):
        assert quadratic_weighted_kappa(truth, prediction) == pytest.approx(
            brute_force_kappa(truth.tolist(), prediction.tolist()), abs=1e-9
        )


def test_kappa_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for truth, prediction in pairs(20):
        expected = metrics.cohen_kappa_score(truth, prediction, weights="quadratic", labels=range(5))
        assert quadratic_weighted_kappa(truth, prediction) == pytest.approx(expected, abs=1e-9)


def test_kappa_extremes():
    truth = torch.tensor([0, 1, 2, 3, 4] * 20)
    assert quadratic_weighted_kappa(truth, truth) == 1
    assert quadratic_weighted_kappa(truth, 4 - truth) == pytest.approx(-1)
    assert quadratic_weighted_kappa(truth, torch.full_like(truth, 2)) == 0
    assert quadratic_weighted_kappa(torch.zeros(5), torch.zeros(5)) == 1
    shuffled = torch.stack([truth[torch.randperm(100, generator=torch.Generator().manual_seed(s))] for s in range(50)])
    assert sum(quadratic_weighted_kappa(truth, one) for one in shuffled) / 50 == pytest.approx(0, abs=0.05)


def test_scores_are_counts():
    truth = torch.tensor([0, 0, 1, 2, 2, 2])
    logits = 2 * encode_grade(torch.tensor([0, 1, 1, 2, 0, 3])) - 1
    scores = grading_scores(truth, logits)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert (scores["recall_0"], scores["recall_1"]) == (0.5, 1.0)
    assert scores["recall_2"] == pytest.approx(1 / 3)
    assert math.isnan(scores["recall_4"])
    assert confusion_matrix(truth, decode_grade(logits)).sum() == 6
    positive, chances = truth >= 2, logits[:, 1]  # two certain of four referable outcomes are tied
    ahead = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in chances[positive].tolist()
        for n in chances[~positive].tolist()
    ]
    assert scores["referable_auc"] == pytest.approx(sum(ahead) / len(ahead))


def test_auc_is_undefined_without_both_classes():
    assert math.isnan(grading_scores(torch.zeros(4, dtype=torch.long), torch.randn(4, 4))["referable_auc"])


def test_intervals_include_the_value_and_widen_with_fewer_patients():
    truth, prediction = next(pairs(1, 200))
    logits = 2 * encode_grade(prediction) - 1
    eyes = grading_report(truth, logits, [str(i) for i in range(200)], resamples=200)
    few = grading_report(truth, logits, [str(i // 20) for i in range(200)], resamples=200)
    again = grading_report(truth, logits, [str(i) for i in range(200)], resamples=200)
    for score in eyes.values():
        assert score["interval_95"][0] <= score["value"] <= score["interval_95"][1]
    assert eyes == again
    assert few["accuracy"]["interval_95"] != eyes["accuracy"]["interval_95"]


def test_metric_pools_all_batches():
    truth, prediction = next(pairs(1))
    logits = 2 * encode_grade(prediction) - 1
    engine = Engine(lambda _, batch: batch)
    QuadraticWeightedKappa().attach(engine, "kappa")
    batches = [{"pred": logits[i : i + 7], "label": truth[i : i + 7]} for i in range(0, 40, 7)]
    state = engine.run(batches)
    assert state.metrics["kappa"] == pytest.approx(quadratic_weighted_kappa(truth, prediction))
    assert state.metrics["accuracy"] == pytest.approx(float((truth == prediction).float().mean()))
