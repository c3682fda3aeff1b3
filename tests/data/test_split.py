import itertools
import json

import pytest

from tools.data.nodule_split import split_nodules
from tools.data.official_split import split_official_cases
from tools.data.split import order_patients, split_cases, split_labelled_cases
from tools.utils.errors import InputError


def make(count, per_patient=1):
    return [
        {"case": f"p{p:03}/{i}", "patient": f"p{p:03}", "image": ""} for p in range(count) for i in range(per_patient)
    ]


def side(parts):
    return {case["patient"]: part for part, cases in parts.items() for case in cases}


def test_by_patient_and_not_by_order():
    cases = make(20, per_patient=3)
    parts = split_cases(cases, 0.25)
    patients = {part: {case["patient"] for case in found} for part, found in parts.items()}
    assert len(patients["validation"]) == 5
    assert not patients["training"] & patients["validation"]
    assert side(split_cases(cases[::-1], 0.25)) == side(parts)


def test_small_sets_keep_one_on_each_side():
    for fraction in (0.01, 0.99):
        parts = split_cases(make(2), fraction)
        assert [len(parts[part]) for part in ("training", "validation")] == [1, 1]


def test_a_new_case_moves_others_at_the_boundary_only():
    for count in range(10, 60):
        before, after = side(split_cases(make(count), 0.2)), side(split_cases(make(count + 1), 0.2))
        assert sum(before[patient] != after[patient] for patient in before) <= 1


@pytest.mark.parametrize(
    ("count", "fraction", "text"), [(1, 0.1, "2 patients"), (5, 0, "between"), (5, 1.5, "between")]
)
def test_refused(count, fraction, text):
    with pytest.raises(InputError, match=text):
        split_cases(make(count, 2), fraction)


@pytest.mark.parametrize("name", ["scan.nii.gz", "photo.png"])
def test_a_damaged_single_file_is_reported_as_damaged(tmp_path, name):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"{name}: expected a readable"):
        split_cases([{"case": "a", "patient": "a", "image": str(tmp_path / name)}], 0.1)


def test_file_round_trip(tmp_path):
    cases = make(9)
    parts = split_cases(cases, 0.3, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()  # a run that is refused later leaves the file of an earlier one
    parts.write()
    path = tmp_path / "out" / "split.json"
    content = json.loads(path.read_text())
    assert content == {part: [case["case"] for case in found] for part, found in parts.items()}
    swapped = {"training": content["validation"], "validation": content["training"]}
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(json.dumps(swapped), encoding=encoding)
        assert split_cases(cases, 0.3, split_file=path)["training"] == parts["validation"]


def test_downstream_test_cases_can_be_excluded(tmp_path):
    cases = make(10)
    split_labelled_cases(labelled(10), 0.2, 0.3, output_dir=tmp_path).write()
    named = json.loads((tmp_path / "split.json").read_text())
    parts = split_cases(cases, split_file=tmp_path / "split.json")
    assert {part: [case["case"] for case in members] for part, members in parts.items()} == {
        part: named[part] for part in ("training", "validation")
    }
    assert named["test"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"training": ["p000/0", "p009/0"], "validation": ["p001/0"]}, "not in the data set: p009/0"),
        ({"training": ["p000/0"], "validation": ["p001/0"]}, "without an entry: p002/0"),
        ({"training": ["p000/0", "p001/0", "p002/0"], "validation": ["p001/0"]}, "1 duplicate ids: p001/0"),
        ({"training": ["p000/0", "p001/0", "p002/0"], "validation": []}, "expected case ids"),
        ({"training": [["p000/0"]], "validation": [1]}, "expected case ids"),
        (["p000/0"], "expected case ids"),
        ("{", "expected a JSON file"),
    ],
)
def test_file_that_does_not_fit(tmp_path, content, text):
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=text):
        split_cases(make(3), split_file=path)


SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def labelled(count, per_patient=1, grade=lambda p: 0):
    return [case | {"grade": grade(int(case["patient"][1:]))} for case in make(count, per_patient)]


def test_the_test_set_of_a_folder_is_always_the_same():
    cases = labelled(60, 2)
    parts = [
        split_labelled_cases(order, label_fraction=share, seed=seed, val_fraction=validation)
        for order in (cases, cases[::-1])
        for share, seed, validation in ((1.0, 0, 0.1), (0.1, 3, 0.3))
    ]
    tests = [{case["case"] for case in part["test"]} for part in parts]
    assert all(test == tests[0] for test in tests)
    for part in parts:
        patients = [{case["patient"] for case in part[name]} for name in ("training", "validation", "test")]
        assert sum(map(len, patients)) == len(set().union(*patients))


@pytest.mark.parametrize("stratify_by", [None, "grade"])
def test_label_fractions_are_nested_and_differ_between_seeds(stratify_by):
    cases = labelled(100, 2, grade=lambda p: p % 3)
    nested = [
        [
            {
                c["patient"]
                for c in split_labelled_cases(cases, label_fraction=f, seed=s, stratify_by=stratify_by)["training"]
            }
            for f in SHARES
        ]
        for s in (0, 1)
    ]
    for shares in nested:
        assert all(small < large for small, large in itertools.pairwise(shares))
        for share, fraction in zip(shares, SHARES, strict=True):
            assert len(share) == max(1, round(fraction * len(shares[-1])))
    assert nested[0][-1] == nested[1][-1]
    assert nested[0][2] != nested[1][2]


def test_strata_are_in_proportion_everywhere():
    cases = labelled(200, 2, grade=lambda p: 0 if p % 10 < 7 else 4)
    for fraction in (0.1, 0.5, 1.0):
        parts = split_labelled_cases(cases, label_fraction=fraction, stratify_by="grade")
        for members in parts.values():
            patients = {case["patient"]: case["grade"] for case in members}
            rare = sum(grade == 4 for grade in patients.values())
            assert abs(rare - 0.3 * len(patients)) <= 1.5


