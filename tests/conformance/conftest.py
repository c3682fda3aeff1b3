import pytest
from harness import BUNDLES, Run, dims, write_pictures, write_scans


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def images(scans, pictures):
    """Tiny images by the dimensions of a bundle."""
    return {3: scans, 2: pictures}


@pytest.fixture(scope="session", params=BUNDLES)
def trained(request, tmp_path_factory, images):
    """Every bundle, trained for two tiny epochs."""
    made = Run(request.param, tmp_path_factory.mktemp(request.param), images[dims(request.param)])
    made.go()
    return made
