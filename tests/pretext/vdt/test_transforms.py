import pytest
import torch

from tools.pretext.vdt.task import VariableDimensionTransform
from tools.pretext.vdt.transforms import channels_to_depth
from tools.utils.errors import InputError


def images(count=4, size=(6, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *size), generator=generator).to(dtype)


def task(**settings):
    return VariableDimensionTransform((6, 5), ["a", "b"], **settings)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_colours_become_slices_without_a_copy(dtype):
    flat = images(dtype=dtype)
    volumes = channels_to_depth(flat)
    assert volumes.shape == (4, 1, 3, 6, 5)
    assert all(volumes[:, 0, d].equal(flat[:, d]) for d in range(3))
    assert volumes.data_ptr() == flat.data_ptr()


@pytest.mark.parametrize("depth", [3, 5, 9])
def test_slices_have_the_colours_in_the_given_order(depth):
    flat, generator = images(), torch.Generator().manual_seed(1)
    orders = torch.rand(4, 3, generator=generator).argsort(1)
    assert len({tuple(order) for order in orders.tolist()}) > 1
    volumes = channels_to_depth(flat, depth, orders)
    assert volumes.shape[2] == depth
    for image, order, volume in zip(flat, orders, volumes, strict=True):
        assert volume[0, :: (depth - 1) // 2].equal(image[order])


def test_slices_between_colours_lie_between_them():
    volumes = channels_to_depth(images(), 5)[:, 0]
    torch.testing.assert_close(volumes[:, 1], (volumes[:, 0] + volumes[:, 2]) / 2)


@pytest.mark.parametrize("depth", [1, 2, 4, 0])
def test_depths_that_colours_do_not_fit_are_refused(depth):
    with pytest.raises(InputError, match="depth: expected an odd number"):
        task(depth=depth)


def test_every_order_is_as_frequent_as_the_others():
    orders = task().sample_params(6000, torch.Generator().manual_seed(0))["order"]
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 900
    assert counts.max() < 1100


@pytest.mark.parametrize("quiet", [task(shuffle_channels=False), task().validation()])
def test_colours_stay_where_they_are_unless_shuffled(quiet):
    orders = quiet.sample_params(50, torch.Generator().manual_seed(0))["order"]
    assert orders.equal(torch.arange(3).expand(50, -1))


def test_standardising_and_shuffling_commute():
    """One mean and deviation for all colours; with one of each they would not."""
    one, flat = task(), images()
    orders = torch.tensor([[2, 0, 1]] * 4)
    standard, _ = one.apply(flat, {"order": torch.arange(3).expand(4, -1)})
    shuffled, _ = one.apply(flat, {"order": orders})
    assert shuffled.equal(standard[:, :, [2, 0, 1]])


def test_labels_are_independent_of_the_channel_order():
    batch = {"image": images(dtype=torch.uint8), "case": list("abcd"), "label": torch.tensor([1, 0, 1, 1])}
    volumes, labels = task().make_batch(batch, 1)
    assert labels.equal(batch["label"])
    assert volumes.dtype == torch.float32
    again, _ = task().make_batch(batch, 1)
    assert again.equal(volumes)


def test_accuracy_is_of_the_likeliest_class():
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]])
    assert task().accuracy(scores, torch.tensor([0, 0, 1])).tolist() == [1, 0, 0.5]
