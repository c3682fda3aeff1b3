import pytest
from harness import BUNDLES, Run, write_scans


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session", params=BUNDLES)
def trained(request, tmp_path_factory, scans):
    """Every bundle, trained for two tiny epochs."""
    made = Run(request.param, tmp_path_factory.mktemp(request.param), scans)
    made.go()
    return made
