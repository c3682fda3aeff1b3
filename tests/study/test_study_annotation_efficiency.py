"""Annotation efficiency and saved steps, compared with values computed by hand."""

import math
from types import SimpleNamespace

import pytest
from made_study import made_cases, write_plan, write_run

from tools.study.annotation_efficiency import annotation_efficiency, fraction_reaching, mean_curve, steps_to_scratch
from tools.study.comparison import Resampling, compare
from tools.study.outcome import RunKey, read_outcome

SHARES = (0.05, 0.25, 1.0)


@pytest.mark.parametrize(
    ("values", "target", "share"),
    [
        ((0.2, 0.4, 0.6), 0.5, 0.625),  # halfway from 25 to 100 %
        ((0.2, 0.4, 0.6), 0.25, 0.1),
        ((0.2, 0.4, 0.6), 0.6, 1.0),
        ((0.2, 0.4, 0.6), 0.1, 0.05),  # less might do, too
        ((0.4, 0.2, 0.1), 0.4, 0.05),  # just reached, and never again
        ((0.2, 0.4, 0.6), 0.7, math.inf),
        ((0.2, 0.6, 0.1), 0.4, 0.15),  # the smallest fraction, although the curve decreases later
        ((0.2, math.nan, 0.6), 0.4, 0.525),
        ((math.nan,) * 3, 0.4, math.nan),
        ((0.2, 0.4, 0.6), math.nan, math.nan),
    ],
)
def test_the_sufficient_label_fraction(values, target, share):
    assert fraction_reaching(SHARES, values, target) == pytest.approx(share, nan_ok=True)


def made(folder, levels, shares=SHARES, spread=0.0, patients=6):
    """Runs with given scores of all test cases, plus noise by patient."""
    write_plan(folder, list(levels), shares, [0])
    for arm, values in levels.items():
        for share, value in zip(shares, values, strict=True):
            rows = [
                {**case, "mean_dice": value + spread * (i % 2 - 0.5) * share}
                for i, case in enumerate(made_cases(6, 6 // patients))
            ]
            write_run(folder, arm, share, 0, rows)
    outcome = read_outcome(folder)
    return annotation_efficiency(outcome, compare(outcome, Resampling(outcome.patients, 200, 10)))


def test_a_mean_curve_is_over_the_steps_that_all_seeds_have():
    curves = {
        RunKey("arm", 1.0, 0): [(10, 0.1), (20, 0.2), (40, 0.4)],
        RunKey("arm", 1.0, 1): [(20, 0.4), (30, 0), (40, 0)],
    }
    outcome = SimpleNamespace(runs={key: SimpleNamespace(curve=curve) for key, curve in curves.items()})
    found = mean_curve(outcome, "arm", 1.0, [0, 1])
    assert [step for step, _ in found] == [20, 40]
    assert [value for _, value in found] == pytest.approx([0.3, 0.2])
    assert mean_curve(outcome, "arm", 1.0, [1]) == curves["arm", 1.0, 1]
    assert mean_curve(outcome, "arm", 1.0, []) == []


def test_savings_are_of_scratchs_score_with_all_labels(tmp_path):
    levels = {"scratch": (0.1, 0.2, 0.5), "early": (0.4, 0.6, 0.7), "never": (0.1, 0.2, 0.3)}
    found = made(tmp_path, levels)
    assert found.keys() == {"early", "never"}
    assert found["early"].fraction == pytest.approx(0.15)
    assert found["early"].saved == pytest.approx(0.85)
    assert (found["early"].low, found["early"].high) == pytest.approx((0.15, 0.15))
    assert found["never"].fraction == found["never"].high == math.inf
    assert math.isnan(found["never"].saved)


def test_savings_have_an_interval(tmp_path):
    found = made(tmp_path, {"scratch": (0.1, 0.2, 0.5), "early": (0.4, 0.6, 0.7)}, spread=0.1)["early"]
    assert found.low < found.fraction < found.high


def test_savings_of_two_patients_have_no_interval(tmp_path):
    found = made(tmp_path, {"scratch": (0.1, 0.2, 0.5), "early": (0.4, 0.6, 0.7)}, spread=0.1, patients=2)["early"]
    assert found.fraction == pytest.approx(0.15)
    assert (math.isnan(found.low), math.isnan(found.high), found.patients) == (True, True, 2)


def test_annotation_efficiency_is_relative_to_the_largest_fraction(tmp_path):
    found = made(tmp_path, {"scratch": (0.1, 0.5), "early": (0.5, 0.6)}, (0.1, 0.5))["early"]
    assert (found.fraction, found.largest) == (0.1, 0.5)
    assert found.saved == pytest.approx(0.8)


def test_steps_to_scratchs_last_value(tmp_path):
    rows = [{**case, "mean_dice": 0.5} for case in made_cases(2, 1)]
    write_plan(tmp_path, ["scratch", "fast", "slow", "absent"], [1.0], [0, 1])
    curves = {
        "scratch": [(0.1, 0.5, 0.3), (0.1, 0.3, 0.5)],  # mean 0.1, 0.4, 0.4
        "fast": [(0.5, 0.5, 0.5), (0.2, 0.4, 0.5)],  # mean 0.35, 0.45, 0.5: not yet at the first step
        "slow": [(0.1, 0.1, 0.3), (0.1, 0.1, 0.3)],
    }
    for arm, both in curves.items():
        for seed, curve in enumerate(both):
            write_run(tmp_path, arm, 1.0, seed, rows, curve=curve)
    found = steps_to_scratch(read_outcome(tmp_path))
    assert found["fast", 1.0].target == pytest.approx(0.4)
    assert (found["fast", 1.0].step, found["fast", 1.0].total) == (20, 30)
    assert found["scratch", 1.0].step == 20
    assert found["slow", 1.0].step == math.inf
    assert math.isnan(found["absent", 1.0].step)
