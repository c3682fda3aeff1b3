import pytest
from harness import BUNDLES, SOME, Run, dims, write_pictures, write_scans


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
    return train(request.param, tmp_path_factory, images)


@pytest.fixture(scope="session", params=SOME)
def trained_some(request, tmp_path_factory, images):
    """One bundle per kind of data, trained likewise."""
    return train(request.param, tmp_path_factory, images)


def train(bundle, tmp_path_factory, images):
    made = Run(bundle, tmp_path_factory.mktemp(bundle), images[dims(bundle)])
    made.go()
    return made
