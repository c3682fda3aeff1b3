import pytest
import torch
from torch import nn

from tools.networks.anisotropic import build_anisotropic_encoder
from tools.networks.encoders import build_encoder
from tools.pretext.accuracy import top1_correct
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.jigsaw.network import PermutationClassifier, jigsaw_network
from tools.pretext.jigsaw.permutations import permutation_set
from tools.pretext.rotation.network import ViewClassifier
from tools.pretext.rpl.network import PairClassifier
from tools.pretext.vdt.network import VolumeClassifier
from tools.utils.errors import InputError

EDGE = 10
DIMS = pytest.mark.parametrize("dims", [2, 3])
HEADS = pytest.mark.parametrize("head", ["positions", "concatenated"])


def encoder(dims=2, name="resnet18"):
    torch.manual_seed(0)
    return build_encoder(name, dims, 1)


def orders_of(dims):
    return permutation_set(2**dims, 8, 2)


def small(head, dims=2, permutations=None):
    permutations = orders_of(dims) if permutations is None else permutations
    return jigsaw_network(
        head, encoder=encoder(dims), permutations=permutations, embedding_dim=4, hidden_channels=[8], dropout=0.0
    ).eval()


def puzzles(permutations, dims=2, batch=2, views=3):
    cells = permutations.shape[1]
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(batch, cells, 1, *[EDGE] * dims, generator=generator)
    labels = torch.randint(len(permutations), (batch, views), generator=generator)
    return patches, permutations[labels], labels


@DIMS
def test_an_order_scores_the_sum_over_its_places(dims):
    network = small("positions", dims)
    patches, orders, _ = puzzles(orders_of(dims), dims)
    with torch.no_grad():
        scores, codes = network((patches, orders)), network.encode(patches)
        for b in range(len(orders)):
            middle = codes[b].mean(0)
            for v, order in enumerate(orders[b]):
                for k, permutation in enumerate(network.permutations):
                    expected = 0.0
                    for place, cell in enumerate(permutation):
                        code = codes[b, order[place]]
                        expected += network.head(torch.cat([code, middle])).log_softmax(-1)[cell].item()
                    assert scores[b, v, k].item() == pytest.approx(expected, abs=1e-3)


def test_the_right_order_scores_best_once_every_patch_is_placed():
    permutations = permutation_set(9, 100, 6)
    network = small("positions", 2, permutations)
    patches, orders, labels = puzzles(permutations)
    network.encode = lambda patches: torch.eye(9).expand(len(patches), 9, 9)
    network.head = nn.Linear(18, 9, bias=False)
    network.head.weight.data = 20 * torch.eye(9, 18)
    scores = network((patches, orders))
    assert torch.equal(scores.argmax(-1), labels)


@pytest.mark.parametrize(("cells", "classes"), [(9, 100), (27, 100)])
def test_equal_patches_tie(cells, classes):
    network = small("positions", 2, permutation_set(cells, classes, 6))
    patches, orders, labels = puzzles(network.permutations)
    alike = patches[:, :1].expand_as(patches).contiguous()
    scores = network((alike, orders))
    torch.testing.assert_close(top1_correct(scores, labels), torch.full(labels.shape, 1 / classes))


@HEADS
@pytest.mark.parametrize("views", [1, 5])
def test_every_patch_is_encoded_once_for_all_orders(head, views):
    network = small(head)
    patches, orders, _ = puzzles(orders_of(2), views=views)
    seen = []
    network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    assert network((patches, orders)).shape == (2, views, 8)
    assert seen == [2 * 4]


@DIMS
@HEADS
def test_scores_depend_on_what_is_shown_only(head, dims):
    """Patches stored in another order, shown in the same one, score the same."""
    network = small(head, dims)
    patches, orders, _ = puzzles(orders_of(dims), dims)
    shuffle = torch.randperm(2**dims, generator=torch.Generator().manual_seed(2))
    other = network((patches[:, shuffle], shuffle.argsort()[orders]))
    torch.testing.assert_close(other, network((patches, orders)), rtol=1e-4, atol=1e-4)


@HEADS
def test_another_order_scores_otherwise(head):
    network = small(head)
    patches, orders, _ = puzzles(orders_of(2))
    assert not torch.allclose(network((patches, orders)), network((patches, orders.roll(1, -1))))


@DIMS
def test_the_published_head_runs(dims):
    permutations = permutation_set(3**dims, 100, 6)
    network = PermutationClassifier(encoder(dims), permutations)
    patches, orders, _ = puzzles(permutations, dims, batch=1)
    scores = network((patches, orders))
    assert scores.shape == (1, 3, 100)
    assert scores.isfinite().all()


def test_more_permutations_cost_the_head_of_places_no_parameters():
    few, many = (small("positions", 2, permutation_set(9, count, 6)) for count in (10, 100))
    assert few.state_dict().keys() == many.state_dict().keys()
    assert sum(p.numel() for p in few.parameters()) == sum(p.numel() for p in many.parameters())


@DIMS
def test_anchor_and_neighbour_are_not_interchangeable(dims):
    network = PairClassifier(encoder(dims), 3**dims - 1, 4).eval()
    patches = torch.randn(2, 2, 1, *[EDGE] * dims)
    assert not torch.allclose(network(patches), network(patches.flip(1)), atol=1e-4)


@DIMS
def test_another_anchor_changes_all_scores_and_another_neighbour_its_own(dims):
    network = PairClassifier(encoder(dims), 3**dims - 1, 4).eval()
    patches = torch.randn(2, 4, 1, *[EDGE] * dims)
    for changed, differ in ((0, [True] * 3), (2, [False, True, False])):
        other = patches.clone()
        other[:, changed] = torch.randn(2, 1, *[EDGE] * dims)
        gap = (network(other) - network(patches)).abs().amax((0, 2))
        assert (gap > 1e-4).tolist() == differ


