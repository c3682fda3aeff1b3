import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tools.phantoms import store
from tools.phantoms.store import MARKER, write_once
from tools.utils.errors import InputError

FORK = multiprocessing.get_context("fork")


def write_text(content="x", log=None):
    def write(folder):
        if log is not None:
            log.append(folder)
        (folder / "a.txt").write_text(content)

    return write


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def test_written_once_and_returned(tmp_path):
    log = []
    for _ in range(2):
        assert write_once(tmp_path / "deep" / "data", write_text(log=log), "r") == str(tmp_path / "deep" / "data")
    assert len(log) == 1
    assert names(tmp_path / "deep" / "data") == ["a.txt", MARKER]
    assert names(tmp_path / "deep") == [".data.lock", "data"]


def test_other_recipe_replaces(tmp_path):
    write_once(tmp_path / "data", write_text("old"), "old")
    write_once(tmp_path / "data", write_text("new"), "new")
    assert (tmp_path / "data" / "a.txt").read_text() == "new"
    assert names(tmp_path) == [".data.lock", "data"]


def test_failed_replacement_keeps_the_old(tmp_path):
    write_once(tmp_path / "data", write_text("old"), "old")

    def fail(folder):
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        write_once(tmp_path / "data", fail, "new")
    assert (tmp_path / "data" / "a.txt").read_text() == "old"
    assert names(tmp_path) == [".data.lock", "data"]


def test_foreign_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scan.nii").write_text("mine")
    with pytest.raises(InputError, match="data"):
        write_once(tmp_path / "data", write_text(), "r")
    assert names(tmp_path / "data") == ["scan.nii"]


def test_foreign_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(InputError, match="data"):
        write_once(tmp_path / "data", write_text(), "r")
    assert (tmp_path / "data").read_text() == "mine"


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    write_once(tmp_path / "data", write_text(), "r")
    assert names(tmp_path / "data") == ["a.txt", MARKER]


def _slow_writer(folder, log):
    def write(target):
        with open(log, "a") as file:
            file.write("written\n")
        (target / "a.txt").write_text("half")
        time.sleep(0.3)
        (target / "a.txt").write_text("whole")

    write_once(folder, write, "r")
    assert (Path(folder) / "a.txt").read_text() == "whole"


def test_two_processes_give_one_folder(tmp_path):
    processes = [FORK.Process(target=_slow_writer, args=(tmp_path / "data", tmp_path / "log")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [p.exitcode for p in processes] == [0, 0]
    assert (tmp_path / "log").read_text() == "written\n"
    assert names(tmp_path) == [".data.lock", "data", "log"]


def _killed_writer(folder):
    def write(target):
        (target / "a.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    write_once(folder, write, "r")


def test_killed_writer_leaves_nothing_that_counts(tmp_path):
    process = FORK.Process(target=_killed_writer, args=(tmp_path / "data",))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "data").exists()
    assert len(names(tmp_path)) == 2  # lock and leftover
    write_once(tmp_path / "data", write_text("whole"), "r")
    assert (tmp_path / "data" / "a.txt").read_text() == "whole"
    assert names(tmp_path) == [".data.lock", "data"]


def test_without_locks_the_second_finds_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "fcntl", None)

    def overtaken(folder):
        (folder / "a.txt").write_text("second")
        write_once(tmp_path / "data", write_text("first"), "r")

    write_once(tmp_path / "data", overtaken, "r")
    assert (tmp_path / "data" / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["data"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_read_only_place(tmp_path, monkeypatch, number):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"data.*--dataset_dir") as caught:
        write_once(tmp_path / "data", write_text(), "r")
    assert os.strerror(number) in str(caught.value)


def test_no_space(tmp_path):
    def full(folder):
        (folder / "a.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"No space.*--dataset_dir"):
        write_once(tmp_path / "data", full, "r")
    assert names(tmp_path) == [".data.lock"]


def test_complete_folder_in_a_read_only_place_is_used(tmp_path, monkeypatch):
    write_once(tmp_path / "data", write_text(), "r")

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert write_once(tmp_path / "data", write_text(), "r") == str(tmp_path / "data")
