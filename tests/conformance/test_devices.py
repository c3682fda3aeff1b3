"""Bundles on a simulated device, to find errors that would occur on a GPU; see `pretend`."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pretend
import pretend_runs
import pytest
from harness import BUNDLES, DETECTION, DISTINCT, SOME, SUPERVISED, data_kind, rows

pytestmark = pytest.mark.skipif(not pretend.can_be_built(), reason="needs a C++ compiler and ninja")


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Call a function of `pretend_runs` in one separate process, since torch registers a device only at its start."""
    folder = str(tmp_path_factory.mktemp("extensions"))
    with ProcessPoolExecutor(1, get_context("spawn"), pretend_runs.start, (folder,)) as process:
        yield lambda name, **arguments: process.submit(pretend_runs.call, name, arguments).result()


@pytest.mark.parametrize("name", ["refuse_mixed_devices", "refuse_waits", "compute_as_the_cpu"])
def test_the_device(call, name):
    call(name)


def train_loss(folder):
    return float(rows(folder / "metrics.csv")[0]["train_loss"])


@pytest.mark.parametrize("bundle", [bundle for bundle in DISTINCT if bundle in BUNDLES])
def test_every_method_works_there_and_no_step_waits(call, bundle, runs, data, tmp_path):
    own = str(data[data_kind(bundle)])
    call("train", bundle=bundle, data=own, folder=str(tmp_path))
    assert train_loss(tmp_path / "output") == pytest.approx(train_loss(runs(bundle).output), rel=1e-3)
    if bundle in [*SOME, *SUPERVISED, "pancreas", "fundus", "lidc", *DETECTION]:
        images = str(data["scans"]) if bundle in SUPERVISED else own
        call("evaluate_and_infer", bundle=bundle, data=own, images=images, folder=str(tmp_path))
        assert any((tmp_path / "found").iterdir())


def test_scans_are_kept_there(call, runs, data, tmp_path):
    """Images are cached in half precision."""
    call("train", bundle="rotation3d", data=str(data["scans"]), folder=str(tmp_path), cache="device")
    assert train_loss(tmp_path / "output") == pytest.approx(train_loss(runs("rotation3d").output), rel=1e-2)
