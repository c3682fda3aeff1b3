from itertools import combinations, product

import numpy as np
import pytest
import torch

from tools.networks.encoders import build_encoder
from tools.pretext.rotation.network import ViewClassifier
from tools.pretext.rotation.task import Rotation
from tools.pretext.rotations import inverse, right_angle_rotations, rotate
from tools.utils.errors import InputError

# of the public code of Taleb et al.: class to k and axes of numpy.rot90
TABLE = {
    0: (0, (0, 1)),
    1: (1, (0, 1)),
    2: (2, (0, 1)),
    3: (3, (0, 1)),
    4: (3, (1, 2)),
    5: (2, (1, 2)),
    6: (1, (1, 2)),
    7: (3, (0, 2)),
    8: (2, (0, 2)),
    9: (1, (0, 2)),
}


def numbered(edge, dims, channels=1):
    """An image of which every voxel is another number."""
    return torch.arange(channels * edge**dims).reshape(channels, *[edge] * dims).float()


def all_labels(task, batch):
    return {"label": torch.stack([torch.randperm(len(task.classes)) for _ in range(batch)])}


@pytest.mark.parametrize("label", TABLE)
def test_classes_are_those_of_the_published_table(label):
    image = numbered(4, 3)[0]
    k, axes = TABLE[label]
    turned = rotate(image, right_angle_rotations(3)[label])
    assert np.array_equal(turned.numpy(), np.rot90(image.numpy(), k, axes))


@pytest.mark.parametrize("label", range(4))
def test_classes_in_2d_are_rotations_by_right_angles(label):
    image = numbered(5, 2)[0]
    assert np.array_equal(rotate(image, right_angle_rotations(2)[label]).numpy(), np.rot90(image.numpy(), label))


@pytest.mark.parametrize(("dims", "count"), [(2, 4), (3, 24)])
def test_all_rotations_are_listed_once(dims, count):
    image = numbered(3, dims)
    turned = [rotate(image, rotation) for rotation in right_angle_rotations(dims)]
    assert len(turned) == count
    assert not any(torch.equal(a, b) for a, b in combinations(turned, 2))


@pytest.mark.parametrize("dims", [2, 3])
def test_rotations_are_closed_under_composition(dims):
    image, rotations = numbered(3, dims), right_angle_rotations(dims)
    known = {tuple(rotate(image, rotation).flatten().tolist()) for rotation in rotations}
    composed = {tuple(rotate(rotate(image, a), b).flatten().tolist()) for a, b in product(rotations, repeat=2)}
    assert composed == known


@pytest.mark.parametrize(("first", "second"), [(1, 3), (4, 6), (7, 9)])
def test_opposite_rotations_compose_to_the_identity(first, second):
    image, rotations = numbered(4, 3), right_angle_rotations(3)
    for a, b in ((first, second), (second, first)):
        assert not torch.equal(rotate(image, rotations[a]), image)
        assert torch.equal(rotate(rotate(image, rotations[a]), rotations[b]), image)


@pytest.mark.parametrize("dims", [2, 3])
def test_rotations_preserve_handedness(dims):
    line = torch.arange(-1, 2).float()
    places = torch.stack(torch.meshgrid(*[line] * dims, indexing="ij"))
    for rotation in right_angle_rotations(dims):
        read_from = rotate(places, rotation)
        columns = [read_from[(slice(None), *(1 + (torch.arange(dims) == axis).long()))] for axis in range(dims)]
        assert torch.linalg.det(torch.stack(columns, 1)).item() == pytest.approx(1)


@pytest.mark.parametrize("dims", [2, 3])
def test_undo_undoes(dims):
    image = numbered(4, dims, 2)
    for rotation in right_angle_rotations(dims):
        assert torch.equal(rotate(image, rotation), image) == (rotation.name == "none")
        assert torch.equal(rotate(rotate(image, rotation), inverse(rotation)), image)
        assert torch.equal(rotate(rotate(image, inverse(rotation)), rotation), image)


@pytest.mark.parametrize(("size", "count"), [((9, 9, 9), 10), ((9, 9, 9), 24), ((9, 9), 4)])
def test_the_label_recovers_the_image_bit_for_bit(size, count):
    task = Rotation(size, count, count)
    images = torch.randn(2, 2, *size)
    views, labels = task.apply(images, all_labels(task, 2))
    assert sorted(labels[0].tolist()) == list(range(count))
    for b, v in product(range(2), range(count)):
        assert torch.equal(rotate(views[b, v], inverse(task.rotations[labels[b, v]])), images[b])
        assert torch.equal(views[b, v].flatten(1).sort().values, images[b].flatten(1).sort().values)
        assert torch.equal(views[b, v], images[b]) == (labels[b, v] == 0)  # class 0 is the identity


