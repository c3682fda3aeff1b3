import pytest
import torch
from checkpoints import checkpoint_content
from ignite.engine import Engine, Events

from tools.networks.encoders import build_encoder
from tools.pretext.jigsaw.network import jigsaw_network
from tools.pretext.jigsaw.task import Jigsaw
from tools.training.checkpoint import load_network
from tools.utils.errors import InputError

SIZES = {2: (40, 37), 3: (28, 30, 25)}
DIMS = pytest.mark.parametrize("dims", [2, 3])


def make(dims=3, **kw):
    return Jigsaw(**{"roi_size": SIZES[dims], "gap": 1, "jitter": 2, **kw})


def places(task, batch):
    """Images of voxel coordinates, one channel per axis."""
    lines = [torch.arange(edge).float() for edge in task.roi_size]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(batch, -1, *task.roi_size)


@DIMS
def test_orders_are_the_permutations_of_the_labels(dims):
    task = make(dims)
    params = task.draw_params(3, 1)
    (patches, orders), labels = task.apply(torch.randn(3, 1, *task.roi_size), params)
    assert patches.shape[:2] == (3, 3**dims)
    assert torch.equal(orders, task.permutations[labels])
    assert torch.equal(labels, params["label"])


@DIMS
def test_every_order_is_undone_to_raster_order(dims, monkeypatch):
    """What a puzzle shows, put back by its label, lies where the image has it, for every class."""
    monkeypatch.setattr("tools.pretext.jigsaw.task.standardise", lambda patches: patches)
    task = make(dims, views_per_volume=100)
    (patches, orders), labels = task.apply(places(task, 2), task.draw_params(2, 1))
    for b in range(2):
        assert sorted(labels[b].tolist()) == list(range(100))
        for order, label in zip(orders[b], labels[b], strict=True):
            shown = patches[b][order]
            assert not torch.equal(shown, patches[b])
            back = shown[task.permutations[label].argsort()]
            assert torch.equal(back, patches[b])
            cell = (back.flatten(2).amin(-1) / torch.tensor(task.layout.stride)).floor().long()
            raster = torch.cartesian_prod(*[torch.arange(3)] * dims)
            assert torch.equal(cell, raster)


@DIMS
def test_views_of_an_image_have_different_orders(dims):
    task = make(dims, views_per_volume=5)
    for step in range(1, 10):
        labels = task.draw_params(6, step)["label"]
        assert all(len(row.unique()) == 5 for row in labels)


@DIMS
def test_neighbouring_patches_never_touch(dims, monkeypatch):
    monkeypatch.setattr("tools.pretext.jigsaw.task.standardise", lambda patches: patches)
    task = make(dims)
    gaps = []
    for step in range(1, 12):
        (patches, _), _ = task.apply(places(task, 4), task.draw_params(4, step))
        first, last = (bound(patches.flatten(3), -1) for bound in (torch.amin, torch.amax))
        for axis in range(dims):
            low, high = (edge[..., axis].unflatten(1, (3,) * dims).movedim(1 + axis, 0) for edge in (first, last))
            gaps.append((low[1:] - high[:-1] - 1).flatten())
    assert set(torch.cat(gaps).tolist()) == set(range(task.gap, task.gap + 2 * task.jitter + 1))


@DIMS
def test_scores_are_invariant_to_brightness_and_contrast(dims):
    task = make(dims)
    images = torch.randn(2, 2, *task.roi_size)
    params = task.draw_params(2, 1)
    (patches, _), _ = task.apply(images, params)
    (other, _), _ = task.apply(images * 3.7 - 2.5, params)
    torch.testing.assert_close(other, patches, rtol=0, atol=1e-4)


def test_the_set_is_described():
    statistics = make(3).statistics()
    assert statistics["permutations"] == 100
    assert statistics["smallest Hamming distance"] >= 24
    assert make(2).statistics()["smallest Hamming distance"] >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_permutations": 30_000}, "num_permutations"),
        ({"min_hamming_distance": 27}, "min_hamming_distance 27"),
        ({"views_per_volume": 101}, "views_per_volume"),
        ({"jitter": 9}, "roi_size"),
    ],
)
def test_impossible_puzzles(arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)


@pytest.mark.parametrize("head", ["positions", "concatenated"])
def test_a_loaded_network_brings_the_permutations_it_was_trained_with(head):
    """As a checkpoint of another version does, whose set is not the one selected today."""
    task = make(2)
    others = task.permutations.flip(1)
    state = jigsaw_network(head, encoder=build_encoder("unet", 2), permutations=others).state_dict()
    network = jigsaw_network(head, encoder=build_encoder("unet", 2), permutations=task.permutations)
    engine = Engine(lambda engine, batch: task.make_batch(batch, 1))
    engine.network = network
    engine.add_event_handler(Events.STARTED, lambda: network.load_state_dict(state))
    task.attach(engine)
    engine.run([{"image": torch.randn(1, 1, *task.roi_size), "case": ["a"]}])
    (_, orders), labels = engine.state.output
    assert torch.equal(orders, others[labels])


@pytest.mark.parametrize("head", ["positions", "concatenated"])
def test_a_checkpoint_without_permutations_is_refused(head, tmp_path):
    network = jigsaw_network(head, encoder=build_encoder("unet", 2), permutations=make(2).permutations)
    state = {name: value for name, value in network.state_dict().items() if name != "permutations"}
    torch.save(checkpoint_content(state), tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint\.pt.*permutations"):
        load_network(network, tmp_path / "checkpoint.pt", {})


def test_a_grid_may_have_another_number_of_cells_along_each_axis():
    task = Jigsaw((30, 30, 40), grid=(3, 3, 4), gap=1, jitter=2, min_hamming_distance=30)
    (patches, orders), _ = task.apply(torch.randn(1, 1, 30, 30, 40), task.draw_params(1, 1))
    assert patches.shape[1] == orders.shape[2] == 36
