import itertools

import pytest

from tools.data.nodule_split import read_published_split, split_nodules
from tools.utils.errors import InputError

NAMES = ("training", "validation", "test")
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def nodules(patients=40, each=3):
    """Nodules of patients, a quarter of them malignant."""
    return [
        {
            "case": f"lidc{p}_{i}",
            "patient": f"P{p:03}",
            "image": f"/lidc{p}_{i}.npz",
            "label": int((p + i) % 4 == 0),
        }
        for p in range(patients)
        for i in range(1, each + 1)
    ]


def official(counts=(20, 5, 10)):
    return [
        {"case": f"{part}{i}", "patient": f"{part}{i}", "image": "", "label": i % 2, "split": part}
        for part, count in zip(NAMES, counts, strict=True)
        for i in range(count)
    ]


def publish(root, train, test):
    rows = itertools.zip_longest(train, test, fillvalue="")
    lines = [f"{i},{one},{other}\n" for i, (one, other) in enumerate(rows)]
    (root / "train_test_split.csv").write_text(",train,test\n" + "".join(lines))
    return root


def by_nodule(root, cases):
    """Every fifth nodule is tested on, three of them named twice, and some rows are of nodules without a label."""
    names = [f"{case['case']}.npz" for case in cases]
    train = [name for i, name in enumerate(names) if i % 5]
    return publish(root, ["lidc900_1.npz", *train], [*names[::5], "lidc901_1.npz", *names[:15:5]])


def patients(cases):
    return {case["patient"] for case in cases}


def test_no_patient_is_in_two_parts(tmp_path):
    parts = split_nodules(nodules(), tmp_path, val_fraction=0.15)
    assert tuple(parts) == NAMES
    assert sum(len(patients(parts[name])) for name in NAMES) == 40
    for members in parts.values():
        malignant = {case["patient"] for case in members if case["label"]}
        assert abs(len(malignant) - 0.75 * len(patients(members))) <= 1.5


def test_label_fractions_are_nested_and_balanced_for_any_split(tmp_path):
    cases = nodules(200)
    by_nodule(tmp_path, cases)
    for split, seed in itertools.product(("patient", "published"), (0, 1)):
        made = [split_nodules(cases, tmp_path, split, label_fraction=share, seed=seed) for share in SHARES]
        training = [{case["case"] for case in parts["training"]} for parts in made]
        assert all(small < large for small, large in itertools.pairwise(training))
        assert all(parts["test"] == made[0]["test"] for parts in made)
        full = sum(case["label"] for case in made[-1]["training"]) / len(training[-1])
        for parts in made[1:]:
            assert abs(sum(case["label"] for case in parts["training"]) / len(parts["training"]) - full) < 0.02


def test_the_published_split_is_used_and_its_problems_are_printed(tmp_path, capsys):
    cases = nodules()
    parts = split_nodules(cases, by_nodule(tmp_path, cases), "published", val_fraction=0.2)
    assert [case["case"] for case in parts["test"]] == [case["case"] for case in cases[::5]]
    assert not patients(parts["training"]) & patients(parts["validation"])
    trained = patients(parts["training"]) | patients(parts["validation"])
    assert sum(map(len, parts.values())) == len(cases)
    assert len(patients(parts["validation"])) == round(0.2 * len(trained))
    message = capsys.readouterr().out
    assert "3 of 28 test rows" in message
    shared, tested = len(trained & patients(parts["test"])), len(patients(parts["test"]))
    assert shared > 0
    assert f"{shared} of {tested} test patients" in message


def test_a_clean_published_split_has_disjoint_patients(tmp_path, capsys):
    cases = nodules()
    names = {case["case"]: int(case["patient"][1:]) < 30 for case in cases}
    publish(tmp_path, [n for n in names if names[n]], [n for n in names if not names[n]])
    found = read_published_split(tmp_path, cases)
    assert (found.shared, found.repeated, found.test_rows, found.test_patients) == (0, 0, 30, 10)
    assert "optimistic" not in capsys.readouterr().out


def test_nodules_that_are_not_in_the_table_are_excluded(tmp_path, capsys):
    cases = nodules()
    publish(tmp_path, [case["case"] for case in cases[:60]], [case["case"] for case in cases[60:110]])
    parts = split_nodules(cases, tmp_path, "published")
    assert {case["case"] for part in parts.values() for case in part} == {case["case"] for case in cases[:110]}
    assert "10 nodules" in capsys.readouterr().out


def test_order_does_not_matter(tmp_path):
    cases = nodules()
    by_nodule(tmp_path, cases)
    for split in ("patient", "published"):
        one, other = split_nodules(cases, tmp_path, split), split_nodules(cases[::-1], tmp_path, split)
        assert all(one[name] == other[name][::-1] for name in NAMES)


def test_medmnist_uses_its_own_split(tmp_path):
    cases = official()
    for split in ("auto", "published"):
        parts = split_nodules(cases, tmp_path, split)
        assert {name: len(parts[name]) for name in NAMES} == {"training": 20, "validation": 5, "test": 10}
        assert all(case["split"] == name for name in NAMES for case in parts[name])
    assert len(split_nodules(cases, tmp_path, label_fraction=0.5)["training"]) == 10
    assert len(split_nodules(cases, tmp_path, test_fraction=1)["test"]) == 35
    with pytest.raises(InputError, match=r"split_by: expected 'auto' or 'published', since"):
        split_nodules(cases, tmp_path, "patient")


def test_a_written_published_split_gives_the_same_parts_again(tmp_path):
    cases = nodules()
    by_nodule(tmp_path, cases)
    parts = split_nodules(cases, tmp_path, "published", label_fraction=0.5, output_dir=tmp_path / "out")
    parts.write()
    again = split_nodules(cases, tmp_path, label_fraction=0.5, split_file=tmp_path / "out/split.json")
    assert again == parts


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            ["lidc0_1", "lidc1_1"],
            ["lidc1_2", "lidc1_1"],
            r"expected lidc1_1 in one column, found it .* \(lines 3 and 3",
        ),
        (["lidc0_1"], [], "expected nodules of the data set under test"),
        (["lidc0_1", "lidc0_2"], ["lidc1_1"], "at least 2 patients to train and validate on, found 1"),
    ],
)
def test_published_splits_that_are_wrong(tmp_path, train, test, message):
    with pytest.raises(InputError, match=message):
        split_nodules(nodules(), publish(tmp_path, train, test), "published")


def test_refused(tmp_path):
    with pytest.raises(InputError, match="expected one table with the columns train and test, found none"):
        split_nodules(nodules(), tmp_path, "published")
    with pytest.raises(InputError, match="did you mean published"):
        split_nodules(nodules(), tmp_path, "publish")
    with pytest.raises(InputError, match="fold: expected 0"):
        split_nodules(nodules(), tmp_path, "published", fold=1)
