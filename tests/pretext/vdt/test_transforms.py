import pytest
import torch
from monai.data import MetaTensor

from tools.pretext.vdt.task import VariableDimensionTransform
from tools.pretext.vdt.transforms import ChannelsToDepthd, channels_to_depth, depth_to_channels
from tools.utils.errors import InputError


def images(count=4, size=(6, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *size), generator=generator).to(dtype)


def task(**settings):
    return VariableDimensionTransform((6, 5), ["a", "b"], **settings)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_colours_become_slices_and_come_back_without_a_copy(dtype):
    flat = images(dtype=dtype)
    volumes = channels_to_depth(flat)
    assert volumes.shape == (4, 1, 3, 6, 5)
    assert all(volumes[:, 0, d].equal(flat[:, d]) for d in range(3))
    assert volumes.data_ptr() == depth_to_channels(volumes).data_ptr() == flat.data_ptr()
    assert depth_to_channels(volumes).equal(flat)


@pytest.mark.parametrize("depth", [3, 5, 9])
def test_shuffled_colours_are_put_back(depth):
    flat, generator = images(), torch.Generator().manual_seed(1)
    orders = torch.rand(4, 3, generator=generator).argsort(1)
    assert len({tuple(order) for order in orders.tolist()}) > 1
    volumes = channels_to_depth(flat, depth, orders)
    assert volumes.shape[2] == depth
    assert depth_to_channels(volumes, orders).equal(flat)
    assert volumes[1, 0, 0].equal(flat[1, orders[1, 0]])
    assert volumes[1, 0, -1].equal(flat[1, orders[1, 2]])


def test_slices_between_colours_lie_between_them():
    volumes = channels_to_depth(images(), 5)[:, 0]
    torch.testing.assert_close(volumes[:, 1], (volumes[:, 0] + volumes[:, 2]) / 2)


@pytest.mark.parametrize("depth", [1, 2, 4, 0])
def test_depths_that_colours_do_not_fit_are_refused(depth):
    with pytest.raises(InputError, match="depth: expected an odd number"):
        ChannelsToDepthd(depth=depth)
    with pytest.raises(InputError, match="depth: expected an odd number"):
        task(depth=depth)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [3, 7])
@pytest.mark.parametrize("kind", [torch.Tensor, MetaTensor])
def test_the_transform_is_inverted_exactly(channels, depth, kind):
    image = images(1)[0, :channels]
    transform = ChannelsToDepthd(depth=depth)
    converted = transform({"image": kind(image), "other": 1})
    assert converted["image"].shape == (1, depth, 6, 5)
    back = transform.inverse(converted)["image"]
    assert torch.Tensor.as_subclass(back, torch.Tensor).equal(image)
    assert not back.applied_operations
    assert converted["image"].applied_operations


def test_four_channels_are_refused():
    with pytest.raises(InputError, match="1 or 3 channels"):
        ChannelsToDepthd()({"image": torch.zeros(4, 6, 5)})


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
