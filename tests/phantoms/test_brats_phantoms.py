"""Generated brains with gliomas: whole, upright, pushed aside by the tumour."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tools.phantoms.brats import brats_phantoms
from tools.phantoms.glioma import Focus, displace, grow, sample_glioma

FOCUS = Focus((30.0, 0.0, 20.0), (15.0, 15.0, 15.0), 5.0, 10.0)


@pytest.fixture
def glioma():
    return replace(sample_glioma(np.random.default_rng(0)), foci=(FOCUS,))


@pytest.fixture
def grid():
    axes = [torch.arange(-70.0, 71.0, 4.0)] * 3
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def test_brains_lie_whole_on_one_grid(tmp_path):
    folder = Path(brats_phantoms(str(tmp_path / "set"), num_cases=4, size=(36, 42, 32), spacing=4.6))
    images = [nib.load(path) for path in sorted((folder / "imagesTr").iterdir())]
    for image in images:
        np.testing.assert_array_equal(image.affine, images[0].affine)
        brain = np.asarray(image.dataobj).max(-1) > 0
        np.testing.assert_allclose(np.argwhere(brain).mean(0), (np.array(brain.shape) - 1) / 2, atol=2)
        for axis in range(3):
            for face in (0, -1):
                assert brain.take(face, axis).mean() < 0.02, "cut off"


def test_a_mass_pushes_tissue_outwards_and_never_folds_it(glioma, grid):
    centre = torch.tensor(FOCUS.centre)[:, None, None, None]
    now, before = (grid - centre).norm(dim=0), (displace(glioma, grid) - centre).norm(dim=0)
    assert (before <= now).all()
    assert (now - before)[(now > 10) & (now < 20)].min() > 1
    assert (now - before)[now > 100].max() < 0.1
    for axis in range(3):
        assert displace(glioma, grid)[axis].diff(dim=axis).min() > 0


def test_tumour_stays_on_its_side_with_the_core_inside(glioma, grid):
    near = replace(glioma, foci=(replace(FOCUS, centre=(12.0, 0.0, 20.0)),))
    everything = torch.ones(grid.shape[1:])
    labels = grow(near, tuple(grid), tuple(displace(near, grid)), everything, everything > 0).numpy()
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert not labels[displace(near, grid)[0].numpy() <= 0].any()
    inner, outer = (np.argwhere(part) for part in (labels == 2, labels > 0))
    assert (inner.min(0) >= outer.min(0)).all()
    assert (inner.max(0) <= outer.max(0)).all()
    distance = (grid - torch.tensor(near.foci[0].centre)[:, None, None, None]).norm(dim=0).numpy()
    assert distance[labels == 2].mean() < distance[labels == 3].mean() < distance[labels == 1].mean()
