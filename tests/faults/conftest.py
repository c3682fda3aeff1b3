"""Fault suite: ``python -m pytest tests/faults -m faults``; prints how many faults were tried and how many held."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import Programs
from harness import write_data, write_scans

ROOT = Path(__file__).parents[2]
TRIED, HELD = Counter(), Counter()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def fault(request):
    """Context of one fault, which holds unless something is raised in it."""
    kind = request.path.stem.removeprefix("test_")

    @contextmanager
    def attempt():
        TRIED[kind] += 1
        yield
        HELD[kind] += 1

    return attempt


def pytest_terminal_summary(terminalreporter):
    if TRIED:
        terminalreporter.section("faults")
        for kind in sorted(TRIED):
            terminalreporter.line(f"{kind:12} {TRIED[kind]:5} tried, {HELD[kind]:5} held")
        terminalreporter.line(f"{'all':12} {TRIED.total():5} tried, {HELD.total():5} held")


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Returns a function that writes the tiny data of a bundle once."""
    folders = {}

    def make(bundle):
        if bundle not in folders:
            folders[bundle] = write_data(bundle, tmp_path_factory.mktemp(bundle))
        return folders[bundle]

    return make


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    started = Programs(tmp_path_factory.mktemp("programs"))
    yield started
    started.close()


@pytest.fixture
def python():
    """Runs a program in a process of its own."""

    def run(text, *words, **environment):
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", text, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
