"""Generated folders are written once and atomically, by one of several processes, and never over other data."""

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


def write_text(content="x"):
    return lambda folder: (folder / "a.txt").write_text(content)


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def run(target, *arguments, count=1):
    processes = [FORK.Process(target=target, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    return [process.exitcode for process in processes]


def test_written_once_and_replaced_by_another_recipe(tmp_path):
    for content in ("first", "second"):
        folder = write_once(tmp_path / "deep" / "data", write_text(content), "r")
    assert folder == str(tmp_path / "deep" / "data")
    assert Path(folder, "a.txt").read_text() == "first"
    write_once(folder, write_text("new"), "new")
    assert Path(folder, "a.txt").read_text() == "new"
    assert names(folder) == ["a.txt", MARKER]
    assert names(tmp_path / "deep") == [".data.lock", "data"]


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("bug"), RuntimeError), (OSError(errno.ENOSPC, "No space left"), InputError)]
)
def test_failed_replacement_keeps_the_old(tmp_path, error, raised):
    write_once(tmp_path / "data", write_text("old"), "old")

    def fail(folder):
        (folder / "a.txt").write_text("half")
        raise error

    with pytest.raises(raised, match=r"bug|No space.*--dataset_dir"):
        write_once(tmp_path / "data", fail, "new")
    assert (tmp_path / "data" / "a.txt").read_text() == "old"
    assert names(tmp_path) == [".data.lock", "data"]


def test_foreign_data_is_refused_and_an_empty_folder_filled(tmp_path):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "scan.nii").write_text("mine")
    for foreign in (tmp_path / "full", tmp_path / "full" / "scan.nii"):
        with pytest.raises(InputError, match=r"full.*--dataset_dir"):
            write_once(foreign, write_text(), "r")
    assert (tmp_path / "full" / "scan.nii").read_text() == "mine"
    write_once(tmp_path / "empty", write_text(), "r")
    assert names(tmp_path / "empty") == ["a.txt", MARKER]


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
    assert run(_slow_writer, tmp_path / "data", tmp_path / "log", count=2) == [0, 0]
    assert (tmp_path / "log").read_text() == "written\n"
    assert names(tmp_path) == [".data.lock", "data", "log"]


def test_a_waiting_process_prints_which_process_writes(tmp_path, capfd):
    assert run(_slow_writer, tmp_path / "data", tmp_path / "log", count=2) == [0, 0]
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("note: ")]
    assert "process " in line
    assert str(tmp_path / "data") in line


def _killed_writer(folder):
    def write(target):
        (target / "a.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    write_once(folder, write, "r")


def test_killed_writer_leaves_nothing_that_counts(tmp_path):
    assert run(_killed_writer, tmp_path / "data") == [-signal.SIGKILL]
    assert not (tmp_path / "data").exists()
    assert len(names(tmp_path)) == 2, "lock and leftover"
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


def test_read_only_place_is_named_unless_the_folder_is_complete(tmp_path, monkeypatch):
    write_once(tmp_path / "complete", write_text(), "r")

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=rf"data.*{os.strerror(errno.EROFS)}.*--dataset_dir"):
        write_once(tmp_path / "data", write_text(), "r")
    assert write_once(tmp_path / "complete", write_text(), "r") == str(tmp_path / "complete")
