"""File locks for the exclusive use of output folders by one training run.

The file ``run.lock`` in a folder names the process that uses it. The process holds an ``flock`` on the file, which the
kernel releases when the process ends, also after SIGKILL or a reboot. The process also touches the file every 20
seconds. Some systems have no ``flock`` (Windows, some file systems), and some network file systems have separate locks
per host. There, the folder is locked until the file has not been touched for two minutes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tools.utils import distributed
from tools.utils.errors import InputError, WriteError
from tools.utils.files import writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

LOCK = "run.lock"
TOUCH, STALE = 20.0, 120.0  # seconds between two touches, and after which an untouched lock is stale
WAIT = 1.0  # seconds to wait for the record of the other process


class RunFolder:
    """Lock of an output folder, held until `release` is called or the object is garbage collected.

    Args:
        key: key of the folder on the command line, for messages.
        path: path of the folder; it is created if it does not exist, and removed again if it stays empty.

    Attributes:
        in_use: whether a trainer of this process uses the folder.
        release: function that releases the lock; may be called repeatedly.

    Raises:
        InputError: if another run uses the folder, it is a file, or it is not writable.
    """

    def __init__(self, key: str, path: Path) -> None:
        self.key, self.path, self.lock = key, path, path / LOCK
        self.in_use = False
        self.record = json.dumps(_describe_process())
        made = not path.exists()
        try:
            with writing(path):
                path.mkdir(parents=True, exist_ok=True)
                self.handle = self._acquire()
        except WriteError as error:
            raise InputError(f"{key} {error}") from error
        stop = threading.Event()
        self.release = weakref.finalize(self, _release, self.handle, self.lock, self.record, made, stop, os.getpid())
        threading.Thread(target=_touch, args=(self.lock, stop), daemon=True).start()

    def is_intact(self) -> bool:
        """Return whether the folder and this process's lock still exist."""
        return self.release.alive and _read(self.lock) == self.record

    def check(self) -> None:
        """Raise a `WriteError` if the folder was removed or replaced since it was claimed."""
        if not self.is_intact():
            raise WriteError(
                f"{self.key} {self.path}: the folder, or {LOCK} in it, was removed or replaced during the run; its "
                "files may be lost"
            )

    def _acquire(self) -> int | None:
        """Lock the file and write this process's record; returns the file handle if it has an ``flock``."""
        while True:
            with ExitStack() as opened:
                handle = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o666)
                opened.callback(os.close, handle)
                locked = _flock(handle)
                if locked is False or self._may_be_used(locked is not None):
                    raise self._refusal(certain=locked is False)
                if not _is_open(handle, self.lock):
                    continue  # removed by a run that just ended
                if left := _parse(_read(self.lock)):
                    logger.info(f"{self.path}: process {left.get('process')} has ended without releasing its {LOCK}")
                os.ftruncate(handle, 0)
                os.write(handle, self.record.encode())
                if locked:
                    opened.pop_all()
                return handle if locked else None

    def _may_be_used(self, has_locks: bool) -> bool:
        """Return whether the process named in the file may be running although the lock is free."""
        record = _read(self.lock)
        if not record or (has_locks and _parse(record).get("host") == socket.gethostname()):
            return False
        with tempfile.NamedTemporaryFile(dir=self.path) as now:  # clock of the file system
            return os.stat(now.name).st_mtime - self.lock.stat().st_mtime < STALE

    def _refusal(self, certain: bool) -> InputError:
        end = time.monotonic() + WAIT
        while not _read(self.lock) and time.monotonic() < end:
            time.sleep(0.05)
        other = _parse(_read(self.lock))
        process, host, since = (other.get(key, "unknown") for key in ("process", "host", "since"))
        other_run = f"another run: process {process} on {host}, since {since}"
        remedy = f"wait until it ends, or choose another --{self.key}"
        if not certain:
            remedy += f"; if it has ended, delete {self.lock}, or wait {STALE:.0f} seconds"
        return InputError(f"{self.key} {self.path}: expected no other run in it, found {other_run}; {remedy}")


_claimed: weakref.WeakValueDictionary[Path, RunFolder] = weakref.WeakValueDictionary()


def claim(key: str, path: str | Path) -> RunFolder:
    """Lock a folder for this process; an existing lock of this process is returned.

    Raises:
        InputError: see `RunFolder`; also if another trainer of this process uses the folder, or the path cannot be
            encoded.
    """
    path = Path(path).resolve()
    _check_encoding(key, path)
    found = _claimed.get(path)
    if found is not None and found.in_use and found.is_intact():
        raise InputError(f"{key} {path}: expected no other run in it, found another run of this process")
    if found is None or not found.is_intact():
        found = _claimed[path] = RunFolder(key, path)
    return found


def reserve_folders(models_dir: str | Path, output_dir: str | Path) -> list[RunFolder]:
    """Lock the folders of a training run before the data is read; a missing ``models_dir`` is not created.

    The locks are released with the returned objects unless the trainer calls `claim_folders`.

    Raises:
        InputError: see `RunFolder`.
    """
    present = {"models_dir": models_dir} if Path(models_dir).exists() else {}
    return _claim_together(present | {"output_dir": output_dir})


def claim_folders(models_dir: str | Path, output_dir: str | Path) -> list[RunFolder]:
    """Lock the folders of a training run for its trainer.

    Raises:
        InputError: see `RunFolder`.
    """
    return _claim_together({"models_dir": models_dir, "output_dir": output_dir})


def _claim_together(folders: Mapping[str, str | Path]) -> list[RunFolder]:
    """Lock folders on rank 0; on failure, rank 0 raises and the other ranks exit without a message."""
    claimed, error = [], None
    if distributed.rank() == 0:
        try:
            claimed = [claim(key, path) for key, path in folders.items()]
        except InputError as refusal:
            error = refusal
    if distributed.gather_objects(error is not None)[0]:
        raise error or SystemExit(1)
    return claimed


def _check_encoding(key: str, path: Path) -> None:
    """Raise `InputError` for a path outside the locale's encoding, since TensorBoard cannot write there."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{key} {str(path)!a}: expected a path in the locale's encoding, {sys.getfilesystemencoding()}, found "
            "other characters; set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
        ) from error


def _describe_process() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since, "claim": uuid.uuid4().hex}


def _read(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parse(record: str) -> dict[str, Any]:
    try:
        content = json.loads(record)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _flock(handle: int) -> bool | None:
    """Try to lock the file; returns whether it succeeded, or None without support for locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None


def _is_open(handle: int, path: Path) -> bool:
    """Return whether an open file is still the file at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _touch(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(TOUCH):
        with suppress(OSError):
            os.utime(lock)


def _release(handle: int | None, lock: Path, record: str, made: bool, stop: threading.Event, owner: int) -> None:
    """Remove the lock file, then release the ``flock``, so that waiting processes see the removal."""
    if os.getpid() != owner:
        return
    stop.set()
    with suppress(OSError):
        if _read(lock) == record:
            lock.unlink()
        if made:
            lock.parent.rmdir()  # only if empty
    if handle is not None:
        os.close(handle)


def _close_in_child() -> None:
    """Close the handles in a forked process, such as a worker of a data loader, so that it does not keep the locks."""
    for folder in list(_claimed.values()):
        if folder.handle is not None and folder.release.alive:
            os.close(folder.handle)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
