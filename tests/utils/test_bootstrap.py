"""Intervals are computed over at least three independent units."""

import json
import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tools.classification.binary_metrics import binary_report
from tools.classification.grading_metrics import grading_report
from tools.classification.ordinal import encode_grade
from tools.detection.froc import match_detections
from tools.detection.metrics import detection_report, rank_detections
from tools.pretext.evaluation import EvaluationHandlers
from tools.segmentation.reports import SegmentationReport
from tools.training.reports import describe_scores
from tools.utils.bootstrap import bootstrap_interval, bootstrap_scores, count_units, describe_interval, percentiles
from tools.utils.files import write_json


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7], [0.2, 0.9]])
def test_fewer_than_three_values_have_a_mean_and_no_interval(values):
    mean, low, high = bootstrap_interval(values)
    assert mean == pytest.approx(np.mean(values))
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_is_that_of_the_normal_distribution_for_many_values(level):
    values = np.random.default_rng(0).gamma(2.0, size=2000)
    mean, low, high = bootstrap_interval(values, level)
    half = NormalDist().inv_cdf(0.5 + level / 2) * values.std() / len(values) ** 0.5
    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.1)
    assert (mean, low, high) == bootstrap_interval(values, level)


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_interval([0.5] * 5) == (0.5, 0.5, 0.5)


def mean_of(values):
    return lambda chosen: {"mean": float(torch.tensor(values)[chosen].mean())}


def test_groups_are_the_units_not_their_items():
    values = list(np.linspace(0, 1, 40))
    few = bootstrap_scores(mean_of(values), ["a", "b"] * 20, 50)["mean"]
    enough = bootstrap_scores(mean_of(values), ["a", "b", "c", "d"] * 10, 50)["mean"]
    assert (few["n"], enough["n"]) == (2, 4)
    assert all(map(math.isnan, few["interval_95"]))
    assert few["value"] == pytest.approx(0.5)
    assert enough["interval_95"][0] < enough["value"] < enough["interval_95"][1]


def test_groups_of_unequal_size_weigh_by_their_items():
    """A bootstrap sample holds a group's items together: the mean is over items, as many as are drawn."""
    values, groups = [1.0] * 90 + [0.0] * 3, ["large"] * 90 + ["a", "b", "c"]
    low, high = bootstrap_scores(mean_of(values), groups, 2000)["mean"]["interval_95"]
    assert low == 0  # the large group is missing from a third of the samples
    assert 0.99 < high <= 1