def test_the_central_cube_of_other_crops_is_rotated():
    task = Rotation((6, 9, 11), 24, 24)
    images = torch.randn(1, 1, 6, 9, 11)
    middle = images[:, :, :, 1:7, 2:8]
    views, labels = task.apply(images, all_labels(task, 1))
    assert views.shape[3:] == task.patch_size == (6, 6, 6)
    for view, label in zip(views[0], labels[0], strict=True):
        assert torch.equal(view, rotate(middle[0], task.rotations[label]))


@pytest.mark.parametrize(("size", "count"), [((8, 8, 8), 24), ((7, 7, 7), 10), ((9, 9), 4)])
def test_all_rotations_of_a_ball_are_equal(size, count):
    """Only the content of an image determines its rotation."""
    places = torch.meshgrid(*[2 * torch.arange(edge) - edge + 1 for edge in size], indexing="ij")
    ball = sum(place.square() for place in places).float()[None, None]
    task = Rotation(size, count, count)
    labels = all_labels(task, 1)
    views, _ = task.apply(ball, labels)
    assert (views == views[:, :1]).all()
    marked = ball.clone()
    marked[(..., *range(len(size)))] = -1  # one voxel off the axes makes all views differ
    views, _ = task.apply(marked, labels)
    assert len({tuple(view.flatten().tolist()) for view in views[0]}) == count


@pytest.mark.parametrize(("size", "count"), [((8, 8, 8), 4), ((8, 8, 8), 11), ((8, 8), 10)])
def test_another_number_of_rotations_is_refused(size, count):
    with pytest.raises(InputError, match="num_rotations"):
        Rotation(size, count, 1)


def test_more_views_than_rotations_are_refused():
    with pytest.raises(InputError, match="views_per_volume"):
        Rotation((8, 8), 4, 5)


@pytest.mark.parametrize("size", [(7, 6, 10), (6, 9, 8), (9, 12), (13, 8)])
def test_the_middle_is_that_of_every_axis(size):
    task = Rotation(size, 10 if len(size) == 3 else 4, 1)
    image, edge = torch.randn(1, 2, *size), min(size)
    views, _ = task.apply(image, {"label": torch.zeros(1, 1, dtype=torch.int64)})
    for axis, length in enumerate(size, 2):
        before = (length - edge) // 2
        image = image[(slice(None),) * axis + (slice(before, before + edge),)]
    assert torch.equal(views[:, 0], image)


@pytest.mark.parametrize(("size", "count"), [((16, 16, 16), 10), ((16, 16, 16), 24), ((16, 16), 4)])
def test_a_network_earns_chance_on_a_ball(size, count):
    """Spec 7.2."""
    torch.manual_seed(0)
    task = Rotation(size, count, count)
    places = torch.meshgrid(*[2 * torch.arange(edge) - edge + 1 for edge in size], indexing="ij")
    ball = torch.cos(sum(place.square() for place in places) / 40).expand(2, 1, *size)
    views, labels = task.apply(ball, all_labels(task, 2))
    network = ViewClassifier(build_encoder("unet", len(size), features=[8] * 5), count, 8)
    assert task.accuracy(network(views), labels).tolist() == pytest.approx([task.chance] * 2)


@pytest.mark.parametrize(("size", "count"), [((8, 8, 8), 10), ((8, 8, 8), 24), ((8, 8), 4)])
def test_an_asymmetric_image_is_classified_by_a_simple_rule(size, count):
    """Spec 7.2: ramps with a different slope along each axis, which determine the rotation."""
    task, dims = Rotation(size, count, 2), len(size)
    lines = torch.meshgrid(*[torch.linspace(-1, 1, edge) for edge in size], indexing="ij")
    toy = sum((axis + 1) * line for axis, line in enumerate(lines))
    noise = torch.randn(400, 1, *size, generator=torch.Generator().manual_seed(0))
    views, labels = task.apply(toy + 0.3 * noise, task.draw_params(400, 1))

    def slopes(images):
        return torch.stack([images.diff(dim=axis).flatten(-dims).mean(-1) for axis in range(-dims, 0)], -1)

    expected = slopes(torch.stack([rotate(toy, rotation) for rotation in task.rotations]))
    scores = -(slopes(views[:, :, 0])[:, :, None] - expected).square().sum(-1)
    assert task.accuracy(scores, labels).mean() > 0.99
