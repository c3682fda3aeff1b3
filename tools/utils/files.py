"""Atomic writing of files, their hashes and sizes."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tools.utils.errors import WriteError, find_error

SHOWN, ENDING = 30, 12  # characters of the start and the suffix of a file name in its temporary name

PARTIAL = re.compile(r"\.partial-([0-9a-f]{8})-(\d+)-")  # machine and process of a temporary file
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of texts that spreadsheets evaluate


@contextmanager
def atomic_write(path: str | Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it is renamed to `path` on success and removed on failure.

    The temporary name keeps the suffix, which determines the format of some writers.

    Args:
        path: path of the file.
        size: size in bytes, if known, for the error message of a full disk.

    Raises:
        WriteError: if the file cannot be written.
    """
    path = Path(path)
    with writing(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent, os.getpid())
        prefix = f".{path.name[:SHOWN]}.partial-{_host()}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix="".join(path.suffixes[-2:])[-ENDING:])
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp creates private files
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush the content of a file to the disk, so that a renamed file is complete after a crash."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(path: str | Path, size: int | None = None) -> Iterator[None]:
    """Convert an `OSError` while writing `path`, even if wrapped by torch, to a `WriteError`.

    Args:
        path: path of the file or folder.
        size: size in bytes, if known, for the error message of a full disk.

    Raises:
        WriteError: with the file and the reason, and for a full disk the required and the free space.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        found = find_error(error, lambda one: isinstance(one, OSError))
        if found is None:
            raise
        raise WriteError(f"{path}: {_reason(Path(path), found, size)}") from error


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, read in parts of 1 MB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while part := stream.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def format_size(size: float) -> str:
    """Format a size in MB or GB."""
    return f"{size / 2**20:.2f} MB" if size < 2**30 else f"{size / 2**30:.2f} GB"


def free_space(path: str | Path) -> int:
    """Return the free space in bytes on the disk of a file or folder, which does not need to exist."""
    path = Path(path).resolve()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def _reason(path: Path, error: OSError, size: int | None) -> str:
    """Return the reason why `path` cannot be written."""
    blocking = next((one for one in (path, *path.parents) if one.exists()), path)
    if isinstance(error, FileExistsError | NotADirectoryError) and not blocking.is_dir():
        place = "" if blocking == path else f" at {blocking}"
        return f"expected a folder{place}, found a file"
    reason = f"cannot be written ({error.strerror or error})"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        needed = "more is needed" if size is None else f"{format_size(size)} needed"
        return f"{reason}: {needed}, {format_size(free_space(path))} free; make room"
    return reason


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file in UTF-8 atomically; columns are the keys of all rows in order of appearance.

    Texts that a spreadsheet would evaluate get an apostrophe in front. Bytes of file names that are not UTF-8 are
    escaped.
    """
    rows = [{_cell(name): _cell(value) for name, value in row.items()} for row in rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file atomically; NaN and infinity, which JSON does not support, become null."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@cache  # once per folder and process
def _remove_leftovers(folder: Path, process: int) -> None:
    """Remove temporary files of killed processes: on this machine immediately, on other machines after an hour."""
    for leftover in folder.glob(".*.partial-*"):
        found = PARTIAL.search(leftover.name)
        with suppress(OSError):
            local = found is not None and found[1] == _host()
            ended = not _is_alive(int(found[2])) if local else time.time() - leftover.stat().st_mtime > 3600
            if ended and leftover.is_file():
                leftover.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
