"""Scores, intervals and tests of a study."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from made_study import chances, detections, dice, grades, made_cases, write_plan, write_run, write_study
from scipy.stats import permutation_test

from tools.study.comparison import Difference, Estimate, Resampling, compare, holm, paired_permutation_test
from tools.study.outcome import RunKey, RunResult, read_outcome


def compared(study, **settings):
    outcome = read_outcome(study)
    return outcome, compare(
        outcome, Resampling(outcome.patients, **{"resamples": 300, "permutations": 300, **settings})
    )


KINDS = [("mean_dice", dice, 0.0), ("kappa", grades, 0.5), ("auc", chances, 0.0), ("mean_sensitivity", detections, 0.4)]


@pytest.mark.parametrize(("score", "made", "base"), KINDS)
def test_an_effect_is_found(score, made, base, tmp_path):
    grid = {"fractions": (0.1, 1.0), "seeds": (0, 1), "cases": 40}
    study = write_study(tmp_path, {"scratch": base, "better": base + 0.4}, made=made, score=score, **grid)
    _, found = compared(study)
    for one in found.differences.values():
        assert one.sign == 1
        assert one.estimate.low < one.estimate.value < one.estimate.high
        assert one.holm < 0.05
        assert one.p <= one.holm


@pytest.mark.parametrize(("score", "made", "base"), KINDS)
def test_equal_predictions_have_no_difference(score, made, base, tmp_path):
    write_plan(tmp_path, ["scratch", "same"], [1.0], [0, 1], score)
    for seed in (0, 1):
        rows = made(np.random.default_rng(seed), base, made_cases(15, 1))
        for arm in ("scratch", "same"):
            write_run(tmp_path, arm, 1.0, seed, rows)
    _, found = compared(tmp_path)
    (one,) = found.differences.values()
    assert (one.estimate.value, one.estimate.low, one.estimate.high, one.p, one.holm) == (0, 0, 0, 1, 1)


def test_without_an_effect_few_studies_find_one():
    """A test at 5 % is wrong in about 5 % of studies; patients have two cases that go together."""
    rng, cases, p = np.random.default_rng(0), made_cases(24, 2), []
    draws = Resampling([case["patient"] for case in cases], 1, 200)
    keys = [(RunKey("other", 1.0, seed), RunKey("scratch", 1.0, seed)) for seed in (0, 1)]
    for _ in range(200):
        cells = {}
        for arm in zip(*keys, strict=True):
            shift = rng.normal(0, 0.1, 12).repeat(2)
            for key in arm:
                values = (0.5 + shift + rng.normal(0, 0.02, 24)).tolist()
                rows = [{**case, "mean_dice": value} for case, value in zip(cases, values, strict=True)]
                cells[key] = RunResult(1.0, 5, rows, [])
        p.append(paired_permutation_test(SimpleNamespace(score="mean_dice", cases=cases, runs=cells), keys, draws))
    assert np.mean(np.array(p) < 0.05) < 0.1
    assert 0.42 < np.mean(p) < 0.58


def swapped(scratch, other, swaps, per_patient=1):
    """p of two initialisations with these values by case."""
    cases, keys = made_cases(len(scratch), per_patient), (RunKey("other", 1.0, 0), RunKey("scratch", 1.0, 0))
    cells = {
        key: RunResult(1.0, 5, [{**case, "mean_dice": v} for case, v in zip(cases, values, strict=True)], [])
        for key, values in zip(keys, (other, scratch), strict=True)
    }
    outcome = SimpleNamespace(score="mean_dice", cases=cases, runs=cells)
    return paired_permutation_test(outcome, [keys], Resampling([case["patient"] for case in cases], 1, swaps))


def test_the_test_is_all_swaps_counted():
    """Three patients: of the eight ways to swap, by hand, two give a difference as large."""
    assert swapped((0.1, 0.2, 0.3), (0.2, 0.4, 0.6), 4000) == 2 / 8
    assert swapped((0.1, 0.2, 0.3), (0.2, 0.4, 0.2), 4000) == 6 / 8  # with the last the other way round


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_p_of_few_patients_is_scipys_exact_one(count):
    rng = np.random.default_rng(count)
    for shift in (0.0, 0.05, 1.0):
        scratch, other = rng.normal(0.5, 0.05, count), rng.normal(0.5 + shift, 0.05, count)
        exact = permutation_test(
            (other, scratch),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert swapped(scratch.tolist(), other.tolist(), 2000) == pytest.approx(exact.pvalue)


def test_p_of_many_patients_is_scipys_up_to_chance():
    rng = np.random.default_rng(0)
    scratch, other = rng.normal(0.5, 0.05, 30), rng.normal(0.505, 0.05, 30)
    found = permutation_test(
        (other, scratch),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=20000,
        vectorized=True,
        rng=1,
    ).pvalue
    assert 0.02 < found < 0.9
    assert swapped(scratch.tolist(), other.tolist(), 20000) == pytest.approx(found, abs=0.02)


@pytest.mark.parametrize("count", [1, 3, 10, 40, 400])
@pytest.mark.parametrize("swaps", [50, 2000])
def test_p_is_never_zero(count, swaps):
    """Not even of an effect that no swap comes near: what was seen is one of the permutations."""
    p = swapped([0.1] * count, [0.9] * count, swaps)
    exact = 2**count - 1 <= swaps
    assert p == pytest.approx(2 / 2**count if exact else 1 / (1 + swaps))
    assert 0 < p <= 1


def test_swaps_are_of_patients_not_of_cases():
    """Two patients with ten cases each: four ways to swap, however many cases."""
    assert swapped([0.1] * 20, [0.9] * 20, 2000, per_patient=10) == 2 / 4


@pytest.mark.parametrize("more", [0, 2000])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_all_swaps_are_drawn_once_where_there_are_few(count, more):
    kept = Resampling([str(i) for i in range(count)], 5, 2**count - 1 + more).permutations
    assert len(np.unique(kept, axis=0)) == len(kept) == 2**count - 1
    assert not kept.all(1).any()  # nothing swapped is what was seen, and counted apart


@pytest.mark.parametrize(
    ("low", "high", "beyond"),
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0, 0.1, 0), (-0.1, 0, 0), (0, 0, 0), (math.nan, math.nan, 0)],
)
def test_an_interval_that_holds_zero_is_beyond_on_no_side(low, high, beyond):
    assert Difference(Estimate(0.1, low, high, 0.0, 1, 5, np.zeros(1)), 0.5, 0.5).sign == beyond


def test_a_loss_is_beyond_on_the_lower_side(tmp_path):
    _, found = compared(write_study(tmp_path, {"scratch": 0.3, "worse": 0}, fractions=(1.0,)))
    (one,) = found.differences.values()
    assert one.estimate.low < one.estimate.value < one.estimate.high < 0
    assert (one.sign, one.estimate.value) == (-1, pytest.approx(-0.3, abs=0.02))


def test_the_seeds_of_an_initialisation_are_swapped_together():
    """Seeds that differ the other way round cancel: the mean over seeds is tested, not each of them."""
    cases = made_cases(6, 1)
    cells = {
        RunKey(arm, 1.0, seed): RunResult(1.0, 5, [{**case, "mean_dice": level} for case in cases], [])
        for arm, levels in (("other", (0.9, 0.1)), ("scratch", (0.1, 0.9)))
        for seed, level in enumerate(levels)
    }
    pairs = [(RunKey("other", 1.0, seed), RunKey("scratch", 1.0, seed)) for seed in (0, 1)]
    draws = Resampling([case["patient"] for case in cases])
    assert paired_permutation_test(SimpleNamespace(score="mean_dice", cases=cases, runs=cells), pairs, draws) == 1
    assert (
        paired_permutation_test(SimpleNamespace(score="mean_dice", cases=cases, runs=cells), pairs[:1], draws)
        == 2 / 2**6
    )


def test_intervals_are_over_patients_and_seeds(tmp_path):
    """As wide as one source alone where the other has no spread, and patients count, not their cases."""
    widths = {}
    for name, of_patients, of_seeds in (("patients", 0.1, 0.0), ("seeds", 0.0, 0.1), ("both", 0.1, 0.1)):
        study = tmp_path / name
        write_plan(study, ["scratch"], [1.0], range(9))
        rng = np.random.default_rng(0)
        patients = rng.normal(0, of_patients, 9).repeat(4)
        for seed, level in enumerate(rng.permutation(np.linspace(-1, 1, 9)) * of_seeds * 1.5):
            rows = [
                {**case, "mean_dice": 0.5 + level + value}
                for case, value in zip(made_cases(36, 4), patients.tolist(), strict=True)
            ]
            write_run(study, "scratch", 1.0, seed, rows)
        _, found = compared(study, resamples=3000)
        one = found.scores["scratch", 1.0]
        widths[name] = one.high - one.low
        assert one.std == pytest.approx(np.std(np.linspace(-1, 1, 9) * of_seeds * 1.5, ddof=1), abs=1e-9)
        wanted = 2 * 1.96 * math.hypot(np.std(patients), np.std(np.linspace(-1, 1, 9)) * of_seeds * 1.5) / 3
        assert widths[name] == pytest.approx(wanted, rel=0.15)
    assert widths["both"] > max(widths["patients"], widths["seeds"])


def test_it_repeats_itself(tmp_path):
    study = write_study(tmp_path, {"scratch": 0, "other": 0.01}, cases=8)
    (_, first), (_, second) = compared(study), compared(study)
    assert [(d.p, d.estimate.low) for d in first.differences.values()] == [
        (d.p, d.estimate.low) for d in second.differences.values()
    ]


def test_one_seed_has_an_interval_and_no_spread(tmp_path):
    _, found = compared(write_study(tmp_path, {"scratch": 0, "other": 0.1}, seeds=(4,)))
    one = found.differences["other", 1.0].estimate
    assert one.low < one.value < one.high
    assert math.isnan(one.std)


@pytest.mark.parametrize(("score", "made", "base"), KINDS)
def test_one_patient_has_no_interval_and_no_evidence(score, made, base, tmp_path):
    study = write_study(
        tmp_path, {"scratch": 0, "other": 0.3}, cases=10, per_patient=10, made=made, score=score, base=base
    )
    _, found = compared(study)
    for one in found.differences.values():
        assert math.isnan(one.estimate.low)
        assert not math.isnan(one.estimate.value)
        assert one.p == 1


@pytest.mark.parametrize("patients", [1, 2])
@pytest.mark.parametrize(("score", "made", "base"), KINDS)
def test_fewer_than_three_patients_have_no_interval(score, made, base, patients, tmp_path):
    study = write_study(
        tmp_path, {"scratch": 0, "other": 0.3}, cases=10, per_patient=10 // patients, made=made, score=score, base=base
    )
    _, found = compared(study)
    for one in (*found.scores.values(), *(difference.estimate for difference in found.differences.values())):
        assert math.isnan(one.low)
        assert math.isnan(one.high)
        assert one.patients == patients
        assert not math.isnan(one.value)
    assert all(one.sign == 0 for one in found.differences.values())


def with_two_positives(rng, quality, cases):
    rows = chances(rng, quality, cases)
    return [{**row, "truth": int(index < 2)} for index, row in enumerate(rows)]


def with_two_negatives(rng, quality, cases):
    return [{**row, "truth": 1 - row["truth"]} for row in with_two_positives(rng, quality, cases)]


def with_two_lesions(rng, quality, cases):
    rows = detections(rng, quality, cases)
    none = {"lesions": 0, "found_scores": ""}
    return [row if index < 2 else {**row, **none} for index, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("score", "made"),
    [("auc", with_two_positives), ("auc", with_two_negatives), ("mean_sensitivity", with_two_lesions)],
)
def test_a_score_of_two_patients_among_many_has_no_interval(score, made, tmp_path):
    """Only two patients have a positive case, a negative case or a lesion."""
    _, found = compared(write_study(tmp_path, {"scratch": 0.5, "other": 0.5}, cases=12, made=made, score=score))
    for one in found.scores.values():
        assert (one.patients, math.isnan(one.low), math.isnan(one.value)) == (2, True, False)


def test_a_partial_grid_compares_the_seeds_both_have(tmp_path):
    write_plan(tmp_path, ["scratch", "other"], [0.1, 1.0], [0, 1, 2])
    values = {("scratch", 0): 0.2, ("scratch", 1): 0.4, ("other", 1): 0.5, ("other", 2): 0.9}
    for (arm, seed), value in values.items():
        write_run(tmp_path, arm, 1.0, seed, [{**case, "mean_dice": value} for case in made_cases(4, 1)])
    outcome, found = compared(tmp_path)
    assert outcome.partial == "partial: 4 of 12 runs"
    assert found.scores["other", 1.0].value == pytest.approx(0.7)
    assert found.differences["other", 1.0].estimate.value == pytest.approx(0.1)
    assert found.differences["other", 1.0].estimate.seeds == 1
    assert found.differences["other", 0.1].estimate.seeds == 0
    assert math.isnan(found.differences["other", 0.1].p)


def test_holm_by_hand():
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1, 1]
