"""A generated data folder that is made exactly once, whole or not at all, whoever asks for it."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.utils.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MARKER = "phantom_recipe.json"


def write_once(folder: str | Path, write: Callable[[Path], None], recipe: str) -> str:
    """Make a data folder unless it is there already, and return its path.

    The data is written into a temporary folder beside `folder`, which is then renamed whole. Of several processes
    asking at the same time one writes and the others wait for it. A folder made from another recipe is replaced.

    Args:
        folder: the folder to make.
        write: puts all files into the (existing, empty) folder it is given.
        recipe: text that says everything the content depends on; kept in the folder as ``phantom_recipe.json``.

    Returns:
        `folder` as text.

    Raises:
        InputError: when `folder` holds something else than generated data, or cannot be written.
    """
    target = Path(folder).resolve()
    if not _is_complete(target, recipe):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _lock(target) as alone:
                if alone:
                    for leftover in target.parent.glob(_temporary_name(glob.escape(target.name), "*")):
                        shutil.rmtree(leftover, ignore_errors=True)
                if not _is_complete(target, recipe):
                    _refuse_foreign(target)
                    _make(target, write, recipe)
        except OSError as error:
            raise InputError(
                f"cannot write generated data to {target} ({error.strerror or error}): "
                "pass --dataset_dir with a folder of your own data, or run from a writable place with free space"
            ) from error
    return str(folder)


def _is_complete(folder: Path, recipe: str) -> bool:
    try:
        return (folder / MARKER).read_text(encoding="utf-8") == recipe
    except (OSError, UnicodeDecodeError):
        return False


def _temporary_name(name: str, key: str) -> str:
    return f".{name}.partial-{key}"


def _refuse_foreign(target: Path) -> None:
    generated_or_empty = target.is_dir() and ((target / MARKER).is_file() or not any(target.iterdir()))
    if target.exists() and not generated_or_empty:
        raise InputError(
            f"{target}: expected a folder of generated data (with {MARKER}) or nothing, found other content, which is "
            "left alone; to use it pass --dataset_dir, to generate data move it away"
        )


def _make(target: Path, write: Callable[[Path], None], recipe: str) -> None:
    temporary = target.with_name(_temporary_name(target.name, uuid.uuid4().hex))
    retired = target.with_name(_temporary_name(target.name, uuid.uuid4().hex))
    try:
        temporary.mkdir()
        write(temporary)
        (temporary / MARKER).write_text(recipe, encoding="utf-8")
        if target.exists() and not _is_complete(target, recipe):
            os.rename(target, retired)
        try:
            os.rename(temporary, target)
        except OSError:
            if not _is_complete(target, recipe):  # where there is no lock, another process may have been faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _wait_for_lock(handle: int, target: Path) -> None:
    """Lock a file, and print who holds it while waiting."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        print(f"note: waiting for {holder}, which writes {target}; if it is stopped, end it", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


@contextmanager
def _lock(target: Path) -> Iterator[bool]:
    """Hold the lock of `target`; gives False where the system or the file system has no locks."""
    if fcntl is None:
        yield False
        return
    handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _wait_for_lock(handle, target)
            alone = True
        except OSError:  # a network file system without locks
            alone = False
        yield alone
    finally:
        os.close(handle)
