"""Health of a pretraining run: linear probe, which does not influence it, and warnings."""

import pytest
from harness import PRETEXT, Run, dims, read, rows, write_classes, write_segmentation
from matplotlib.image import imread

from tools.utils.errors import find_input_error


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Labelled cases by number of dimensions."""
    return {
        3: str(write_segmentation("pancreas", tmp_path_factory.mktemp("volumes"), 4)),
        2: str(write_classes(tmp_path_factory.mktemp("photographs"), 4)),
    }


@pytest.mark.parametrize("bundle", ["exemplar3d", "exemplar2d"])
def test_probe_does_not_change_the_run(bundle, runs, labelled, tmp_path, monkeypatch, caplog):
    """Also when killed after epoch 1 and resumed: the weights are equal bit for bit."""
    caplog.set_level("INFO")
    space, without = dims(bundle), runs(bundle)
    run = Run(bundle, tmp_path, without.settings["dataset_dir"], draw=True, probe_dir=labelled[space])
    run.die_after_saving(monkeypatch)
    run.go(resume=True)
    assert run.equals(without)
    assert (run.models / "model.pt").read_bytes() == (without.models / "model.pt").read_bytes()
    table = rows(run.output / "metrics.csv")
    chance = {3: 1 / 3, 2: 1 / 2}[space]
    for row in table:
        assert 0 <= float(row["val_probe"]) <= 1
        assert float(row["probe_chance"]) == pytest.approx(chance)
        assert row["probe_start"] == table[0]["probe_start"] != ""
    assert len({row["val_probe"] for row in table} | {table[0]["probe_start"]}) > 1  # it follows the weights
    panels = [imread(one.output / "curves.png").shape[1] for one in (without, run)]
    assert panels[0] < panels[1]
    message = "\n".join(record.message for record in caplog.records)
    for line in ("probe before training", f"chance {chance:.1%}, at the start", "linear probe of this encoder"):
        assert line in message


def test_slices_are_probed_by_their_voxels(scans, labelled, tmp_path):
    run = Run("exemplar2d", tmp_path, scans, slice_axis=1, spacing=2.0, epochs=1, probe_dir=labelled[3])
    run.go()
    assert float(rows(run.output / "metrics.csv")[0]["probe_chance"]) == pytest.approx(1 / 3)


def test_a_solved_task_is_logged(photographs, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tools.pretext.saturation.SOLVED_ACCURACY", 0.0)
    Run("exemplar2d", tmp_path, photographs, epochs=5, steps_per_epoch=1).go()
    [line] = [record.message for record in caplog.records if "is solved" in record.message]
    assert "at step 3" in line


def test_a_bad_set_stops_the_run_in_one_line(scans, tmp_path):
    run = Run("exemplar3d", tmp_path, scans, probe_dir=str(tmp_path / "nowhere"))
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        run.go()
    message = str(find_input_error(raised.value))
    assert message == f"probe_dir {tmp_path / 'nowhere'}: expected a folder of labelled volumes, found nothing"
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("bundle", PRETEXT)
def test_every_pretext_bundle_has_one(bundle):
    assert read(bundle, "train")["probe_dir"] is None
    assert read(bundle, "train")["train"]["handlers"][-1]["probe"] == "@probe"