@pytest.mark.parametrize("few", [1, 2])
def test_a_figure_of_a_class_with_fewer_than_three_patients_has_no_interval(few):
    """Ten patients with two eyes each; only some of them have the class, and all predictions for it are correct."""
    patients = [str(i // 2) for i in range(20)]
    truth = torch.tensor([3 * (int(patient) < few) for patient in patients])
    logits = 4 * encode_grade(truth) - 2
    report = grading_report(truth, logits, patients, resamples=50)
    for name in ("recall_3", "referable_auc"):
        assert report[name]["value"] == 1
        assert report[name]["n"] == few
        assert all(map(math.isnan, report[name]["interval_95"]))
    assert (report["recall_0"]["n"], report["recall_2"]["n"], report["accuracy"]["n"]) == (10 - few, 0, 10)
    assert report["accuracy"]["interval_95"] == [1, 1]
    report = binary_report(truth > 0, (truth > 0) * 0.9, 0.5, patients, resamples=50)
    assert {name: score["n"] for name, score in report.items()} == {
        "auc": few, "sensitivity": few, "specificity": 10 - few, "accuracy": 10,
    }  # fmt: skip
    other = binary_report(truth == 0, (truth == 0) * 0.9, 0.5, patients, resamples=50)
    assert (other["auc"]["n"], other["sensitivity"]["n"], other["specificity"]["n"]) == (few, 10 - few, few)


@pytest.mark.parametrize("rare", [0, 3])
def test_an_area_needs_three_patients_of_either_kind(rare):
    """Nearly all are referable, or nearly none."""
    truth = torch.tensor([rare, rare, *[3 - rare] * 10])
    area = grading_report(truth, 4 * encode_grade(truth) - 2, list("abcdefghijkl"), resamples=20)["referable_auc"]
    assert (area["value"], area["n"]) == (1, 2)
    assert all(map(math.isnan, area["interval_95"]))


def test_sensitivity_over_two_patients_with_lesions_has_no_interval():
    box, none = torch.tensor([[10.0, 10, 20, 20]]), torch.empty(0, 4)
    gt_boxes = [box, none, none, box, none]
    found = [{"boxes": box, "scores": torch.tensor([0.9])} for _ in gt_boxes]
    matches = [match_detections(one, truth) for one, truth in zip(found, gt_boxes, strict=True)]
    report = detection_report(matches, rank_detections(found, gt_boxes), list("abcde"), resamples=20)
    assert {score["n"] for score in report.values()} == {2}
    assert all(math.isnan(end) for score in report.values() for end in score["interval_95"])


def test_what_is_printed_and_written_of_no_interval(tmp_path):
    scores = bootstrap_scores(mean_of([0.25, 0.75]), ["a", "b"], 10)
    assert describe_scores(scores) == [f"  {'mean':20} 0.500 (n = 2, no interval)"]
    write_json(tmp_path / "scores.json", scores)
    assert json.loads((tmp_path / "scores.json").read_text())["mean"] == {
        "value": 0.5, "interval_95": [None, None], "n": 2
    }  # fmt: skip
    assert describe_interval((0.25, 0.5), 7, ".1%") == "25.0% to 50.0%"


def test_units_are_counted_where_they_are_needed():
    groups = ["a", "a", "b", "c"]
    assert count_units(groups) == 3
    assert count_units(groups, [[True, True, False, False]]) == 1
    assert count_units(groups, [[True, False, True, True], torch.tensor([False, True, True, False])]) == 2
    assert count_units(groups, [np.zeros(4, bool)]) == 0


def test_samples_without_the_figure_do_not_count():
    drawn = [*range(101), math.nan, math.nan]
    assert percentiles(drawn, 3) == (2.5, 97.5)
    assert all(map(math.isnan, percentiles(drawn, 2)))
    assert all(map(math.isnan, percentiles([math.nan], 3)))
    assert percentiles([0.1, *[math.inf] * 9], 3, method="inverted_cdf") == (0.1, math.inf)


def reported(kind, folder, count):
    """What a report about so many cases writes."""
    cases = [f"case_{i}" for i in range(count)]
    if kind == "pretext":
        report = EvaluationHandlers(
            nn.Identity(), SimpleNamespace(chance=0.1), [], "checkpoint.pt", str(folder), {}, {}, nn.Identity()
        )
        report.scores = {case: [0.5] for case in cases}
        report.report(SimpleNamespace(state=SimpleNamespace(metrics={})))
        return json.loads((folder / "evaluation.json").read_text())["interval_95"]
    report = SegmentationReport(None, SimpleNamespace(classes={"organ": (1,)}), [1], str(folder))
    report.rows = [{"case": case, "patient": case, "mean_dice": 0.5, "hd95_organ": 2.0} for case in cases]
    report.report(None)
    return json.loads((folder / "evaluation.json").read_text())["scores"]["mean_dice"]["interval_95"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", ["pretext", "segmentation"])
def test_reports_over_fewer_than_three_cases_have_no_interval(kind, count, tmp_path, caplog, monkeypatch):
    for name in ("best_and_worst", "draw_cases", "figures.save"):
        monkeypatch.setattr(f"tools.segmentation.reports.{name}", lambda *_: None)
    monkeypatch.setattr("tools.pretext.evaluation.pretext_settings", lambda *_: {})
    with caplog.at_level("INFO"):
        interval = reported(kind, tmp_path, count)
    assert interval == ([0.5, 0.5] if count == 3 else [None, None])
    assert (f"n = {count}, no interval" in caplog.text) == (count < 3)
    assert "nan" not in caplog.text
