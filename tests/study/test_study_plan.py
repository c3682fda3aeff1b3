"""Grid of a study, and its file ``plan.json``."""

import json
from dataclasses import replace

import pytest

from tools.study.plan import Initialisation, Plan, build_initialisations, check_grid, find_encoders
from tools.utils.errors import InputError


def plan(**changes):
    initialisations = (Initialisation("scratch"), Initialisation("jigsaw3d", "/encoders/jigsaw3d.pt", "finetune", "ab"))
    made = Plan("pancreas", "mean_dice", initialisations, (0.1, 1.0), (0, 1), {"epochs": 4})
    return replace(made, **changes)


def test_runs_are_the_grid_and_every_prefix_compares_all_initialisations():
    runs = plan().runs()
    assert len({run.folder for run in runs}) == len(runs) == 2 * 2 * 2
    for pair in zip(runs[::2], runs[1::2], strict=True):
        assert [run.initialisation.name for run in pair] == ["scratch", "jigsaw3d"]
        assert len({(run.fraction, run.seed) for run in pair}) == 1


def test_runs_of_a_seed_and_fraction_differ_in_the_initialisation_only():
    scratch, other = (run.settings for run in plan().runs()[:2])
    assert {key for key in other if scratch.get(key) != other[key]} == {"pretrained", "protocol"}


def test_a_study_may_grow_but_not_change(tmp_path):
    plan().write(tmp_path)
    plan(seeds=(0, 1, 2), fractions=(0.05, 0.1, 1.0)).write(tmp_path)
    assert json.loads((tmp_path / "plan.json").read_text())["seeds"] == [0, 1, 2]
    with pytest.raises(InputError, match="epochs 4, found 8"):
        plan(settings={"epochs": 8}).write(tmp_path)
    with pytest.raises(InputError, match="batch_size the default, found 2"):
        plan(settings={"epochs": 4, "batch_size": 2}).write(tmp_path)
    changed = (Initialisation("scratch"), Initialisation("jigsaw3d", "/encoders/jigsaw3d.pt", "finetune", "cd"))
    with pytest.raises(InputError, match="weights of jigsaw3d ab, found cd"):
        plan(initialisations=changed).write(tmp_path)


def test_paths_in_the_folder_of_the_study_are_relative(tmp_path):
    own = Initialisation("mae3d", str(tmp_path.resolve() / "pretrained/mae3d/models/model.pt"), "finetune", "ab")
    plan(initialisations=(Initialisation("scratch"), own)).write(tmp_path)
    arms = json.loads((tmp_path / "plan.json").read_text())["arms"]
    assert [arm["pretrained"] for arm in arms] == [None, "pretrained/mae3d/models/model.pt"]


def test_every_encoder_is_taken_under_every_protocol(tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    names = [one.name for one in build_initialisations({"cpc3d": str(weights)}, ["finetune", "linear"])]
    assert names == ["scratch", "cpc3d-finetune", "cpc3d-linear"]
    assert [one.name for one in build_initialisations({"cpc3d": str(weights)}, ["frozen"])] == [
        "scratch",
        "random",
        "cpc3d",
    ]


@pytest.mark.parametrize(
    ("encoders", "protocols", "message"),
    [
        ({"../out": "model.pt"}, ["finetune"], "letters, digits"),
        ({"scratch": "model.pt"}, ["finetune"], "besides 'scratch' and 'random'"),
        ({"cpc3d": "/nowhere/model.pt"}, ["finetune"], "/nowhere/model.pt: No such file"),
        ({}, ["finetuning"], "did you mean finetune"),
    ],
)
def test_invalid_initialisations_are_refused(encoders, protocols, message):
    with pytest.raises(InputError, match=message):
        build_initialisations(encoders, protocols)


@pytest.mark.parametrize(
    ("fractions", "seeds", "key"),
    [
        ([0], [0], "label_fractions"),
        ([1.1], [0], "label_fractions"),
        ([0.1, 0.1], [0], "label_fractions"),
        ([], [0], "label_fractions"),
        (0.5, [0], "label_fractions"),
        ([True], [0], "label_fractions"),
        ([0.5], [0.5], "seeds"),
        ([0.5], [-1], "seeds"),
        ([0.5], [True], "seeds"),
    ],
)
def test_wrong_grids_are_one_clear_error(fractions, seeds, key):
    with pytest.raises(InputError, match=key):
        check_grid(fractions, seeds)


def test_label_fractions_are_sorted():
    assert check_grid([1, 0.05, 0.5], [3, 1]) == ((0.05, 0.5, 1.0), (3, 1))


def test_encoders_are_named():
    with pytest.raises(InputError, match="a dictionary of names"):
        find_encoders(["model.pt"])
