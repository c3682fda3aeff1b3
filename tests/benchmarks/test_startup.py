"""The clock of the start: until a word is written, or the end."""

import sys

import pytest

from tools.benchmarks import startup
from tools.benchmarks.runs import process_seconds
from tools.utils.errors import InputError


def python(text):
    return [sys.executable, "-S", "-c", text]


def test_a_process_is_ended_at_its_mark():
    slow = python("import sys, time; print('loss=1', file=sys.stderr, flush=True); time.sleep(60)")
    assert process_seconds(slow, b"loss=") < 30


def test_without_a_mark_the_end_counts():
    assert process_seconds(python("import time; time.sleep(0.2)")) > 0.2


@pytest.mark.parametrize(("text", "mark"), [("print('done')", b"loss="), ("raise SystemExit('too bad')", None)])
def test_a_failed_run_is_no_time(text, mark):
    with pytest.raises(InputError):
        process_seconds(python(text), mark)


def test_only_keys_of_the_bundle_are_set():
    """`vdt3d` reads pictures anew and has no cache."""
    assert not any("--cache" in word for word in startup.first_step("vdt3d", "folder"))
    assert "--cache=disk" in startup.first_step("cpc3d", "folder")
    assert "--dataset_dir=x" in startup.first_step("cpc3d", "folder", dataset_dir="x")
