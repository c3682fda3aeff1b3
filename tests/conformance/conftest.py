import pytest
from harness import (
    BUNDLES,
    DOWNSTREAM,
    PRETEXT,
    SEGMENTATION,
    SOME,
    SUPERVISED,
    Run,
    data_kind,
    write_data,
    write_pictures,
    write_scans,
)


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def data(scans, pictures, tmp_path_factory):
    """Tiny data by the kind a bundle trains on."""
    own = {one: write_data(one, tmp_path_factory.mktemp(one)) for one in DOWNSTREAM + SUPERVISED}
    return {"scans": scans, "pictures": pictures, **own}


@pytest.fixture(scope="session")
def runs(tmp_path_factory, data):
    """Gives a bundle's tiny run, trained when first asked for."""
    made = {}

    def train(bundle):
        if bundle not in made:
            made[bundle] = Run(bundle, tmp_path_factory.mktemp(bundle), data[data_kind(bundle)])
            made[bundle].go()
        return made[bundle]

    return train


@pytest.fixture(params=BUNDLES)
def trained(request, runs):
    """Every bundle, trained for two tiny epochs."""
    return runs(request.param)


@pytest.fixture(params=PRETEXT)
def pretrained(request, runs):
    """Every pretext bundle."""
    return runs(request.param)


@pytest.fixture(params=SEGMENTATION)
def segmented(request, runs):
    """Every segmentation bundle."""
    return runs(request.param)


@pytest.fixture(params=SOME)
def trained_some(request, runs):
    """One pretext bundle per kind of data."""
    return runs(request.param)
