import json

import pytest

from tools.data import split_cases
from tools.errors import InputError


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


def test_file_round_trip(tmp_path):
    cases = make(9)
    parts = split_cases(cases, 0.3, output_dir=tmp_path / "out")
    path = tmp_path / "out" / "split.json"
    content = json.loads(path.read_text())
    assert content == {part: [case["case"] for case in found] for part, found in parts.items()}
    swapped = {"training": content["validation"], "validation": content["training"]}
    path.write_text(json.dumps(swapped))
    assert split_cases(cases, 0.3, split_file=path)["training"] == parts["validation"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"training": ["p000/0", "p009/0"], "validation": ["p001/0"]}, "not in the data set: p009/0"),
        ({"training": ["p000/0"], "validation": ["p001/0"]}, "does not name: p002/0"),
        ({"training": ["p000/0", "p001/0", "p002/0"], "validation": ["p001/0"]}, "twice: p001/0"),
        ({"training": ["p000/0", "p001/0", "p002/0"], "validation": []}, "expected case ids"),
        (["p000/0"], "expected case ids"),
        ("{", "expected a JSON file"),
    ],
)
def test_file_that_does_not_fit(tmp_path, content, text):
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=text):
        split_cases(make(3), split_file=path)
