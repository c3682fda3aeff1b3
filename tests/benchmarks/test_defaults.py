"""Reading, keeping and comparing what default runs learnt."""

import json
from pathlib import Path

import pytest
import torch

from tools.benchmarks import defaults, peers, startup, step
from tools.utils.errors import InputError

ACCURACY = ({"accuracy": 0.5, "interval_95": [0.4, 0.6], "chance": 0.1}, {"epoch": 1, "accuracy": 0.6})
DICE = (
    {"scores": {"dice_x": {"mean": 0.1, "interval_95": [0, 0]}, "mean_dice": {"mean": 0.5, "interval_95": [0.4, 0.6]}}},
    {"epoch": 2, "mean_dice": 0.6, "dice_x": 0.2},
)
AUC = ({"scores": {"auc": {"value": 0.5, "interval_95": [0.4, 0.6]}}}, {"epoch": 1, "threshold": 0.3, "auc": 0.6})


@pytest.fixture
def pretend(monkeypatch):
    """Runs that leave given files at once; says which commands were run."""
    commands = []

    def prepare(evaluation, selected):
        def run(words):
            commands.append(" ".join(words))
            folder = next(word for word in words if word.startswith("--output_dir")).partition("=")[2]
            for path, content in (
                (Path(folder, "evaluation.json"), evaluation),
                (Path(folder).parent / "models/model.json", {"selected": selected}),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(content))
            return 10.0

        monkeypatch.setattr(defaults, "process_seconds", run)
        return commands

    return prepare


@pytest.mark.parametrize(("files", "metric"), [(ACCURACY, "accuracy"), (DICE, "mean_dice"), (AUC, "auc")])
def test_the_figure_is_that_which_chose_the_weights(files, metric, pretend, tmp_path):
    commands = pretend(*files)
    row = defaults.measure("cpc3d", str(tmp_path), seed=3)
    assert row == {
        "bundle": "cpc3d",
        "metric": metric,
        "validation": 0.6,
        "evaluated": 0.5,
        "low": 0.4,
        "high": 0.6,
        "seconds": 10.0,
    }
    train, evaluate = commands
    assert "evaluate.json" in evaluate
    assert "evaluate.json" not in train
    assert all("--seed=3" in command for command in commands)


def test_a_run_goes_on_where_it_stopped_and_stands_beside_an_earlier_one(pretend, tmp_path, capsys):
    commands, first, second = pretend(*ACCURACY), str(tmp_path / "first.json"), str(tmp_path / "second.json")
    defaults.main("cpc3d", output=first)
    defaults.main(["cpc3d", "rpl3d"], output=first)
    assert len(commands) == 4
    with pytest.raises(InputError, match="seed"):
        defaults.main("cpc3d", output=first, seed=1)
    capsys.readouterr()
    defaults.main("rpl3d", beside=first, output=second, seed=1)
    assert "True" in capsys.readouterr().out
    with pytest.raises(InputError, match="found none of mae3d"):
        defaults.main(["rpl3d", "mae3d"], beside=first)


def test_a_run_with_a_list_goes_on_too(pretend, tmp_path):
    """The command line gives tuples, of which a file makes lists."""
    commands, output = pretend(*ACCURACY), str(tmp_path / "figures.json")
    for _ in range(2):
        defaults.main("cpc3d", output=output, roi_size=(32, 32, 32))
    assert len(commands) == 2


def test_figures_say_which_device_they_are_of(pretend, tmp_path, monkeypatch):
    pretend(*ACCURACY)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"name of {device}")
    for settings, name in (({"device": "cpu"}, "cpu"), ({}, "name of cuda"), ({"device": "cuda:1"}, "name of cuda:1")):
        output = tmp_path / f"{name}.json"
        defaults.main("cpc3d", output=str(output), **settings)
        assert json.loads(output.read_text())["machine"]["device"] == name
    with pytest.raises(InputError, match="expected a run with machine"):
        defaults.main("cpc3d", output=str(output))


@pytest.mark.parametrize(
    ("option", "content"),
    [("beside", None), ("beside", "{"), ("beside", "[]"), ("output", ""), ("output", '{"bundles": {}}')],
)
def test_a_file_of_something_else_is_refused_in_one_line(option, content, pretend, tmp_path):
    commands, path = pretend(*ACCURACY), tmp_path / "figures.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"figures\.json: expected figures of an earlier run, found") as error:
        defaults.main("cpc3d", **{option: str(path)})
    assert "\n" not in str(error.value)
    assert commands == []


@pytest.mark.parametrize("benchmark", [defaults, startup, step, peers])
@pytest.mark.parametrize("bundles", ["cpc4d", ["cpc4d", "cpc3d"]])
def test_a_wrong_name_is_refused_before_anything_runs(benchmark, bundles, monkeypatch):
    monkeypatch.setattr(benchmark, "measure", pytest.fail)
    with pytest.raises(InputError, match=r"bundles: expected one of .*, found 'cpc4d'; did you mean"):
        benchmark.main(bundles)


@pytest.mark.parametrize(
    ("low", "high", "overlap"), [(0.5, 0.7, True), (0.61, 0.7, False), (0.1, 0.39, False), (None, None, None)]
)
def test_intervals_overlap_or_not(low, high, overlap):
    earlier = {"evaluated": 0.5, "low": 0.4, "high": 0.6, "seconds": 10.0}
    row = defaults.compare({"evaluated": 0.6, "low": low, "high": high, "seconds": 5.0}, earlier)
    assert row["overlap"] is overlap
    assert row["times_faster"] == 2
