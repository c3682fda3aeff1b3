"""One process and two see the same work: same loss, same gradients, to rounding."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tools.distributed import gather, masked_mean
from tools.losses import cpc_loss
from tools.networks import CPCNetwork, build_encoder
from tools.pretext import CPC

BATCH = 4
LOSSES = ["infonce", "binary"]


def parts():
    torch.manual_seed(0)
    task = CPC((64, 64), 4, negatives_same_volume=9, negatives_other_volumes=20)
    images = torch.randn(BATCH, 1, 64, 64)
    images[0, :, :40] = 0  # ranks ask different numbers of questions
    return task, images, CPCNetwork(build_encoder("unet", 2), code_channels=16, context_channels=16)


def step(task, images, network, loss_name, rank=0, batch=BATCH):
    inputs, targets = task.apply(images[rank * batch : (rank + 1) * batch], task.draw(batch, 3))
    loss = cpc_loss(loss_name)(network(inputs), targets)
    loss.backward()
    return loss.detach()


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for loss_name in LOSSES:
        task, images, network = parts()
        loss = step(task, images, DistributedDataParallel(network), loss_name, rank, BATCH // 2)
        dist.all_reduce(loss)
        if rank == 0:
            gradients = {k: p.grad for k, p in network.named_parameters()}
            torch.save({"loss": loss / 2, "gradients": gradients}, f"{folder}/{loss_name}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("loss_name", LOSSES)
def test_two_processes_equal_one(two_processes, loss_name):
    task, images, network = parts()
    loss = step(task, images, network, loss_name)
    result = torch.load(two_processes / f"{loss_name}.pt", weights_only=True)
    torch.testing.assert_close(result["loss"], loss)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(result["gradients"][name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_alone_nothing_is_gathered():
    values = torch.randn(3, 2)
    assert gather(values) is values
    assert masked_mean(values, values > 0) == pytest.approx(values[values > 0].mean().item())
    assert masked_mean(values, copy.copy(values) > 99) == 0
