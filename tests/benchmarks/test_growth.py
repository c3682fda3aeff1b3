"""What the plot of growth says."""

import json
import math
from timeit import timeit

import pytest
import torch
from matplotlib.image import imread

from tools.benchmarks import growth
from tools.phantoms.brain import brain_phantoms


def series(power, what="cpc"):
    return [{"against": "voxels", "what": what, "size": n, "seconds": 1e-3 * n**power} for n in (8, 27, 64)]


@pytest.mark.parametrize("power", [0, 1, 2])
def test_a_slope_is_the_power(power):
    (row,) = growth.slopes(series(power))
    assert row["slope"] == pytest.approx(power, abs=1e-9)
    assert row["last"] == pytest.approx(power, abs=1e-9)


def test_series_are_kept_apart():
    rows = growth.slopes([*series(1), *series(2, "rpl")])
    assert [round(row["slope"]) for row in rows] == [1, 2]


def test_memory_that_only_rises_at_the_start_is_flat():
    assert growth.late_growth([100.0, 120.0, 120.0, 120.0]) == 0
    assert growth.late_growth([100.0, 110.0, 120.0, 130.0]) == pytest.approx(130 / 110 - 1)


def test_a_step_trains():
    step = growth.Step(growth.cells(2), growth.forever(growth.images(1, 32)))
    before = step.network.embed.weight.clone()
    step()
    assert not torch.equal(before, step.network.embed.weight)


def test_a_single_size_has_no_slope():
    assert growth.slopes(series(1)[:1]) == []


def test_everything_is_measured_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(growth, "seconds", lambda work, repeats: timeit(work, number=1))
    monkeypatch.setattr(growth, "Step", lambda task, batches: lambda: task.make_batch(next(batches), 1))
    data = brain_phantoms(str(tmp_path / "set"), num_cases=4, size=(24, 24, 24), spacing=8.0)
    growth.main(
        volumes=(2, 3),
        edges=(32, 48),
        grids=(2, 3),
        batch_sizes=(1, 2),
        epochs=2,
        picture=str(tmp_path / "growth.png"),
        output=str(tmp_path / "growth.json"),
        dataset_dir=data,
        roi_size=[32, 32, 32],
        grid=2,
        prediction_steps=1,
    )
    found = json.loads((tmp_path / "growth.json").read_text())
    assert {row["against"] for row in found["slopes"]} == {"volumes", "voxels", "patches", "batch"}
    assert all(math.isfinite(row["slope"]) for row in found["slopes"])
    assert len(found["resident_mib"]) == 2
    assert imread(tmp_path / "growth.png").ndim == 3
    assert "resident MiB" in capsys.readouterr().out
