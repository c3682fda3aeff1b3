"""Jobs in separate processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.study import jobs
from tools.study.jobs import Job, run_jobs
from tools.utils.errors import InputError

ROOT = Path(__file__).parents[2]


def fine(order):
    assert len(sys.argv) == 1, "the study's command line is not the run's"
    print("fine", order.get("number", ""))


def fail(order):
    print("noise")
    raise ValueError("of no interest") from InputError("no data")


def crash(order):
    raise ZeroDivisionError("division of nothing")


def die(order):
    os.kill(os.getpid(), signal.SIGKILL)


def meet(order):
    """Ends well when another run is there at the same time."""
    folder = Path(order["folder"])
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)


def stay(order):
    Path(order["file"]).write_text(str(os.getpid()))
    time.sleep(120)


def outcomes(folder, targets, workers=1, order=None):
    ended = {}
    made = [Job(name, folder / name, order or {}, target) for name, target in targets.items()]
    run_jobs(made, workers, lambda one, outcome: ended.update({one.title: outcome.error}), "test")
    return ended


def test_a_failed_run_is_reported_in_one_line_and_does_not_affect_the_others(tmp_path):
    ended = outcomes(tmp_path, {"bad": fail, "broken": crash, "killed": die, "good": fine}, order={"number": 7})
    assert ended == {
        "bad": "no data (exit code 1)",
        "broken": "ZeroDivisionError: division of nothing (exit code 1)",
        "killed": "ended without a message (exit code -9)",
        "good": None,
    }
    assert (tmp_path / "good/log.txt").read_text() == "fine 7\n"


def test_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/order.json").write_text("{}")
    (tmp_path / "new/left.txt").write_text("of a killed run")
    outcomes(tmp_path, {"new": fine})
    assert not (tmp_path / "new/left.txt").exists()


def test_files_of_no_run_are_not_removed(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/scan.txt").write_text("of a data set")
    with pytest.raises(InputError, match="other files"):
        outcomes(tmp_path, {"new": fine})
    assert (tmp_path / "new/scan.txt").exists()


def test_the_number_of_concurrent_jobs(tmp_path):
    (tmp_path / "place").mkdir()
    assert outcomes(tmp_path, {"a": meet, "b": meet}, 2, {"folder": str(tmp_path / "place")}) == {"a": None, "b": None}


def test_a_full_disk_stops_the_study_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"32 MB.*found 1"):
        outcomes(tmp_path, {"never": fine})
    assert not (tmp_path / "never").exists()


def test_a_disk_that_fills_up_while_results_are_moved_is_reported(tmp_path):
    def keep(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="MB of free disk space, found"):
        run_jobs([Job("good", tmp_path / "good", {}, fine)], 1, keep, "test")


def test_a_killed_study_takes_its_runs_with_it(tmp_path):
    parent = (
        "from test_study_jobs import stay, outcomes; from pathlib import Path\n"
        f"outcomes(Path({str(tmp_path)!r}), {{'one': stay}}, order={{'file': {str(tmp_path / 'pid')!r}}})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment, stderr=subprocess.DEVNULL)
    pid = _wait_for(tmp_path / "pid")
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
