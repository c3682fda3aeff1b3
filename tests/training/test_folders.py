"""Output folders of a run: locks, checks, backups of the earlier run, and disk space."""

import errno
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from checkpoints import checkpoint_content
from ignite.engine import Engine, Events

from tools.data.cache.dataset import CachedDataset
from tools.training.checkpoint import Checkpoint
from tools.training.folders import RunFolders, backup_earlier_run, check_exported, check_space
from tools.training.run_folder import LOCK, claim
from tools.transfer.export import export_weights
from tools.utils import files
from tools.utils.errors import InputError, WriteError
from tools.utils.files import atomic_write


def train(folder, step=lambda engine, batch: None, epochs=3, **handlers):
    """Run a trainer with a step function and handlers by event name."""
    engine = Engine(step)
    folders = RunFolders(folder / "m", folder / "o", lambda: "this is how it goes on")
    folders.attach(engine)
    for event, handler in handlers.items():
        engine.add_event_handler(getattr(Events, event), handler)
    folders.attach_end(engine)
    engine.run([0], max_epochs=epochs)


def locks(folder):
    return sorted(path.parent.name for path in folder.glob(f"*/{LOCK}"))


def test_folders_are_locked_only_during_the_run(tmp_path):
    seen = []
    train(tmp_path, lambda *_: seen.append(locks(tmp_path)), epochs=1)
    assert seen == [["m", "o"]]
    assert locks(tmp_path) == []


def test_a_second_trainer_of_the_process_is_refused_while_the_first_runs(tmp_path):
    def run_another(*_):
        with pytest.raises(InputError, match="this process"):
            train(tmp_path)

    train(tmp_path, run_another, epochs=1)
    train(tmp_path)


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit, InputError])
def test_exception_releases_the_folders_and_is_raised(tmp_path, kind):
    def fail(*_):
        raise kind("in the middle")

    with pytest.raises(kind, match="in the middle") as raised:
        train(tmp_path, fail)
    assert "goes on" not in str(raised.value)
    assert locks(tmp_path) == []


def test_refused_run_keeps_the_lock_of_the_other(tmp_path):
    held = claim("models_dir", tmp_path / "m")
    held.in_use = True
    with pytest.raises(InputError):
        train(tmp_path)
    assert held.is_intact()


@pytest.mark.parametrize("name", ["m", "o"])
@pytest.mark.parametrize("event", ["EPOCH_STARTED", "EPOCH_COMPLETED"])
@pytest.mark.parametrize("again", [False, True])
def test_folder_removed_during_the_run_is_an_error(tmp_path, name, event, again):
    def remove(engine):
        if engine.state.epoch == 2:
            shutil.rmtree(tmp_path / name)
            if again:
                (tmp_path / name).mkdir()

    ended = []
    with pytest.raises(InputError, match=str(tmp_path / name)) as raised:
        train(tmp_path, **{event: remove, "COMPLETED": ended.append})
    assert "goes on" in str(raised.value)
    assert not ended


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_names_the_file_the_bytes_and_how_to_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))

    def save(*_):
        with atomic_write(tmp_path / "m/checkpoint.pt", 7 * 2**20):
            full()

    with pytest.raises(InputError) as raised:
        train(tmp_path, EPOCH_COMPLETED=save)
    for part in (str(tmp_path / "m/checkpoint.pt"), "No space left", "7.00 MB needed", "3.00 MB free", "goes on"):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path).glob("m/*"))


