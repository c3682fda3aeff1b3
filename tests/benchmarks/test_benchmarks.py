"""Each benchmark on a small run."""

import json

import pytest
import torch

from tools.benchmarks import cost, data_path, defaults, growth, scaling, startup, step
from tools.benchmarks.runs import BUNDLES, time_process
from tools.phantoms.brain import brain_phantoms
from tools.utils.errors import InputError

SMALL = {"roi_size": [16, 16, 16], "spacing": 8.0, "batch_size": 2, "views_per_volume": 2}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return brain_phantoms(str(tmp_path_factory.mktemp("set") / "scans"), num_cases=4, size=(24, 24, 24), spacing=8.0)


def rows(path):
    return json.loads(path.read_text())["rows"]


def test_all_data_sets_give_the_same_crops(tmp_path):
    output = tmp_path / "figures.json"
    data_path.main(cases=3, edge=12, size=(20, 24, 20), spacing=8.0, batch_size=3, repeats=1, output=str(output))
    found = rows(output)
    assert all(row["first_s"] > 0 and row["later_s"] > 0 for row in found)
    sums = [row["checksum"] for row in found]
    assert sums[:-1] == sums[:1] * 5
    assert sums[-1] == pytest.approx(sums[0], rel=0.01)  # half precision


def test_a_step_is_compared_with_its_bare_network(tmp_path, scans):
    step.main("rotation3d", steps=1, output=str(tmp_path / "figures.json"), dataset_dir=scans, **SMALL)
    (row,) = rows(tmp_path / "figures.json")
    assert row["overhead"] == pytest.approx(row["step_ms"] / row["bare_step_ms"] - 1)
    assert row["speed_up_channels_last"] > 0


def test_a_bare_step_trains(tmp_path, scans):
    workflow = step.build_workflow("rotation3d", tmp_path, 1, dataset_dir=scans, **SMALL)
    bare = step.BareStep(workflow, step.SPEED_KEYS)
    before = [weight.clone() for weight in bare.network.parameters()]
    given = workflow.parser.get_parsed_content("network").state_dict()
    task = workflow.parser.get_parsed_content("train#task")
    images = workflow.parser.get_parsed_content("train#dataset")[0, 0]["image"][None]
    bare(*task.make_batch({"image": images, "case": ["a"]}, 1))
    assert any(not old.equal(new) for old, new in zip(before, bare.network.parameters(), strict=True))
    assert all(old.equal(given[name]) for old, (name, _) in zip(before, bare.network.named_parameters(), strict=True))


@pytest.mark.parametrize("power", [0, 1, 2])
def test_a_slope_is_the_power(power):
    assert growth.slope((8, 27, 64), [1e-3 * size**power for size in (8, 27, 64)]) == pytest.approx(power, abs=1e-9)


def test_growth_is_measured_over_every_size(tmp_path, scans):
    sizes = {"scans": (2, 3), "edges": (16, 24), "batch_sizes": (2, 3)}
    keys = {**SMALL, "dataset_dir": scans, "views_per_volume": 1}
    growth.main("rotation3d", **sizes, steps=2, epochs=2, output=str(tmp_path / "growth.json"), **keys)
    found = rows(tmp_path / "growth.json")
    assert {row["against"] for row in found} == {"scans", "voxels", "batch", "epochs"}
    assert all(float(one) > 0 for row in found for one in row["cost"].split())


def test_rates_are_per_process(tmp_path, monkeypatch):
    """An alone process at 10 samples/s, two apart at 8 and 6, two together at 10 in all."""
    monkeypatch.setattr(scaling, "independent_rates", lambda b, f, count, t, **k: [10.0] if count == 1 else [8.0, 6.0])
    monkeypatch.setattr(scaling, "joint_rate", lambda *a, **k: 10.0)
    scaling.main(output=str(tmp_path / "figures.json"))
    (row,) = rows(tmp_path / "figures.json")
    assert (row["machine"], row["weak_scaling"], row["communication"]) == pytest.approx((0.7, 0.5, 5 / 7))


