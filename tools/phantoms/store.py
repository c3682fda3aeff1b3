"""Generated data folders: written once, atomically, several cases at a time."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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

    The data is written to a temporary folder beside `folder`, which is then renamed. Of several processes one writes
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
                "pass --dataset_dir with a folder of your own data, or run from a writable place with free space"
            ) from error
    return str(folder)


def for_each_case(write_case: Callable[[int], None], num_cases: int, description: str) -> None:
    """Write cases 0 to num_cases - 1 in as many threads as torch has, each with a single torch thread."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(threads, 8), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in tqdm(pool.map(write_case, range(num_cases)), desc=description, total=num_cases):
                pass
    finally:
        torch.set_num_threads(threads)


def _is_complete(folder: Path, recipe: str) -> bool:
    try:
        return (folder / MARKER).read_text(encoding="utf-8") == recipe
    except (OSError, UnicodeDecodeError):
        return False


def _replace(target: Path, write: Callable[[Path], None], recipe: str) -> None:
    if target.exists() and not ((target / MARKER).is_file() or (target.is_dir() and not any(target.iterdir()))):
        raise InputError(
            f"{target}: expected a folder of generated data (with {MARKER}) or nothing, found other content, which is "
            "left alone; to use it pass --dataset_dir, to generate data move it away"
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


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Hold the lock of `target`, where system and file system have locks, and remove what killed writers left."""
    if fcntl is None:
        yield
        return
    handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a network file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(handle)
