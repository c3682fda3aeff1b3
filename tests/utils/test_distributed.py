"""One and two processes have the same loss, gradients, weights and scores up to rounding."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from processes import START
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from tools.data.sampler import ResumableBatchSampler
from tools.networks.encoders import build_encoder
from tools.pretext.accuracy import Top1Accuracy
from tools.pretext.cpc.loss import cpc_loss
from tools.pretext.cpc.network import CPCNetwork
from tools.pretext.cpc.task import CPC
from tools.pretext.exemplar.loss import NTXentLoss, TripletLoss
from tools.pretext.exemplar.network import ProjectionNetwork
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.loss import MaskedCrossEntropy
from tools.pretext.mae.network import MaskedAutoencoder
from tools.pretext.mae.task import MaskedAutoencoding
from tools.pretext.rpl.network import PairClassifier
from tools.pretext.rpl.task import RelativePatchLocation
from tools.segmentation.labels import SoftmaxLabels
from tools.segmentation.loss import DiceCELoss
from tools.training.engine import exchange_accumulated_gradients
from tools.utils.distributed import broadcast_buffers, gather, gather_objects, masked_mean

ROOT = Path(__file__).parents[2] / "bundles"
STEPS, CASES, BATCH = 4, 10, 4


def setups():
    """Task, network and loss of every kind of exchange: none, codes, embeddings, counts."""
    torch.manual_seed(0)
    encoder = build_encoder("unet", 2)
    cpc = CPC((64, 64), 4, negatives_same_volume=9, negatives_other_volumes=20)
    predictor = CPCNetwork(encoder, embedding_dim=16, context_dim=16, temperature=0.1)
    neighbours = RelativePatchLocation((54, 54), gap=1, jitter=1, views_per_volume=3)
    masked = MaskedAutoencoding((32, 32))
    return {
        "infonce": (cpc, predictor, cpc_loss("infonce")),
        "binary": (cpc, predictor, cpc_loss("binary")),
        "exemplar": (Exemplar((32, 32)), ProjectionNetwork(encoder, 16, 16), TripletLoss(16, queue_size=6)),
        "nt_xent": (Exemplar((32, 32)), ProjectionNetwork(encoder, 16, 16), NTXentLoss(0.1)),
        "batch norm": (Exemplar((32, 32)), ProjectionNetwork(encoder, 16, 16, "batch"), NTXentLoss(0.1)),
        "rpl": (neighbours, PairClassifier(encoder, 8, 16, [16]), MaskedCrossEntropy()),
        "mae": (masked, MaskedAutoencoder(encoder, (8, 8), 8), torch.nn.MSELoss()),
    }


SETUPS = list(setups())


class Images(torch.utils.data.Dataset):
    def __init__(self, size):
        self.images = torch.randn(CASES, 1, *size, generator=torch.Generator().manual_seed(0))
        self.images[::3, :, : size[0] // 2] = 0  # ranks have different numbers of valid targets

    def __getitem__(self, key):
        return {"image": self.images[key[0]], "case": str(key[0])}


def train(name, rank=0, world=1):
    """Run of a MONAI trainer with plain gradient descent, so that weights determine the gradients."""
    task, network, loss = setups()[name]
    start = copy.deepcopy(network.state_dict())
    sampler = ResumableBatchSampler(CASES, BATCH // world, STEPS, 0, rank, world)
    losses, cases, exchanges = [], [], []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        epoch_length=STEPS,
        train_data_loader=DataLoader(Images(task.roi_size), batch_sampler=sampler),
        prepare_batch=task,
        network=DistributedDataParallel(network) if world > 1 else network,
        optimizer=torch.optim.SGD(network.parameters(), 0.05),
        loss_function=loss,
        key_train_metric={"accuracy": Top1Accuracy(task.top1_correct)},
        accumulation_steps=2,
        decollate=False,
    )
    task.attach(trainer)
    trainer.add_event_handler("STARTED", exchange_accumulated_gradients)
    if world > 1:

        def exchange(_, bucket):
            exchanges.append(trainer.state.iteration)
            return allreduce_hook(None, bucket)

        trainer.network.register_comm_hook(None, exchange)
    trainer.add_event_handler("ITERATION_COMPLETED", lambda e: losses.append(e.state.output["loss"].item()))
    trainer.add_event_handler("ITERATION_COMPLETED", lambda e: cases.append(e.state.batch["case"]))
    trainer.run()
    moved = {k: v - start[k] for k, v in network.state_dict().items()}
    return {
        "moved": moved,
        "losses": losses,
        "cases": cases,
        "exchanges": sorted({*exchanges}),
        "bank": loss.state_dict(),
        "metrics": trainer.state.metrics,
    }


def exchange(rank):
    """What the functions of `tools.utils.distributed` give on one of two ranks."""
    mine = torch.full((2, 3), rank + 1.0, requires_grad=True)
    everyone = gather(mine)
    (everyone * (rank + 1)).sum().backward()
    norm = torch.nn.BatchNorm1d(3)
    norm(torch.randn(8, 3, generator=torch.Generator().manual_seed(rank)))
    broadcast_buffers(norm)
    values = torch.arange(4.0) + 10 * rank
    mean = masked_mean(values, torch.tensor([True, True, rank == 0, False]))
    none = masked_mean(values, torch.tensor([False] * 4))
    return {
        "gathered": everyone.detach(),
        "gradient": mine.grad,
        "buffers": norm.state_dict(),
        "mean": mean,
        "none": none,
        "objects": gather_objects({"rank": rank}),
        "segmented": segmented(slice(2 * rank, 2 * rank + 2)),
    }


def segmented(batch):
    """Loss of random scores, with and without gradients, and the gradients; classes lie in some crops only."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (4, 1, 6, 6), generator=generator) * torch.tensor([1, 0, 0, 1]).view(4, 1, 1, 1)
    scores = torch.randn(4, 3, 6, 6, generator=generator)[batch].requires_grad_()
    loss = DiceCELoss(SoftmaxLabels(["pancreas", "cancer"]))
    value = loss(scores, labels[batch])
    value.backward()
    return {"loss": value.detach(), "gradient": scores.grad, "alone": loss(scores.detach(), labels[batch])}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {name: train(name, rank, 2) for name in SETUPS} | {"exchange": exchange(rank)}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Results of both ranks: one start for all tests."""
    folder = tmp_path_factory.mktemp("two")
    mp.start_processes(worker, (str(folder),), nprocs=2, start_method=START)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def norm_of(tensors):
    return sum(v.double().square().sum() for v in tensors) ** 0.5


@pytest.mark.parametrize("name", SETUPS)
def test_two_processes_equal_one(two_processes, name):
    """Losses, all steps of accumulated gradients, scores and the memory bank."""
    one, two = train(name), [result[name] for result in two_processes]
    losses = torch.tensor([result["losses"] for result in two]).mean(0)
    torch.testing.assert_close(losses, torch.tensor(one["losses"]), rtol=3e-5, atol=1e-4)
    assert norm_of(one["moved"].values()) > 0
    for result in two:
        apart = norm_of(v - result["moved"][k] for k, v in one["moved"].items())
        assert apart < 1e-3 * norm_of(one["moved"].values())
        torch.testing.assert_close(result["bank"], one["bank"], rtol=1e-3, atol=1e-4)
        if not isinstance(setups()[name][0], Exemplar):  # whose accuracy compares the images of one process
            assert result["metrics"]["accuracy"] == pytest.approx(one["metrics"]["accuracy"], abs=1e-6)


@pytest.mark.parametrize("name", SETUPS)
def test_only_the_sum_of_accumulated_gradients_is_exchanged(two_processes, name):
    assert all(result[name]["exchanges"] == [2, 4] for result in two_processes)


@pytest.mark.parametrize("name", SETUPS)
def test_ranks_see_other_cases(two_processes, name):
    for first, second in zip(*(result[name]["cases"] for result in two_processes), strict=True):
        assert len({*first, *second}) == BATCH


def test_gathering_keeps_order_and_gives_every_rank_its_gradient(two_processes):
    for result in two_processes:
        found = result["exchange"]
        assert found["gathered"][:, 0].tolist() == [1, 1, 2, 2]
        assert (found["gradient"] == 1 + 2).all()
        assert found["objects"] == [{"rank": 0}, {"rank": 1}]


def test_buffers_are_those_of_rank_0(two_processes):
    torch.testing.assert_close(*(result["exchange"]["buffers"] for result in two_processes), rtol=0, atol=0)


def test_a_mean_is_of_all_ranks(two_processes):
    """0, 1, 2 of one and 10, 11 of the other rank; averaged over ranks, as the gradients are."""
    assert sum(result["exchange"]["mean"] for result in two_processes) / 2 == pytest.approx((0 + 1 + 2 + 10 + 11) / 5)
    assert all(result["exchange"]["none"] == 0 for result in two_processes)


def test_dice_is_of_the_batch_of_all_ranks_while_training(two_processes):
    whole, parts = segmented(slice(None)), [result["exchange"]["segmented"] for result in two_processes]
    torch.testing.assert_close(sum(part["loss"] for part in parts) / 2, whole["loss"])
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]) / 2, whole["gradient"])
    for rank, part in enumerate(parts):
        assert part["alone"] == segmented(slice(2 * rank, 2 * rank + 2))["alone"]


def test_alone_nothing_is_gathered():
    values = torch.randn(3, 2)
    assert gather(values) is values
    assert masked_mean(values, values > 0) == pytest.approx(values[values > 0].mean().item())
    assert masked_mean(values, copy.copy(values) > 99) == 0


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("bundle", ["cpc3d", "pancreas"])
def test_the_second_node_takes_its_own_devices(monkeypatch, bundle, cuda):
    """Rank 11 is the fourth process of the second node of eight: it takes the fourth device there."""
    begun = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: begun.update(device=device))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: begun.update(backend=backend))
    for name, value in {"RANK": 11, "LOCAL_RANK": 3, "WORLD_SIZE": 16, "LOCAL_WORLD_SIZE": 8}.items():
        monkeypatch.setenv(name, str(value))
    override = json.loads((ROOT / bundle / "configs/multi_gpu_train.json").read_text())
    wanted = {key: override[key] for key in ("device", "rank_timeout", "initialize")} | {"code": None}
    wanted["device_ids"] = override["network"]["device_ids"]
    parser = ConfigParser(wanted, globals={"os": "os", "torch": "torch"})
    device = torch.device("cuda", 3) if cuda else torch.device("cpu")
    assert parser.get_parsed_content("device") == device
    assert parser.get_parsed_content("device_ids") == ([device] if cuda else None)
    parser.get_parsed_content("initialize")
    assert begun == ({"backend": "nccl", "device": device} if cuda else {"backend": "gloo"})
