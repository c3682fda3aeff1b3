"""Scores computed from table rows equal the bundle's scores, for any weights of the cases."""

import csv
import json
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import made_study
import numpy as np
import pytest
import torch

from tools.classification.binary_metrics import roc_auc
from tools.classification.binary_reports import BinaryReport
from tools.classification.grading_metrics import quadratic_weighted_kappa
from tools.classification.grading_reports import GradingReport
from tools.detection.froc import match_detections, pool_matches
from tools.detection.metrics import detection_scores
from tools.detection.reports import DetectionReport
from tools.segmentation.reports import SegmentationReport
from tools.study.scores import build_scorer, results_file, unweighted_score
from tools.utils.errors import InputError

MODEL = SimpleNamespace(card={"selected": {"threshold": 0.5}}, path="model.pt")
CASES, PATIENTS = [f"case_{i}" for i in range(24)], [f"patient_{i // 2}" for i in range(24)]


def segmentation_report(folder, rng):
    report = SegmentationReport(MODEL, SimpleNamespace(classes={"organ": (1,)}), [1], str(folder))
    values = rng.random(24).tolist()
    report.rows = [
        {"case": case, "patient": patient, "mean_dice": value, "dice_organ": value}
        for case, patient, value in zip(CASES, PATIENTS, values, strict=True)
    ]
    return report


def collected(report, logits, labels):
    report.logits, report.labels, report.cases, report.patients = [logits], [labels], CASES, PATIENTS
    return report


def grading_report(folder, rng):
    logits = torch.from_numpy(rng.normal(size=(24, 4))).float().sort(dim=1, descending=True).values
    return collected(GradingReport(MODEL, str(folder)), logits, torch.arange(24) % 5)


def binary_report(folder, rng):
    """All logits are near one another: rounded probabilities would tie."""
    logits = torch.from_numpy(rng.normal(scale=1e-4, size=(24, 1))).float()
    return collected(BinaryReport(MODEL, ["benign", "malignant"], str(folder)), logits, torch.arange(24) % 2)


def image(rng):
    """Two lesions; boxes on the first, on both, on none; the second lesion of some images is noisy."""
    lesions = torch.tensor([[10.0, 10, 20, 20], [11, 10, 21, 20]])
    boxes = torch.cat([lesions[:1], lesions[:1] + 1, torch.tensor([[40.0, 40, 50, 50]]).repeat(12, 1)])
    kept = torch.from_numpy(rng.random(len(boxes)) < 0.6)
    scores = torch.from_numpy(rng.random(len(boxes))).float()
    return {
        "gt_boxes": lesions,
        "types": torch.tensor([1, 5]),
        "noisy": torch.tensor([False, rng.random() < 0.3]),
        "spacing": 1.0,
        "detections": {"boxes": boxes[kept], "scores": scores[kept]},
    }


REPORTS = {
    "grading_report": "tools.classification.grading_reports",
    "binary_report": "tools.classification.binary_reports",
    "detection_report": "tools.detection.reports",
}


def detection_report(folder, rng):
    report = DetectionReport(MODEL, str(folder), exclude_noisy=True)
    images = zip(CASES, PATIENTS, strict=True)
    report.items = [{"case": case, "patient": patient, **image(rng)} for case, patient in images]
    report.matches = [
        match_detections(one["detections"], one["gt_boxes"], gt_ignore=one["noisy"]) for one in report.items
    ]
    return report


@pytest.mark.parametrize(
    ("score", "make", "name"),
    [
        ("mean_dice", segmentation_report, "mean"),
        ("kappa", grading_report, "value"),
        ("auc", binary_report, "value"),
        ("mean_sensitivity", detection_report, "value"),
    ],
)
def test_the_rows_of_a_report_give_its_score(score, make, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.utils.figures.save", lambda *_: None)
    monkeypatch.setattr("tools.segmentation.reports.draw_cases", lambda *_: None)
    monkeypatch.setattr("tools.segmentation.reports.best_and_worst", lambda *_: None)
    monkeypatch.setattr(DetectionReport, "draw", lambda _: None)
    for function, module in REPORTS.items():
        whole = getattr(import_module(module), function)
        monkeypatch.setattr(f"{module}.{function}", partial(whole, resamples=2))
    report = make(tmp_path, np.random.default_rng(0))
    (report.report if score == "mean_dice" else report._finish)(None)
    with open(tmp_path / results_file(score), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["patient"]) for row in rows] == list(zip(CASES, PATIENTS, strict=True))
    message = json.loads((tmp_path / "evaluation.json").read_text())["scores"][score][name]
    assert 0 < abs(message) < 1
    assert unweighted_score(build_scorer(score, rows), len(rows)) == pytest.approx(message, abs=1e-12)


