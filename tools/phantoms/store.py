"""Generated data folders: written once, atomically, several cases at a time."""

import csv
import glob
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from tools.utils.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MARKER = "phantom_recipe.json"


def write_once(folder: str | Path, write: Callable[[Path], None], recipe: str) -> str:
    """Write a data folder unless it exists.

    The data is written to a temporary folder next to `folder`, which is then renamed. Of several processes one writes
    and the others wait. A folder with another recipe is replaced.

    Args:
        folder: the data folder.
        write: writes all files into the (existing, empty) folder that it receives.
        recipe: everything the content depends on; stored in the folder as ``phantom_recipe.json``.

    Returns:
        `folder` as text.

    Raises:
        InputError: if `folder` has other content than generated data, or cannot be written.
    """
    target = Path(folder).resolve()
    if not _is_complete(target, recipe):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _lock(target):
                if not _is_complete(target, recipe):
                    _replace(target, write, recipe)
        except OSError as error:
            raise InputError(
                f"cannot write generated data to {target} ({error.strerror or error}): "
                "pass --dataset_dir with a folder of your own data, or run from a writable folder with free space"
            ) from error
    return str(folder)


def write_cases(
    folder: str,
    recipe: dict[str, object],
    write_case: Callable[[Path, int], object],
    num_cases: int,
    finish: Callable[[Path, list], None] = lambda target, results: None,
    subfolders: Sequence[str] = (),
) -> str:
    """Write a data folder case by case, see `write_once`, in as many threads as torch has.

    Args:
        folder: the data folder.
        recipe: name ("phantoms"), version and settings of the set.
        write_case: writes a case, given the folder and its number from 0.
        num_cases: number of cases.
        finish: writes tables, given the folder and the results of `write_case` for every case.
        subfolders: folders to create first.
    """

    def write(target: Path) -> None:
        for name in subfolders:
            (target / name).mkdir(parents=True)
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(min(threads, 8), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                cases = pool.map(partial(write_case, target), range(num_cases))
                results = list(tqdm(cases, desc=f"{recipe['phantoms']} phantoms", total=num_cases))
        finally:
            torch.set_num_threads(threads)
        finish(target, results)

    return write_once(folder, write, json.dumps(recipe))


def _is_complete(folder: Path, recipe: str) -> bool:
    try:
        return (folder / MARKER).read_text(encoding="utf-8") == recipe
    except (OSError, UnicodeDecodeError):
        return False


def _replace(target: Path, write: Callable[[Path], None], recipe: str) -> None:
    if target.exists() and not ((target / MARKER).is_file() or (target.is_dir() and not any(target.iterdir()))):
        raise InputError(
            f"{target}: expected a folder of generated data (with {MARKER}) or nothing, found other content, which is "
            "not changed; to use it pass --dataset_dir, to generate data move it away"
        )
    temporary, retired = (target.with_name(f".{target.name}.partial-{uuid.uuid4().hex}") for _ in range(2))
    try:
        temporary.mkdir()
        write(temporary)
        (temporary / MARKER).write_text(recipe, encoding="utf-8")
        if target.exists() and not _is_complete(target, recipe):
            target.rename(retired)
        try:
            temporary.rename(target)
        except OSError:
            if not _is_complete(target, recipe):  # without locks, another process may have been faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _wait_for_lock(handle: int, target: Path) -> None:
    """Lock a file; print the process that holds the lock while waiting."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        print(
            f"note: this run waits until {holder} has written {target}; if it is suspended, resume or kill it",
            flush=True,
        )
        fcntl.flock(handle, fcntl.LOCK_EX)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Hold the lock of `target`, if the file system supports locks, and remove temporary files of killed writers."""
    if fcntl is None:
        yield
        return
    handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a network file system without locks
            _wait_for_lock(handle, target)
            for leftover in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(handle)