@DIMS
def test_every_neighbour_is_judged_with_the_anchor_alone(dims):
    network = PairClassifier(encoder(dims), 3**dims - 1, 4).eval()
    patches = torch.randn(2, 4, 1, *[EDGE] * dims)
    scores = network(patches)
    for v in range(3):
        alone = network(patches[:, [0, 1 + v]])
        torch.testing.assert_close(alone[:, 0], scores[:, v], rtol=1e-4, atol=1e-5)


@DIMS
@pytest.mark.parametrize("kind", [lambda e: ViewClassifier(e, 4, 4), lambda e: ProjectionNetwork(e, 4, 8)])
def test_every_view_is_judged_alone(kind, dims):
    network = kind(encoder(dims)).eval()
    views = torch.randn(2, 2, 1, *[EDGE] * dims)
    found = network(views)
    for b in range(2):
        for v in range(2):
            torch.testing.assert_close(network(views[b : b + 1, v : v + 1])[0, 0], found[b, v], rtol=1e-4, atol=1e-5)


def test_embeddings_have_length_one():
    found = ProjectionNetwork(encoder(), 4, 8)(100 * torch.randn(2, 2, 1, EDGE, EDGE))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 2))


@pytest.mark.parametrize("kind", [lambda e: PairClassifier(e, 8), lambda e: ViewClassifier(e, 4), ProjectionNetwork])
def test_too_small_pieces_are_refused(kind):
    with pytest.raises(InputError, match="at least 16"):
        kind(encoder(name="unet"))(torch.zeros(1, 2, 1, 16, 15))


@HEADS
def test_too_small_puzzle_pieces_are_refused(head):
    permutations = permutation_set(4, 8, 2)
    network = jigsaw_network(head, encoder=encoder(name="unet"), permutations=permutations)
    with pytest.raises(InputError, match="roi_size"):
        network((torch.zeros(1, 4, 1, 8, 8), permutations[None, :1]))


def test_an_unknown_head_is_named():
    with pytest.raises(InputError, match="positions"):
        jigsaw_network("nonsense")


@HEADS
@DIMS
def test_scores_are_independent_of_the_batch(head, dims):
    network = small(head, dims)
    patches, orders, _ = puzzles(orders_of(dims), dims, batch=3)
    alone = network((patches[1:2], orders[1:2, 2:]))
    torch.testing.assert_close(alone[0, 0], network((patches, orders))[1, 2], rtol=1e-4, atol=1e-4)


@HEADS
def test_equal_patches_earn_chance_over_all_orders(head):
    """Spec 7.7."""
    permutations = permutation_set(9, 50, 6)
    network = small(head, 2, permutations)
    patches = torch.randn(2, 1, 1, EDGE, EDGE).expand(2, 9, 1, EDGE, EDGE)
    labels = torch.arange(50).expand(2, 50)
    scores = network((patches, permutations[labels]))
    torch.testing.assert_close(top1_correct(scores, labels).mean(1), torch.full((2,), 1 / 50))


def test_equal_neighbours_earn_chance_over_all_directions():
    network = PairClassifier(encoder(), 8, 4).eval()
    patches = torch.randn(2, 1, 1, EDGE, EDGE).expand(2, 9, 1, EDGE, EDGE)
    correct = top1_correct(network(patches), torch.arange(8).expand(2, 8))
    torch.testing.assert_close(correct.mean(1), torch.full((2,), 1 / 8))


@HEADS
def test_scores_depend_on_every_patch(head):
    network = small(head)
    patches, orders, _ = puzzles(orders_of(2))
    swapped = patches[:, [1, 0, 2, 3]]
    assert ((network((patches, orders)) - network((swapped, orders))).abs().amax((1, 2)) > 1e-4).all()


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [(lambda e: PairClassifier(e, 8, 4), 4), (lambda e: ViewClassifier(e, 4, 4), 5), (ProjectionNetwork, 2)],
)
def test_every_piece_is_encoded_once(kind, pieces):
    network, seen = kind(encoder()), []
    network.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    network(torch.randn(3, pieces, 1, EDGE, EDGE))
    assert seen == [3 * pieces]


def test_both_views_are_embedded_by_the_same_parameters():
    """Spec 7.12: views exchanged, embeddings exchanged."""
    network = ProjectionNetwork(encoder(), 4, 8)
    views = torch.randn(2, 2, 1, EDGE, EDGE)
    torch.testing.assert_close(network(views.flip(1)), network(views).flip(1), rtol=1e-4, atol=1e-5)


@HEADS
def test_gradient_reaches_every_parameter(head):
    network = small(head)
    patches, orders, _ = puzzles(orders_of(2))
    network((patches, orders)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_scores_and_embeddings_that_are_summed_up_are_single_precision_under_autocast():
    patches, orders, _ = puzzles(orders_of(2))
    with torch.autocast("cpu", torch.bfloat16):
        assert small("positions")((patches, orders)).dtype == torch.float32
        found = ProjectionNetwork(encoder(), 4, 8)(patches[:, :2])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 2))


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_unet_that_keeps_the_depth_takes_few_slices(norm, depth):
    network = VolumeClassifier(build_anisotropic_encoder("unet", norm), 4)
    edge = network.encoder.min_size[1]
    assert network(torch.rand(2, 1, depth, edge, edge)).isfinite().all()
    with pytest.raises(InputError, match=f"at least 1 x {edge} x {edge}"):
        network(torch.rand(2, 1, depth, edge, edge - 1))
