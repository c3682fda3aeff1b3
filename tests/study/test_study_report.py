"""Files of a complete or partial study after its report."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
from made_study import detections, dice, made_cases, write_plan, write_run, write_study
from matplotlib.image import imread

from tools.study.comparison import Difference, Estimate, Resampling, compare
from tools.study.outcome import read_outcome
from tools.study.records import read_records, read_run
from tools.study.report import write_report
from tools.study.sections import limitations, summary
from tools.utils.errors import InputError
from tools.utils.files import write_table

PICTURES = ("curve.png", "differences.png", "convergence.png")


def test_a_whole_study(tmp_path):
    gains = {"scratch": 0.4, "other": 0.5}
    study = write_study(
        tmp_path, gains, fractions=(0.1, 1.0), seeds=(0, 1), cases=10, made=detections, score="mean_sensitivity"
    )
    path = write_report(study)
    with open(study / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * 10
    assert list(rows[0])[:6] == ["arm", "fraction", "seed", "training_cases", "case", "patient"]
    assert all(row["false_scores"] for row in rows)
    assert all(imread(study / name).std() > 0.05 for name in PICTURES)
    assert "<svg" in (study / "curve.svg").read_text()
    text = path.read_text()
    assert "partial" not in text
    assert "Failed" not in text
    assert set(re.findall(r"\((\S+\.png)\)", text)) == set(PICTURES)


@pytest.fixture
def unseen(monkeypatch):
    """Pictures are drawn, not written."""
    monkeypatch.setattr("tools.study.report.figures.save", lambda *_: None)


def table_of(text, title):
    """Cells of the table under a title, by the first cell of the row."""
    lines = text.split(f"## {title}")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_the_report_describes_the_figures(tmp_path, unseen):
    study = write_study(tmp_path, {"scratch": (0, 0.1), "good": 0.25, "equal": (0, 0.1)}, fractions=(0.25, 1.0))
    text = write_report(study).read_text()
    outcome = read_outcome(study)
    found = compare(outcome, Resampling(outcome.patients))
    assert table_of(text, "Score")["good"][1].startswith(f"{found.scores['good', 1.0].value:.3f} (")
    assert table_of(text, "Annotation efficiency")["good"] == ["25 % or less (25 % to 25 %)", "at least 75 %"]
    assert table_of(text, "Steps to scratch's final score")["good"] == ["10 (0.33)", "20 (0.67)"]
    reading = text.split("## Summary")[1].split("\n## ")[0]
    assert re.search(
        r"25 %: above scratch: good \(\+0\.\d+\\\*\); no significant difference to scratch: equal", reading
    )


def test_a_partial_study_is_marked_and_lists_failed_runs(tmp_path):
    write_plan(tmp_path, ["scratch", "other"])
    rows = dice(np.random.default_rng(0), 0, made_cases(6, 1))
    write_run(tmp_path, "scratch", 1.0, 0, rows)
    write_run(tmp_path, "other", 0.05, 0, rows)
    write_run(tmp_path, "other", 1.0, 2, rows, error="not enough | memory\nanywhere")
    write_run(tmp_path, "gone", 1.0, 0, rows)
    text = write_report(tmp_path).read_text()
    assert text.startswith("# Effect of pretraining: pancreas (partial: 2 of 18 runs)")
    assert "not enough / memory anywhere" in text
    assert table_of(text, "Score")["other"][1:] == ["-", "-"]
    assert table_of(text, "Annotation efficiency")["other"][0].startswith(("5 % or less", "not reached"))
    assert "gone" not in text
    assert (tmp_path / "convergence.png").exists()


def test_one_patient_and_one_seed_are_reported(tmp_path, unseen):
    study = write_study(tmp_path, {"scratch": 0, "other": 0.1}, seeds=(0,), cases=2, per_patient=2)
    text = write_report(study).read_text()
    assert "One test patient: no intervals" in text
    assert "One seed" in text
    assert "no interval" in table_of(text, "Score")["other"][0]


def test_of_two_patients_the_number_is_printed_in_place_of_the_interval(tmp_path, unseen):
    study = write_study(tmp_path, {"scratch": 0, "other": 0.1}, seeds=(0,), cases=8, per_patient=4)
    text = write_report(study).read_text()
    assert "2 test patients: no intervals" in text
    for title, column in (("Score", 0), ("Difference to scratch", 1), ("Annotation efficiency", 0)):
        assert "(n = 2, no interval)" in table_of(text, title)["other"][column]
    assert "nan" not in text


def test_above_below_and_stars_follow_from_intervals_and_corrected_p():
    ends = {"up": (0.1, 0.2, 0.01, 0.04), "down": (-0.3, -0.1, 0.01, 0.06), "equal": (-0.1, 0.2, 0.3, 0.9)}
    differences = {
        (name, 1.0): Difference(Estimate((low + high) / 2, low, high, 0.0, 1, 9, np.zeros(1)), p, holm)
        for name, (low, high, p, holm) in ends.items()
    }
    outcome = SimpleNamespace(fractions=[1.0], names=["scratch", *ends], scratch="scratch")
    text = summary(outcome, SimpleNamespace(differences=differences))
    assert (
        r"above scratch: up (+0.150\*); below scratch: down (-0.200); no significant difference to scratch: equal."
        in text
    )
    assert "(p < 0.05) after correction for all 3 comparisons, as for 1 of them." in text


@pytest.mark.parametrize("patients", [1, 2, 3, 9, 10, 11])
def test_the_smallest_possible_p_is_reported(patients):
    outcome = SimpleNamespace(patients=[str(i) for i in range(patients)] * 2, seeds=[0], partial="")
    text = limitations(outcome)
    smallest = re.search(r"smallest possible p is (\S+),", text)
    assert (smallest is None) == (patients == 11)  # all 2047 swaps are more than are drawn
    assert smallest is None or float(smallest[1]) == pytest.approx(2 / 2**patients, rel=0.05)
    assert ("no intervals" in text) == (patients < 3)


def test_training_cases_of_a_fraction_are_a_number_or_a_range(tmp_path, unseen):
    write_plan(tmp_path, ["scratch"], [0.5, 1.0], [0, 1])
    for fraction, seed, count in ((0.5, 0, 19), (0.5, 1, 21), (1.0, 0, 40), (1.0, 1, 40)):
        rows = dice(np.random.default_rng(0), 0, made_cases(4, 1))
        write_run(tmp_path, "scratch", fraction, seed, rows, training_cases=count)
    header = table_of(write_report(tmp_path).read_text(), "Score")["initialisation"]
    assert header == ["50 % (19 to 21 training cases)", "100 % (40 training cases)"]


def test_a_study_of_scratch_alone(tmp_path, unseen):
    text = write_report(write_study(tmp_path, {"scratch": 0}, fractions=(1.0,))).read_text()
    assert "## Score" in text
    assert "## Difference" not in text
    assert "differences.png" not in text


def test_a_run_without_validation(tmp_path, unseen):
    study = write_study(tmp_path, {"scratch": 0, "other": 0.1}, fractions=(1.0,), seeds=(0, 1), cases=5)
    records = read_records(study)
    for run in records.runs.values():
        run.curve.clear()
    records.write(study)
    text = write_report(study).read_text()
    assert "Final scores of scratch: unknown." in text
    assert table_of(text, "Steps to scratch's final score") == {
        "initialisation": ["100 %"], "---": ["---"], "scratch": ["-"], "other": ["-"]
    }  # fmt: skip


def test_without_finished_runs_the_first_error_is_reported(tmp_path):
    write_plan(tmp_path, ["scratch", "other"])
    write_run(tmp_path, "other", 1.0, 2, [], error="no weights")
    with pytest.raises(InputError, match=r"found none.*no weights"):
        read_outcome(tmp_path)


def test_no_plan(tmp_path):
    with pytest.raises(InputError, match=r"plan\.json"):
        read_outcome(tmp_path)


def test_runs_with_other_test_cases_are_refused(tmp_path):
    study = write_study(tmp_path, {"scratch": 0}, fractions=(1.0,), cases=5)
    write_run(study, "scratch", 1.0, 1, dice(np.random.default_rng(0), 0, made_cases(6, 1)))
    with pytest.raises(InputError, match=r"1\.0, 1\).*found 6"):
        read_outcome(study)


def test_a_case_that_is_there_twice_is_refused(tmp_path):
    study = write_study(tmp_path, {"scratch": 0}, fractions=(1.0,), seeds=(0, 1), cases=5)
    rows = dice(np.random.default_rng(0), 0, made_cases(5, 1))
    write_run(study, "scratch", 1.0, 1, [*rows, rows[0]])
    with pytest.raises(InputError, match="found 6"):
        read_outcome(study)


def test_label_fractions_are_read_in_ascending_order(tmp_path):
    write_plan(tmp_path, ["scratch"], [1.0, 0.05, 0.25], [0])
    write_run(tmp_path, "scratch", 1.0, 0, dice(np.random.default_rng(0), 0, made_cases(3, 1)))
    assert read_outcome(tmp_path).fractions == [0.05, 0.25, 1.0]


def test_rows_are_paired_by_case_not_by_place(tmp_path):
    study = write_study(tmp_path, {"scratch": 0}, fractions=(1.0,), seeds=(0,), cases=5)
    write_plan(study, ["scratch", "other"], [1.0], [0])
    rows = read_outcome(study).runs["scratch", 1.0, 0].rows
    write_run(study, "other", 1.0, 0, rows[::-1])
    outcome = read_outcome(study)
    assert [row["case"] for row in outcome.runs["other", 1.0, 0].rows] == outcome.cases
    found = compare(outcome, Resampling(outcome.patients, 50, 50)).differences["other", 1.0]
    assert (found.estimate.low, found.estimate.high) == (0, 0)


def test_a_table_without_the_validation_score_is_named(tmp_path):
    write_table(tmp_path / "evaluation.csv", [{"case": "a", "patient": "a", "mean_dice": 0.5}])
    write_table(tmp_path / "metrics.csv", [{"step": 1, "val_loss": 2}])
    with pytest.raises(InputError, match=r"metrics\.csv.*val_mean_dice.*val_loss"):
        read_run(tmp_path, "mean_dice", 1.0, 1)
