"""Functions that `test_devices` calls in a separate process with the simulated device."""

import copy
import io
import os
from pathlib import Path

import pretend
import pytest
import torch
from harness import DETECTION, DOWNSTREAM, SUPERVISED, Run, workflow
from ignite.engine import Events
from monai.utils import set_determinism


def start(extensions):
    """Compile and register the device in this process."""
    os.environ["TORCH_EXTENSIONS_DIR"] = extensions
    torch.set_num_threads(1)
    pretend.install()


def call(name, arguments):
    """Call a function of this module by name; a run that failed before may still forbid to wait."""
    torch.ops.pretend.forbid_waits(False)
    globals()[name](**arguments)


def refuse_mixed_devices():
    """Check that mixed devices raise an error, as on a GPU."""
    layer, image = torch.nn.Conv2d(3, 4, 3).to(pretend.DEVICE), torch.randn(2, 3, 8, 8)
    there = image.to(pretend.DEVICE)
    for call in (
        lambda: layer(image),
        lambda: there + image,
        lambda: there.index_select(0, torch.tensor([0])),
        lambda: there.index_select(0, torch.tensor(0)),
        lambda: torch.where(image > 0, there, there),
    ):
        with pytest.raises(RuntimeError, match=r"device|type"):
            call()


def refuse_waits():
    """Check that operations for which the host waits raise an error."""
    there = torch.randn(4, 3).to(pretend.DEVICE)
    with pretend.no_waits():
        (there + 1).softmax(1)[:, None].mul_(2).amax()
        torch.ones(4, 3).to(pretend.DEVICE, non_blocking=True)
        for call in (
            lambda: there.sum().item(),
            lambda: bool(there.any()),
            lambda: there.cpu(),
            lambda: there[there > 0],
            lambda: there[torch.tensor([0])],
            lambda: there.nonzero(),
            lambda: there.repeat_interleave(there[:, 0].abs().long(), 0),
            lambda: torch.save(there, io.BytesIO()),
            lambda: torch.ones(3).to(pretend.DEVICE),
            lambda: torch.tensor([1.0], device=pretend.DEVICE),
        ):
            with pytest.raises(RuntimeError, match="waited for"):
                call()
    assert there.sum().item() == there.cpu().sum().item()


def compute_as_the_cpu():
    """Compare a training step and saved weights with the CPU."""
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GroupNorm(2, 4), torch.nn.Flatten())
    here = torch.nn.Sequential(*layers, torch.nn.Linear(144, 2)).to(memory_format=torch.channels_last)
    there = copy.deepcopy(here).to(pretend.DEVICE)
    images = torch.randn(5, 3, 8, 8)
    for network in (here, there):
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
        network(images.to(next(network.parameters()).device)).square().sum().backward()
        optimizer.step()
    file = io.BytesIO()
    torch.save(there.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True, map_location="cpu")
    for name, value in here.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-4, atol=1e-5)
    assert torch.arange(7, device=pretend.DEVICE).tolist() == list(range(7))


def train(bundle, data, folder, **overrides):
    """Train without waiting for the device after the first step."""
    there = run_there(bundle, data, folder, epochs=1, **overrides)
    made = workflow(bundle, ["train"], **there.settings)
    set_determinism(0)  # as the run does before it builds anything
    trainer = made.parser.get_parsed_content("train#trainer")
    if bundle in DETECTION:  # MONAI's detector synchronises, for example for the number of boxes
        trainer.prepare_batch = pretend.no_waits()(trainer.prepare_batch)
    else:
        later = {"event_filter": lambda engine, step: step > 1}
        for begin, end in (("GET_BATCH_STARTED", "GET_BATCH_COMPLETED"), ("ITERATION_STARTED", "ITERATION_COMPLETED")):
            trainer.add_event_handler(Events[begin](**later), lambda: torch.ops.pretend.forbid_waits(True))
            trainer.add_event_handler(Events[end], lambda: torch.ops.pretend.forbid_waits(False))
    with there.drawing():
        made.run()
    made.finalize()
    if overrides.get("cache") == "device":
        kept = made.parser.get_parsed_content("train#dataset").dataset
        assert {kept[index]["image"].device.type for index in range(len(kept))} == {pretend.DEVICE}


def evaluate_and_infer(bundle, data, images, folder):
    """Evaluate the trained network and run inference on images."""
    trained = run_there(bundle, data, folder)
    trained.go(("train", "evaluate"))
    small = {"patch_size": [32] * 3, "stride": [32] * 3} if bundle in SUPERVISED else {}
    encoder = {} if bundle in DOWNSTREAM else {"pretrained": str(trained.models / "model.pt")}
    trained.infer(images, f"{folder}/found", device=trained.settings["device"], **small, **encoder)


def run_there(bundle, data, folder, **overrides):
    return Run(bundle, Path(folder), data, device=f"$torch.device('{pretend.DEVICE}')", **overrides)
