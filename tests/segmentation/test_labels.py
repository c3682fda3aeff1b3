import pytest
import torch

from tools.segmentation.labels import RegionLabels, SoftmaxLabels, build_brats_labels
from tools.utils.errors import InputError

LABEL_MANAGERS = [
    SoftmaxLabels(["pancreas", "cancer"]),
    build_brats_labels(),
    build_brats_labels(["core", "enhancing", "edema"]),
    RegionLabels(["a", "b"], {"inner": ["b"], "outer": ["a", "b"]}),
]


def labels(label_manager, seed=0, size=(6, 7, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1 + len(label_manager.labels), (3, 1, *size), generator=generator)


@pytest.mark.parametrize("label_manager", LABEL_MANAGERS)
def test_targets_decode_to_their_labels(label_manager):
    truth = labels(label_manager)
    targets = label_manager.targets(truth)
    assert targets.shape == (3, label_manager.out_channels, 6, 7, 5)
    assert torch.equal(label_manager.decode(2 * targets - 1), truth.to(torch.uint8))


@pytest.mark.parametrize("label_manager", LABEL_MANAGERS)
def test_all_logits_decode_to_labels(label_manager):
    scores = torch.randn(4, label_manager.out_channels, 5, 5)
    found = label_manager.decode(scores)
    assert found.shape == (4, 1, 5, 5)
    assert int(found.max()) <= len(label_manager.labels)
    assert not label_manager.decode(torch.zeros_like(scores)).any(), "no evidence is background"


@pytest.mark.parametrize("label_manager", LABEL_MANAGERS)
def test_masks_are_the_unions_of_their_labels(label_manager):
    truth = labels(label_manager)
    masks = label_manager.masks(truth)
    for mask, members in zip(masks.unbind(1), label_manager.classes.values(), strict=True):
        assert torch.equal(mask, torch.isin(truth[:, 0], torch.tensor(members)))


def test_brats_regions_are_nested_and_equal_the_challenge():
    label_manager = build_brats_labels()
    core, whole, enhancing = label_manager.masks(labels(label_manager)).unbind(1)
    assert (enhancing <= core).all()
    assert (core <= whole).all()
    sizes = {name: len(members) for name, members in label_manager.classes.items()}
    assert sizes == {"TC": 2, "WT": 3, "ET": 1}


def test_brats_regions_do_not_depend_on_the_label_order():
    names = ("enhancing", "edema", "core")
    stored = torch.randint(0, 4, (2, 1, 5, 5, 5))
    order = torch.tensor([0, *(1 + build_brats_labels().labels.index(name) for name in names)])
    assert torch.equal(build_brats_labels(names).masks(stored), build_brats_labels().masks(order[stored]))
    with pytest.raises(InputError, match=r"labels.*liver"):
        build_brats_labels(["liver"])


def test_inner_region_implies_enclosing_regions():
    label_manager = build_brats_labels()
    scores = torch.full((1, 3, 1, 1), -1.0)
    scores[:, list(label_manager.classes).index("ET")] = 1
    assert label_manager.masks(label_manager.decode(scores)).all()


@pytest.mark.parametrize(
    "regions", [{"a": ["edema", "core"], "b": ["core", "enhancing"]}, {"all": ["edema", "core"]}, {"x": ["liver"]}]
)
def test_regions_that_cannot_be_decoded_are_refused(regions):
    with pytest.raises(InputError, match="regions"):
        RegionLabels(["edema", "core", "enhancing"], regions)
