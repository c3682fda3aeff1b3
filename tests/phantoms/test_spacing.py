import nibabel
import numpy as np
import pytest

from tools.phantoms.brain import brain_phantoms
from tools.phantoms.brats import brats_phantoms
from tools.phantoms.pancreas import pancreas_phantoms


def files(make, folder, spacing):
    make(str(folder), num_cases=1, size=(24, 24, 12), spacing=spacing)
    return sorted(folder.rglob("*.nii.gz"))


@pytest.mark.parametrize("make", [brain_phantoms, brats_phantoms, pancreas_phantoms])
def test_three_spacings(make, tmp_path):
    image = nibabel.as_closest_canonical(nibabel.load(files(make, tmp_path / "three", (8.0, 8.0, 16.0))[0]))
    np.testing.assert_allclose(image.header.get_zooms()[:3], (8, 8, 16), rtol=0.11)
    number, three = files(make, tmp_path / "number", 8.0), files(make, tmp_path / "equal", [8, 8, 8])
    assert [path.read_bytes() for path in number] == [path.read_bytes() for path in three]