def test_any_beginning_has_strata_in_proportion():
    patients = [{"patient": f"p{i}", "case": f"p{i}", "grade": int(i % 10 == 0)} for i in range(40)]
    order = order_patients(patients, stratify_by="grade")
    for count in range(1, 41):
        rare = sum(int(patient[1:]) % 10 == 0 for patient in order[:count])
        assert abs(rare - count / 10) <= 0.6


def test_the_smallest_label_fraction_has_a_patient():
    assert len(split_labelled_cases(labelled(10), label_fraction=0.001)["training"]) == 1


def test_scans_of_one_patient_count_once_with_the_largest_value():
    cases = [case | {"grade": int(case["case"][-1]) * (case["patient"] < "p025")} for case in labelled(100, 2)]
    once = [case for case in cases if case["case"][-1] == "1"]
    assert side(split_labelled_cases(cases, stratify_by="grade")) == side(
        split_labelled_cases(once, stratify_by="grade")
    )


@pytest.mark.parametrize("count", [10, 23, 60])
def test_the_folds_test_every_patient_once(count):
    cases = labelled(count, 2, grade=lambda p: p % 2)
    tested = []
    for fold in range(5):
        parts = split_labelled_cases(cases, 0.15, 0.2, fold=fold, stratify_by="grade")
        tested += sorted({case["patient"] for case in parts["test"]})
        members = [{case["patient"] for case in part} for part in parts.values()]
        assert sum(map(len, members)) == len(set().union(*members)) == count
    assert sorted(tested) == sorted({case["patient"] for case in cases})
    with pytest.raises(InputError, match=r"fold: expected 0 to 4 with test_fraction 0\.2, found 5"):
        split_labelled_cases(cases, fold=5)


@pytest.mark.parametrize("split", [split_labelled_cases, split_official_cases, split_nodules])
@pytest.mark.parametrize(("count", "fraction"), [(4, 0.2), (3, 0.25), (9, 0.1)])
def test_fewer_patients_than_folds_are_refused(split, count, fraction):
    """Some folds would test the same patients; fold 0 alone is the split of a data set that is not folded."""
    cases = [case | {"label": 0} for case in labelled(count, 3)]
    where = ("folder",) if split is split_nodules else ()
    for fold in range(1, round(1 / fraction)):
        with pytest.raises(InputError, match=rf"fold: .* at least {round(1 / fraction)} patients .* found {count};"):
            split(cases, *where, test_fraction=fraction, fold=fold)
    assert split(cases, *where, test_fraction=fraction)["test"]
    enough = cases + [{**case, "case": f"x{case['case']}", "patient": "x"} for case in cases[:1]]
    assert split(enough, *where, test_fraction=fraction, fold=1)["test"]


@pytest.mark.parametrize("fraction", [0.5, 0.34, 0.3, 0.25, 0.2, 0.15, 0.1])
def test_no_patient_is_in_two_folds(fraction):
    refused = set()
    for count in range(3, 26):
        cases, tested = labelled(count), []
        for fold in range(int(1 / fraction + 1e-6)):
            try:
                parts = split_labelled_cases(cases, 0.1, fraction, fold=fold)
            except InputError:
                refused.add(count)
                continue
            tested += [case["patient"] for case in parts["test"]]
        assert len(tested) == len(set(tested))
    assert max(refused, default=0) < max(4, 1 / fraction)


@pytest.mark.parametrize("fold", [-1, 5, 0.5])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(InputError, match=f"fold: expected 0 to 4 with test_fraction 0.2, found {fold}"):
        split_labelled_cases(labelled(20), fold=fold)


def test_all_of_another_folder_can_be_tested_on():
    assert len(split_labelled_cases(labelled(1), test_fraction=1)["test"]) == 1


@pytest.mark.parametrize(
    ("count", "settings", "message"),
    [
        (2, {}, "found 2 in total"),
        (10, {"val_fraction": 0.5, "test_fraction": 0.5}, "found 10 in total"),
        (10, {"test_fraction": 0.0}, "test_fraction: expected a number between 0 and 1"),
        (10, {"label_fraction": 0.0}, "label_fraction: expected a number above 0, up to 1, found 0.0"),
        (10, {"label_fraction": 1.5}, "label_fraction"),
        (10, {"stratify_by": "age"}, "stratify_by: expected .* found 'age'"),
    ],
)
def test_splits_that_cannot_be_are_refused(count, settings, message):
    with pytest.raises(InputError, match=message):
        split_labelled_cases(labelled(count), **settings)


def test_a_written_split_gives_the_same_parts_again(tmp_path):
    cases = labelled(30)
    parts = split_labelled_cases(cases, label_fraction=0.5, seed=2, output_dir=tmp_path)
    parts.write()
    settings = {"label_fraction": 0.5, "seed": 2, "split_file": tmp_path / "split.json"}
    assert split_labelled_cases(cases, test_fraction=0.9, **settings) == parts
    fewer = split_labelled_cases(cases, **{**settings, "label_fraction": 0.25})
    assert 0 < len(fewer["training"]) < len(parts["training"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": ["p000/0"], "validation": ["p001/0"]}, "under 'training' and 'validation' and 'test'"),
        ({"training": ["p000/0"], "validation": ["p001/0"], "test": ["p000/0"]}, "1 duplicate ids: p000/0"),
        ({"training": ["p000/0"], "validation": ["p001/0"], "test": ["q"]}, "1 ids that are not in the data set: q"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(tmp_path, content, message):
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        split_labelled_cases(labelled(3), split_file=tmp_path / "mine.json")
