"""Runs in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.errors import InputError
from tools.study import jobs
from tools.study.jobs import Job, run_jobs

ROOT = Path(__file__).parents[2]


def job(folder, name, code, order=None):
    return Job(name, folder / name, order or {}, (sys.executable, "-c", code))


def outcomes(made, workers=1):
    ended = {}
    run_jobs(made, workers, lambda one, outcome: ended.update({one.title: outcome.error}), "test")
    return ended


def test_a_job_that_fails_is_told_by_its_last_line_and_leaves_the_others(tmp_path):
    failing = job(tmp_path, "failing", "import sys; print('noise'); sys.exit('error: no data')")
    ended = outcomes([failing, job(tmp_path, "good", "print('fine')")])
    assert ended == {"failing": "no data (exit code 1)", "good": None}
    assert (tmp_path / "good/log.txt").read_text() == "fine\n"


def test_a_job_killed_is_an_error_too(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert outcomes([job(tmp_path, "killed", code)]) == {"killed": "ended without a word (exit code -9)"}


def test_the_order_reaches_the_job_and_old_files_do_not(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/left.txt").write_text("of a killed run")
    code = "import json, sys; print(json.load(open(sys.argv[1]))['settings'])"
    outcomes([job(tmp_path, "new", code, {"settings": 7})])
    assert (tmp_path / "new/log.txt").read_text() == "7\n"
    assert not (tmp_path / "new/left.txt").exists()


def test_as_many_run_at_once_as_asked_and_share_the_cores(tmp_path):
    meet = (
        "import os, sys, time; from pathlib import Path; here = Path(sys.argv[1]).parent; (here / 'here').touch()\n"
        "end = time.monotonic() + 20\n"
        "while len(list(here.parent.glob('*/here'))) < 2 and time.monotonic() < end: time.sleep(0.01)\n"
        "sys.exit(len(list(here.parent.glob('*/here'))) != 2)"
    )
    assert outcomes([job(tmp_path, name, meet) for name in "ab"], workers=2) == {"a": None, "b": None}


def test_a_full_disk_stops_the_study_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match="expected 32 MB of free disk to go on, found 1"):
        outcomes([job(tmp_path, "never", "pass")])
    assert not (tmp_path / "never").exists()


def test_a_killed_study_takes_its_runs_with_it(tmp_path):
    child = (
        "import os, sys, time; from pathlib import Path; from tools.study.cell import follow_parent\n"
        "follow_parent(); (Path(sys.argv[1]).parent / 'pid').write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import sys; from pathlib import Path; from tools.study.jobs import Job, run_jobs\n"
        f"one = Job('one', Path({str(tmp_path / 'one')!r}), {{}}, (sys.executable, '-c', {child!r}))\n"
        "run_jobs([one], 1, print, 'test')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment, stderr=subprocess.DEVNULL)
    pid = _wait_for(tmp_path / "one/pid")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _ends(int(pid))


def _wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} never came")


def _ends(pid, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().split()[2] == "Z":  # ended, not yet collected
            return True
        time.sleep(0.02)
    return False
