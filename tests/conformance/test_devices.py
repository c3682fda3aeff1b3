"""Bundles on a simulated device, to find errors that would occur on a GPU; see `pretend`."""

import json
from pathlib import Path

import pretend
import pytest
from harness import BUNDLES, DOWNSTREAM, SOME, SUPERVISED, data_kind, rows

pytestmark = pytest.mark.skipif(not pretend.can_be_built(), reason="needs a C++ compiler and ninja")


@pytest.fixture(scope="module")
def call(programs, tmp_path_factory):
    """Calls a function of `pretend_runs`; the first call compiles the device."""
    place = {"TORCH_EXTENSIONS_DIR": str(tmp_path_factory.mktemp("extensions"))}

    def call(name, **arguments):
        words = ["pretend_runs", name, json.dumps(arguments)]
        done = programs.start(words, Path(__file__).parent, **place).wait()
        assert done.returncode == 0, done.stderr[-8000:]

    return call


@pytest.mark.parametrize("name", ["refuse_mixed_devices", "refuse_waits", "compute_as_the_cpu"])
def test_the_device(call, name):
    call(name)


def train_loss(folder):
    return float(rows(folder / "metrics.csv")[0]["train_loss"])


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_bundle_works_there_and_no_step_waits(call, bundle, runs, data, tmp_path):
    own = str(data[data_kind(bundle)])
    call("train", bundle=bundle, data=own, folder=str(tmp_path))
    assert train_loss(tmp_path / "output") == pytest.approx(train_loss(runs(bundle).output), rel=1e-3)
    if bundle in SOME + DOWNSTREAM + SUPERVISED:
        images = str(data["scans"]) if bundle in SUPERVISED else own
        call("answer", bundle=bundle, data=own, images=images, folder=str(tmp_path))
        assert any((tmp_path / "found").iterdir())


def test_scans_are_kept_there(call, runs, data, tmp_path):
    """Images are cached in half precision."""
    call("train", bundle="cpc3d", data=str(data["scans"]), folder=str(tmp_path), cache="device")
    assert train_loss(tmp_path / "output") == pytest.approx(train_loss(runs("cpc3d").output), rel=1e-2)
