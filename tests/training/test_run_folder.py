"""Folder locks with other processes, killed processes, other hosts, no flock, and removed folders."""

import gc
import json
import os
import signal
import socket
import time

import pytest

from tools.training import run_folder
from tools.training.run_folder import LOCK, STALE, claim, claim_folders
from tools.utils import distributed
from tools.utils.errors import InputError, WriteError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="other processes are forked")


class Other:
    """Another process that locks a folder; its child survives when it is killed, as loader workers may."""

    def __init__(self, folder, host=None):
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            if host:
                run_folder.socket.gethostname = lambda: host
            try:
                self.held = claim("models_dir", folder)
                child = os.fork()
                if child:
                    os.write(writing, f"{child:8}".encode())
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(writing)
        self.child = int(os.read(reading, 8))
        os.close(reading)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def end(self):
        os.kill(self.child, signal.SIGKILL)


@pytest.fixture
def other():
    made = []

    def start(*arguments):
        made.append(Other(*arguments))
        return made[-1]

    yield start
    for one in made:
        one.end()
        try:
            one.kill()
        except (ProcessLookupError, ChildProcessError):
            continue


def age(folder, seconds=STALE + 60):
    then = time.time() - seconds
    os.utime(folder / LOCK, (then, then))


def test_a_second_process_is_refused_with_the_first_ones_id_and_host(tmp_path, other):
    first = other(tmp_path / "m")
    for folder in (tmp_path / "m", tmp_path / "m/../m"):
        with pytest.raises(InputError) as refusal:
            claim("models_dir", folder)
        assert f"process {first.pid} on {socket.gethostname()}" in str(refusal.value)
        assert "models_dir" in str(refusal.value)
    assert claim("models_dir", tmp_path / "another").is_intact()
    age(tmp_path / "m")
    with pytest.raises(InputError):  # the kernel's lock is valid at any age of the file
        claim("models_dir", tmp_path / "m")


def test_a_link_leads_to_the_same_folder(tmp_path, other):
    other(tmp_path / "m")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    with pytest.raises(InputError, match="another run"):
        claim("output_dir", tmp_path / "link")


def test_a_killed_process_leaves_no_lock_even_if_its_child_lives_on(tmp_path, other):
    first = other(tmp_path / "m")
    first.kill()
    assert (tmp_path / "m" / LOCK).exists()
    assert json.loads((tmp_path / "m" / LOCK).read_text())["process"] == first.pid
    assert claim("models_dir", tmp_path / "m").is_intact()


def test_the_lock_of_another_host_counts_until_it_is_stale(tmp_path, other):
    other(tmp_path / "m", "elsewhere").kill()
    with pytest.raises(InputError, match="on elsewhere") as refusal:
        claim("models_dir", tmp_path / "m")
    assert f"delete {tmp_path / 'm' / LOCK}" in str(refusal.value)
    age(tmp_path / "m")
    assert claim("models_dir", tmp_path / "m").is_intact()


@pytest.mark.parametrize("missing", ["on this system", "on this file system"])
def test_without_locks_the_age_of_the_file_decides(tmp_path, monkeypatch, other, missing):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    if missing == "on this system":
        monkeypatch.setattr(run_folder, "fcntl", None)
    else:
        monkeypatch.setattr(run_folder.fcntl, "flock", refuse)
    other(tmp_path / "m").kill()
    with pytest.raises(InputError, match="delete"):
        claim("models_dir", tmp_path / "m")
    age(tmp_path / "m")
    held = claim("models_dir", tmp_path / "m")
    assert held.is_intact()
    held.release()
    assert not (tmp_path / "m" / LOCK).exists()


def test_lock_is_touched_regularly(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "TOUCH", 0.02)
    held = claim("models_dir", tmp_path)
    age(tmp_path)
    end = time.monotonic() + 10
    while time.time() - (tmp_path / LOCK).stat().st_mtime > STALE:
        assert time.monotonic() < end
        time.sleep(0.02)
    held.release()


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"host": 3}'])
def test_damaged_free_lock_is_acquired(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    age(tmp_path)
    assert claim("models_dir", tmp_path).is_intact()


def test_released_folders_are_unchanged(tmp_path):
    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "old", tmp_path / "new"):
        held = claim("models_dir", folder)
        held.release()
        held.release()
        assert not held.is_intact()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert not list((tmp_path / "old").iterdir())
    held = claim("models_dir", tmp_path / "used")
    (tmp_path / "used/model.pt").touch()
    held.release()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["model.pt"]


def test_lock_is_released_with_its_object(tmp_path):
    claim("models_dir", tmp_path / "m")
    gc.collect()
    assert not (tmp_path / "m").exists()


def test_one_process_may_claim_twice_but_not_train_twice_at_once(tmp_path):
    first = claim("models_dir", tmp_path)
    assert claim("output_dir", tmp_path) is first
    first.in_use = True
    with pytest.raises(InputError, match="this process"):
        claim("models_dir", tmp_path)
    first.release()
    assert claim("models_dir", tmp_path) is not first


def test_removed_or_replaced_folder_is_detected(tmp_path):
    held = claim("models_dir", tmp_path / "m")
    held.check()
    (tmp_path / "m").rename(tmp_path / "moved")
    with pytest.raises(WriteError, match="models_dir"):
        held.check()
    again = claim("models_dir", tmp_path / "m")
    with pytest.raises(WriteError):
        held.check()
    held.release()
    again.check()


def test_files_and_read_only_folders_are_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/deeper"):
        with pytest.raises(InputError, match=r"output_dir .*expected a folder.* found a file"):
            claim("output_dir", path)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(run_folder.os, "open", refuse)
    with pytest.raises(InputError) as refusal:
        claim("output_dir", tmp_path / "m")
    assert "Read-only file system" in str(refusal.value)
    assert str(tmp_path / "m") in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows encodes every path")
def test_path_outside_the_encoding_is_refused(tmp_path):
    with pytest.raises(InputError, match="PYTHONUTF8"):
        claim("output_dir", os.fsdecode(os.fsencode(tmp_path) + b"/\xe4"))


def test_reservation_does_not_create_models_dir_but_refuses_one_in_use(tmp_path, other):
    held = run_folder.reserve_folders(tmp_path / "m", tmp_path / "o")
    assert [one.path.name for one in held] == ["o"]
    other(tmp_path / "m")
    with pytest.raises(InputError, match="models_dir"):
        run_folder.reserve_folders(tmp_path / "m", tmp_path / "o2")


@pytest.mark.parametrize("rank", [0, 1])
def test_all_ranks_end_when_the_first_is_refused(tmp_path, monkeypatch, other, rank):
    other(tmp_path / "m")
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "gather_objects", lambda refused: [True, False])
    with pytest.raises(SystemExit if rank else InputError):
        claim_folders(tmp_path / "m", tmp_path / "o")
    assert not (tmp_path / "o").exists()
