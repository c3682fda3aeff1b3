import fcntl
import os
from functools import partial

import pytest
from commands import Programs
from harness import (
    BUNDLES,
    DISTINCT,
    DOWNSTREAM,
    EXTRA,
    PRETEXT,
    SEGMENTATION,
    SOME,
    SUPERVISED,
    Run,
    data_kind,
    write_data,
    write_images,
    write_scans,
)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Return a function that creates a folder once; other workers wait until it is filled."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def make(name, fill):
        folder, filled = root / "common" / name, root / "common" / f"{name}.filled"
        folder.mkdir(parents=True, exist_ok=True)
        with open(filled.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                fill(folder)
                filled.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def scans(once):
    return once("scans", write_scans)


@pytest.fixture(scope="session")
def photographs(once):
    return once("photographs", write_images)


@pytest.fixture(scope="session")
def data(scans, photographs, once):
    """Tiny data by kind, see `data_kind`."""
    own = {one: once(f"{one}_data", partial(write_data, one)) for one in DOWNSTREAM + SUPERVISED}
    return {"scans": scans, "photographs": photographs, **own}


@pytest.fixture(scope="session")
def runs(once, data):
    """Return a function that trains a bundle's tiny run once."""

    def train(bundle):
        def made(folder):
            return Run(bundle, folder, data[data_kind(bundle)], draw=True)

        return made(once(bundle, lambda folder: made(folder).go()))

    return train


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Starts programs quickly."""
    started = Programs(tmp_path_factory.mktemp("programs"))
    yield started
    started.close()


@pytest.fixture(params=[*BUNDLES, *EXTRA])
def trained(request, runs):
    """Every bundle, including those of the test methods, trained for two tiny epochs."""
    return runs(request.param)


@pytest.fixture(params=DISTINCT)
def trained_distinct(request, runs):
    """Bundles that differ in more than the number of dimensions and the data."""
    return runs(request.param)


@pytest.fixture(params=PRETEXT)
def pretrained(request, runs):
    """Every pretext bundle."""
    return runs(request.param)


@pytest.fixture(params=[bundle for bundle in DISTINCT if bundle in PRETEXT])
def pretrained_distinct(request, runs):
    """A bundle of every pretext method, and one in 3D."""
    return runs(request.param)


@pytest.fixture(params=SEGMENTATION)
def segmented(request, runs):
    """Every segmentation bundle."""
    return runs(request.param)


@pytest.fixture(params=SOME)
def trained_some(request, runs):
    """One pretext bundle per kind of data."""
    return runs(request.param)
