import pytest
import torch

from tools.segmentation.labels import RegionLabels, SoftmaxLabels, brats_regions
from tools.segmentation.loss import DiceCrossEntropy
from tools.utils.errors import InputError

CODINGS = [
    SoftmaxLabels(["pancreas", "cancer"]),
    brats_regions(),
    brats_regions(["core", "enhancing", "edema"]),
    RegionLabels(["a", "b"], {"inner": ["b"], "outer": ["a", "b"]}),
]


def labels(coding, seed=0, size=(6, 7, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1 + len(coding.labels), (3, 1, *size), generator=generator)


@pytest.mark.parametrize("coding", CODINGS)
def test_labels_survive_coding(coding):
    truth = labels(coding)
    targets = coding.targets(truth)
    assert targets.shape == (3, coding.channels, 6, 7, 5)
    assert torch.equal(coding.decode(2 * targets - 1), truth.to(torch.uint8))


@pytest.mark.parametrize("coding", CODINGS)
def test_decoding_is_total(coding):
    scores = torch.randn(4, coding.channels, 5, 5)
    found = coding.decode(scores)
    assert found.shape == (4, 1, 5, 5)
    assert int(found.max()) <= len(coding.labels)
    assert not coding.decode(torch.zeros_like(scores)).any(), "no evidence is background"


@pytest.mark.parametrize("coding", CODINGS)
def test_masks_are_the_unions_of_their_labels(coding):
    truth = labels(coding)
    masks = coding.masks(truth)
    for mask, members in zip(masks.unbind(1), coding.structures.values(), strict=True):
        assert torch.equal(mask, torch.isin(truth[:, 0], torch.tensor(members)))


def test_brats_regions_are_nested_and_count_as_the_challenge_does():
    coding = brats_regions()
    core, whole, enhancing = coding.masks(labels(coding)).unbind(1)
    assert (enhancing <= core).all()
    assert (core <= whole).all()
    sizes = {name: len(members) for name, members in coding.structures.items()}
    assert sizes == {"TC": 2, "WT": 3, "ET": 1}


def test_brats_regions_mean_the_same_in_any_order_of_labels():
    names = ("enhancing", "edema", "core")
    stored = torch.randint(0, 4, (2, 1, 5, 5, 5))
    order = torch.tensor([0, *(1 + brats_regions().labels.index(name) for name in names)])
    assert torch.equal(brats_regions(names).masks(stored), brats_regions().masks(order[stored]))
    with pytest.raises(InputError, match="labels: expected edema, core, enhancing in any order, found liver"):
        brats_regions(["liver"])


def test_an_inner_region_alone_is_inside_all():
    coding = brats_regions()
    scores = torch.full((1, 3, 1, 1), -1.0)
    scores[:, list(coding.structures).index("ET")] = 1
    assert coding.masks(coding.decode(scores)).all()


@pytest.mark.parametrize(
    "regions", [{"a": ["edema", "core"], "b": ["core", "enhancing"]}, {"all": ["edema", "core"]}, {"x": ["liver"]}]
)
def test_regions_that_cannot_be_decoded_are_refused(regions):
    with pytest.raises(InputError, match="regions"):
        RegionLabels(["edema", "core", "enhancing"], regions)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_loss_is_zero_for_certainty_and_falls_with_evidence(coding):
    loss, truth = DiceCrossEntropy(coding), labels(coding)
    sign = 2 * coding.targets(truth) - 1
    values = [float(loss(strength * sign, truth)) for strength in (-30, 0, 1, 3, 30)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-4)
    assert float(loss((30 * sign).half(), truth)) == pytest.approx(0, abs=1e-3)


def test_the_dice_part_leaves_the_background_out():
    """An all-background answer misses every structure: Dice loss 1, not 1/3."""
    loss = DiceCrossEntropy(SoftmaxLabels(["pancreas", "cancer"]))
    truth = torch.zeros(1, 1, 20, 20, dtype=torch.long)
    truth[..., :2, :2], truth[..., 2:3, :3] = 1, 2
    scores = torch.zeros(1, 3, 20, 20)
    scores[:, 0] = 30
    assert float(loss.dice(scores, loss.coding.targets(truth))) == pytest.approx(1, abs=0.01)