def reference(score, rows, counts):
    """The bundles' own function of the cases, each as often as it is there."""
    again = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    if score == "kappa":
        return quadratic_weighted_kappa(*(torch.tensor([int(row[k]) for row in again]) for k in ("truth", "grade")))
    truth, chances = ([float(row[k]) for row in again] for k in ("truth", "probability_malignant"))
    return roc_auc(torch.tensor(truth) > 0, torch.tensor(chances, dtype=torch.float64))


@pytest.mark.parametrize(("score", "make"), [("kappa", made_study.grades), ("auc", made_study.chances)])
def test_weights_are_repeats(score, make):
    rng = np.random.default_rng(1)
    rows = make(rng, 0.5, made_study.made_cases(20, 1))
    counts = rng.multinomial(20, np.full(20, 0.05), size=30)
    counts[0], counts[1] = np.eye(20, dtype=int)[:2] * 20  # one class only
    found = build_scorer(score, rows)(counts.astype(float))
    np.testing.assert_allclose(found, [reference(score, rows, one) for one in counts], atol=1e-12)


@pytest.mark.parametrize("chunk", [100, 2**17])
def test_weights_are_repeats_for_detections_too(chunk, monkeypatch):
    monkeypatch.setattr("tools.study.scores.CHUNK", chunk)
    rng = np.random.default_rng(1)
    rows = made_study.detections(rng, 0.6, made_study.made_cases(20, 1))
    counts = rng.multinomial(20, np.full(20, 0.05), size=8)
    counts[0] = np.eye(20, dtype=int)[0] * 20
    found = build_scorer("mean_sensitivity", rows)(counts.astype(float))
    for one, value in zip(counts, found, strict=True):
        again = [row for row, count in zip(rows, one, strict=True) for _ in range(count)]
        pool = pool_matches([matches_of(row) for row in again])
        assert value == pytest.approx(detection_scores(pool)["mean_sensitivity"], abs=1e-12)


def matches_of(row):
    """Made of boxes: a lesion each, found ones at their place, false ones far away."""
    found, false = ([float(one) for one in row[f"{name}_scores"].split()] for name in ("found", "false"))
    lesions = torch.tensor([[100.0 * i, 0, 100 * i + 10, 10] for i in range(row["lesions"])]).reshape(-1, 4)
    boxes = torch.cat([lesions[: len(found)], torch.tensor([[0.0, 500, 10, 510]]).repeat(len(false), 1)])
    return match_detections({"boxes": boxes, "scores": torch.tensor(found + false).double()}, lesions)


def test_ties_count_half():
    rows = [{"truth": truth, "probability_x": chance} for truth, chance in ((1, 0.5), (0, 0.5), (1, 0.2), (0, 0.1))]
    assert unweighted_score(build_scorer("auc", rows[:2]), 2) == 0.5
    assert unweighted_score(build_scorer("auc", rows), 4) == (0.5 + 1 + 0 + 1) / 4


def test_a_column_is_averaged_and_a_distance_refused():
    rows = [{"dice_WT": "0.25", "hd95_WT": "3"}, {"dice_WT": "0.75", "hd95_WT": "5"}]
    assert unweighted_score(build_scorer("dice_WT", rows), 2) == 0.5
    with pytest.raises(InputError, match="higher is better"):
        build_scorer("hd95_WT", rows)
    with pytest.raises(InputError, match="column dice_ET"):
        build_scorer("dice_ET", rows)
