import itertools
import json

import pytest

from tools.data.nodule_split import split_nodules
from tools.data.official_split import split_official_cases
from tools.data.split import split_labelled_cases
from tools.utils.errors import InputError

NAMES = ("training", "validation", "test")
SHARES = (0.1, 0.25, 0.5, 1.0)


def official(counts=(30, 6, 9), each=2):
    """Cases of a data set with a split: patients of several cases each."""
    return [
        {"case": f"{part}{p:03}_{i}", "patient": f"{part}{p:03}", "image": "", "label": p % 2, "split": part}
        for part, count in zip(NAMES, counts, strict=True)
        for p in range(count)
        for i in range(each)
    ]


def unsplit(cases):
    return [{key: value for key, value in case.items() if key != "split"} for case in cases]


def ids(parts):
    return {name: [case["case"] for case in members] for name, members in parts.items()}


@pytest.mark.parametrize("split_by", ["auto", "published"])
def test_the_official_split_is_followed(split_by):
    cases = official()
    parts = split_official_cases(cases, split_by, test_fraction=0.5, val_fraction=0.3)
    assert parts == {name: [case for case in cases if case["split"] == name] for name in NAMES}
    turned = split_official_cases(cases[::-1], split_by)
    assert all(turned[name] == parts[name][::-1] for name in NAMES)


@pytest.mark.parametrize("fold", [0, 2])
def test_by_patient_it_is_the_split_of_any_data_set(fold):
    cases, options = official(), {"val_fraction": 0.2, "test_fraction": 0.25, "seed": 3, "label_fraction": 0.5}
    parts = split_official_cases(cases, "patient", **options, fold=fold)
    assert parts == split_labelled_cases(cases, **options, fold=fold)
    assert any(case["split"] != "test" for case in parts["test"])
    whose = [{case["patient"] for case in parts[name]} for name in NAMES]
    assert not any(one & other for one, other in itertools.combinations(whose, 2))
    assert split_official_cases(unsplit(cases), "auto", **options, fold=fold) == split_labelled_cases(
        unsplit(cases), **options, fold=fold
    )


@pytest.mark.parametrize("stratify_by", [None, "label"])
def test_label_fractions_are_nested_and_test_cases_constant(stratify_by):
    cases = official((80, 6, 9))
    for seed in (0, 1):
        made = [
            split_official_cases(cases, label_fraction=share, seed=seed, stratify_by=stratify_by) for share in SHARES
        ]
        training = [{case["case"] for case in parts["training"]} for parts in made]
        assert [len(members) for members in training] == [16, 40, 80, 160]
        assert all(small < large for small, large in itertools.pairwise(training))
        for parts, name in itertools.product(made, NAMES[1:]):
            assert parts[name] == made[0][name]
        if stratify_by:
            assert all(2 * sum(case["label"] for case in parts["training"]) == len(parts["training"]) for parts in made)
    first = [split_official_cases(cases, label_fraction=0.1, seed=seed)["training"] for seed in (0, 1)]
    assert first[0] != first[1]


@pytest.mark.parametrize("split_by", ["auto", "published", "patient"])
def test_a_split_file_and_testing_on_all_go_before(tmp_path, split_by):
    cases = official()
    everything = split_official_cases(cases, split_by, test_fraction=1)
    assert {name: len(members) for name, members in everything.items()} == {"training": 0, "validation": 0, "test": 90}
    names = [case["case"] for case in cases]
    content = {"training": names[60:80], "validation": names[:5], "test": names[5:60]}
    (tmp_path / "split.json").write_text(json.dumps(content))
    parts = split_official_cases(cases, split_by, split_file=tmp_path / "split.json")
    assert {name: sorted(members) for name, members in ids(parts).items()} == {
        name: sorted(members) for name, members in content.items()
    }


def test_what_is_written_gives_the_same_parts_again(tmp_path):
    options = {"label_fraction": 0.5, "seed": 2}
    parts = split_official_cases(official(), output_dir=tmp_path, **options)
    parts.write()
    assert split_official_cases(official(), "patient", split_file=tmp_path / "split.json", **options) == parts
    assert len(json.loads((tmp_path / "split.json").read_text())["training"]) == 60, "before the fraction is selected"


@pytest.mark.parametrize("missing", range(3))
def test_an_empty_split_is_named(missing):
    counts = [0 if i == missing else 5 for i in range(3)]
    for split_by, split in itertools.product(("auto", "published"), (split_official_cases, split_nodules)):
        where = () if split is split_official_cases else ("folder",)
        with pytest.raises(InputError, match=f"split_by: expected {NAMES[missing]} cases .*, found none"):
            split(official(counts), *where, split_by)
    parts = split_official_cases(official(counts), "patient")
    assert all(parts.values())


def test_refused():
    cases = official()
    with pytest.raises(InputError, match=r"split_by: .* found 90 of 90 .*, such as training000_0"):
        split_official_cases(unsplit(cases), "published")
    with pytest.raises(InputError, match=r"found 1 of 91 .*, such as new; .*--split_by patient"):
        split_official_cases([*cases, {"case": "new", "patient": "new"}])
    with pytest.raises(InputError, match=r"found 1 of 91 .*, such as new"):
        split_official_cases([*cases, {"case": "new", "patient": "new", "split": "train"}])
    with pytest.raises(InputError, match="split_by: expected one of auto, patient, published, found 'official'"):
        split_official_cases(cases, "official")
    with pytest.raises(InputError, match=r"fold: expected 0, .* found 1"):
        split_official_cases(cases, fold=1)
    with pytest.raises(InputError, match="label_fraction: expected a number above 0"):
        split_official_cases(cases, label_fraction=0)
    with pytest.raises(InputError, match="found 0 in total"):
        split_official_cases([])
