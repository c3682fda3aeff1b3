"""Cases of a generated data set, made several at a time under a progress bar."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from tqdm import tqdm


def for_each_case(write_case: Callable[[int], None], num_cases: int, description: str) -> None:
    """Write cases 0 to num_cases - 1, several at a time, under a progress bar.

    Each case has one thread of its own: torch's threads, made to share one case, wait for each other most of the
    time on a busy machine.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(threads, 8), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in tqdm(pool.map(write_case, range(num_cases)), desc=description, total=num_cases):
                pass
    finally:
        torch.set_num_threads(threads)
