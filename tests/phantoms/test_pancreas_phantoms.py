"""Generated abdomens: organs where they belong, with plausible Hounsfield units."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tools.phantoms.abdomen import abdomen_coordinates, sample_abdomen
from tools.phantoms.abdomen_painting import paint_abdomen

SHAPE, SPACING = (54, 44, 38), (6.0, 6.0, 6.0)


@pytest.fixture(params=range(3))
def person(request):
    abdomen = sample_abdomen(np.random.default_rng((7, request.param)))
    return replace(abdomen, shift=np.zeros(3))


def paint(abdomen):
    return paint_abdomen(abdomen, abdomen_coordinates(abdomen, SHAPE, SPACING), 6.0)


def organ(abdomen, tissue):
    """Mask of the voxels that turn when one tissue is painted another grey."""
    marked = replace(abdomen, tissue=abdomen.tissue | {tissue: abdomen.tissue[tissue] + 1000.0})
    return (paint(marked)[0] - paint(abdomen)[0]) > 900


def middle(mask):
    """Middle of a mask relative to the middle of the grid, in mm: right, front, up."""
    return (torch.argwhere(mask).double().mean(0).numpy() - (np.array(SHAPE) - 1) / 2) * SPACING


def test_organs_lie_where_they_belong(person):
    volume, labels = paint(person)
    liver, spleen, kidneys = (organ(person, tissue) for tissue in ("liver", "spleen", "cortex"))
    assert middle(liver)[0] > 30
    assert middle(spleen)[0] < -60
    assert middle(kidneys)[1] < -20
    assert 80 < volume[liver].mean() < 140
    gland = middle(labels > 0)
    assert abs(gland[0]) < 45
    assert middle(kidneys)[1] < gland[1]
    assert middle(liver)[2] > gland[2]


def test_lungs_lie_above_the_liver_and_gas_below_is_rarer(person):
    volume, _ = paint(person)
    inside = volume[15:39, 14:30] < -500
    assert inside[..., -3:].float().mean() > inside[..., :20].float().mean()


def test_the_tumour_is_darker_than_the_gland_around_it(person):
    tumour = paint(person)[1] == 2
    centre, radii, darkness = person.tumour
    without = replace(person, tumour=(centre, radii, 0.0))
    change = paint(without)[0][tumour] - paint(person)[0][tumour]
    assert 0.6 * darkness < change.mean() <= darkness