def test_rates_are_those_of_the_last_epoch_of_each_process(tmp_path, monkeypatch):
    def write(bundle, folder, *configs, rates):
        file = f"{folder}/output/metrics.csv"
        return ["-c", f"import os; os.makedirs({folder + '/output'!r}); open({file!r}, 'w').write({rates!r})"]

    monkeypatch.setattr(scaling, "bundle_command", write)
    monkeypatch.setattr(scaling.torch.cuda, "is_available", lambda: False)
    rates = "epoch,samples_per_second\n1,2.0\n2,5.0\n"
    assert scaling.independent_rates("rotation3d", str(tmp_path), 2, 1, rates=rates) == [5.0, 5.0]


def python(text):
    return ["-S", "-c", text]


def test_a_process_is_ended_at_its_mark():
    slow = python("import sys, time; print('loss=1', file=sys.stderr, flush=True); time.sleep(60)")
    assert time_process(slow, b"loss=") < 30


def test_without_a_mark_the_end_counts():
    assert time_process(python("import time; time.sleep(0.2)")) > 0.2


@pytest.mark.parametrize(("text", "mark"), [("print('done')", b"loss="), ("raise SystemExit('too bad')", None)])
def test_a_failed_run_has_no_time(text, mark):
    with pytest.raises(InputError):
        time_process(python(text), mark)


@pytest.mark.parametrize("bundle", sorted(path.name for path in BUNDLES.iterdir()))
def test_a_start_sets_only_keys_of_the_bundle(bundle):
    keys = json.loads((BUNDLES / bundle / "configs/train.json").read_text())
    arguments = startup.first_step_arguments(bundle, "folder", dataset_dir="x")
    words = [word.partition("=")[0][2:] for word in arguments if "=" in word]
    assert {*words} <= {*keys}
    assert "dataset_dir" in words


@pytest.mark.parametrize("benchmark", [defaults, startup, step])
@pytest.mark.parametrize("bundles", ["cpc4d", ["cpc4d", "cpc3d"]])
def test_an_unknown_bundle_is_refused_before_anything_runs(benchmark, bundles, monkeypatch):
    monkeypatch.setattr(benchmark, "benchmark_bundle", pytest.fail)
    with pytest.raises(InputError, match=r"bundles.*cpc4d"):
        benchmark.main(bundles)


def test_operations_parameters_and_kept_bytes_of_a_convolution_are_counted():
    """Backward computes the gradient of the weights, and of the input where something before it needs it."""
    layers = [torch.nn.Conv3d(2, 3, 3, padding=1, bias=False), torch.nn.Conv3d(3, 4, 1, bias=False)]
    counted = cost.count(torch.nn.Sequential(*layers), torch.zeros(5, 2, 6, 7, 8))
    voxels = 5 * 6 * 7 * 8
    first, second = 2 * voxels * 2 * 3 * 27, 2 * voxels * 3 * 4
    assert counted == {
        "parameters": 2 * 3 * 27 + 3 * 4,
        "operations": 2 * first + 3 * second,
        "kept_bytes": 4 * voxels * (2 + 3),
    }


@pytest.mark.parametrize("bundle", ["mae3d", "rotation2d", "brats"])
def test_cost_is_proportional_to_the_batch(tmp_path, bundle):
    small = {"encoder": "unet", "roi_size": [64, 64] if bundle == "rotation2d" else [32, 32, 32], "epochs": 3}
    found = []
    for batch_size in (4, 8):
        cost.main(bundle, config="train", batch_size=batch_size, output=str(tmp_path / "cost.json"), **small)
        found += rows(tmp_path / "cost.json")
    assert found[1]["tflop_per_step"] == pytest.approx(2 * found[0]["tflop_per_step"], rel=0.05)
    assert found[0]["memory_gib"] < found[1]["memory_gib"] < 2 * found[0]["memory_gib"]
    assert found[0]["steps"] == found[1]["steps"] > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"bundles": "fundus"}, "fundus"), ({"config": "papr"}, "papr"), ({"bundles": "mae3d", "epoch": 3}, "epoch")],
)
def test_cost_names_what_it_cannot_compute(settings, named):
    with pytest.raises(InputError, match=named):
        cost.main(**settings)