def write_run(folder, number, checkpoint=True):
    """Write the files of a run whose tensors have the value `number`."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, number)
    card = {"encoder": {"name": "unet"}, "selected": {"epoch": number}}
    export_weights(network, folder / "model.pt", card)
    if checkpoint:
        torch.save(number, folder / "checkpoint.pt")


def content(folder, name):
    return {
        "weights": torch.load(folder / f"{name}.pt")["weight"].item(),
        "card": json.loads((folder / f"{name}.json").read_text())["selected"]["epoch"],
    }


def test_model_card_and_checkpoint_of_the_earlier_run_are_backed_up(tmp_path):
    for number in (1, 2):
        write_run(tmp_path, number)
        backup_earlier_run(tmp_path, finished=True)
        assert content(tmp_path, "model.previous") == {"weights": number, "card": number}
        assert torch.load(tmp_path / "checkpoint.previous.pt") == number
        assert not (tmp_path / "checkpoint.pt").exists()
        assert content(tmp_path, "model") == {"weights": number, "card": number}  # readable at any time
    backup_earlier_run(tmp_path, finished=True)  # the new run ended before it wrote anything
    assert content(tmp_path, "model.previous") == {"weights": 2, "card": 2}
    assert torch.load(tmp_path / "checkpoint.previous.pt") == 2
    assert len(list(tmp_path.iterdir())) == 5


def test_backup_of_weights_has_its_own_card(tmp_path):
    write_run(tmp_path, 1)
    backup_earlier_run(tmp_path, finished=True)
    write_run(tmp_path, 2)
    (tmp_path / "model.json").unlink()
    backup_earlier_run(tmp_path, finished=True)
    assert torch.load(tmp_path / "model.previous.pt")["weight"].item() == 2
    assert not (tmp_path / "model.previous.json").exists()


def test_the_model_of_an_unfinished_run_does_not_replace_that_of_a_finished_one(tmp_path):
    write_run(tmp_path, 1)
    backup_earlier_run(tmp_path, finished=True)
    write_run(tmp_path, 2)
    backup_earlier_run(tmp_path, finished=False)
    assert content(tmp_path, "model.previous") == {"weights": 1, "card": 1}
    assert torch.load(tmp_path / "checkpoint.previous.pt") == 2


def test_backup_is_logged_in_one_line(tmp_path, caplog):
    caplog.set_level("INFO")
    backup_earlier_run(tmp_path, finished=True)
    assert not caplog.records
    write_run(tmp_path, 1)
    backup_earlier_run(tmp_path, finished=True)
    (record,) = caplog.records
    for name in ("model.previous.pt", "model.previous.json", "checkpoint.previous.pt"):
        assert name in record.getMessage()


def constant(optimizer):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


@pytest.mark.parametrize("resume", [False, True])
def test_new_run_backs_up_also_without_a_checkpoint_to_resume(tmp_path, resume):
    write_run(tmp_path, 1, checkpoint=False)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    made = (torch.nn.Identity(), optimizer, constant(optimizer), torch.nn.Identity(), None)
    Checkpoint(tmp_path / "checkpoint.pt", *made, settings={}, cases=[], resume=resume).back_up(None)
    assert content(tmp_path, "model.previous")["weights"] == 1


OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "momentum": lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9),
    "sgd": lambda weights: torch.optim.SGD(weights, 0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_size_of_a_checkpoint_is_estimated_before_the_first_step(tmp_path, name):
    network = torch.nn.Sequential(torch.nn.Linear(400, 400), torch.nn.Linear(400, 400).requires_grad_(False))
    optimizer = OPTIMIZERS[name](network.parameters())
    made = Checkpoint(tmp_path / "c.pt", network, optimizer, constant(optimizer), torch.nn.Identity(), None, {}, [])
    before = made.size()
    network(torch.ones(2, 400)).sum().backward()
    optimizer.step()
    torch.save([network.state_dict(), optimizer.state_dict()], tmp_path / "c.pt")
    for size in (before, made.size()):
        assert size == pytest.approx((tmp_path / "c.pt").stat().st_size, rel=0.02)


def test_disk_without_enough_space_is_refused(tmp_path, monkeypatch):
    network = torch.nn.Linear(512, 512, bias=False)  # 1 MB
    free = SimpleNamespace(free=int(6.9 * 2**20))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: free)
    check_space(tmp_path / "m", 2 * 2**20, network, resumed=False)
    with pytest.raises(InputError) as refusal:
        check_space(tmp_path / "m", 3 * 2**20, network, resumed=False)
    for part in ("models_dir", str(tmp_path / "m"), "7.00 MB", "6.90 MB"):
        assert part in str(refusal.value)
    (tmp_path / "checkpoint.pt").write_bytes(bytes(2**18))  # of the resumed run, which replaces it
    check_space(tmp_path, 3 * 2**20, network, resumed=True)


@pytest.mark.parametrize("missing", ["model.pt", "model.json", None])
def test_missing_model_is_an_error_at_the_end(tmp_path, missing):
    write_run(tmp_path, 3)
    check_exported(tmp_path / "model.pt", 3)
    if missing:
        (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=r"model\.pt"):
        check_exported(tmp_path / "model.pt", 3 if missing else 4)


def test_disk_error_is_not_attributed_to_a_case(tmp_path):
    (tmp_path / "file").touch()
    cases = [{"case": str(number), "image": number} for number in range(3)]
    with pytest.raises(WriteError, match="found a file"):
        CachedDataset(cases, lambda case: {"image": torch.ones(1, 2, 2)}, "disk", tmp_path / "file", skip_bad=True)


def checkpoint(folder):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    made = (torch.nn.Identity(), optimizer, constant(optimizer), torch.nn.Identity(), None)
    return Checkpoint(folder / "checkpoint.pt", *made, settings={}, cases=[], resume=True)


def test_resume_hint_names_the_epoch_of_the_checkpoint(tmp_path):
    made = checkpoint(tmp_path)
    assert "from the beginning" in made.resume_hint()
    torch.save(checkpoint_content(progress={"epoch": 3}), made.path)
    assert "from the beginning" in made.resume_hint()  # the file belongs to an earlier run
    made.owns_path = True
    assert "--resume True continues after epoch 3" in made.resume_hint()


def test_checkpoint_that_only_some_ranks_find_is_refused(tmp_path, monkeypatch):
    """The other ranks would start from the beginning."""
    monkeypatch.setattr("tools.utils.distributed.gather_objects", lambda value: [not value, value])
    with pytest.raises(InputError, match=r"found none on ranks 1$"):
        checkpoint(tmp_path).start(None)
