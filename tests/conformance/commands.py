"""Command-line programs in forked processes that have already imported torch and MONAI.

Imports take most of the time of a tiny run. The code of the bundles is not imported beforehand.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

#: for every line, forks a parent that forks the program, prints its process id, and writes its exit code
SERVER = """
import json, os, runpy, signal, sys
import ignite.handlers, matplotlib.figure, monai.apps, monai.bundle, monai.engines, monai.handlers, monai.inferers
import monai.networks.nets, torch.utils.flop_counter, torch.utils.tensorboard

def program(order):
    for number, name in ((0, os.devnull), (1, order["stdout"]), (2, order["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    os.chdir(order["cwd"])
    os.environ.update(order["environment"])
    sys.path[0] = order["cwd"]
    sys.argv[:] = order["words"]
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        code = 1
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the parents are not awaited
for line in sys.stdin:
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    order = json.loads(line)
    child = os.fork()
    if not child:
        program(order)
    print(child, flush=True)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(order["code"] + ".new", "w") as file:
        file.write(str(code))
    os.replace(order["code"] + ".new", order["code"])
    os._exit(0)
"""


class Programs:
    """Starts programs; end it with `close`.

    Args:
        folder: folder of the programs' output.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.count = 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        words = [sys.executable, "-W", "ignore", "-c", SERVER]
        self.server = subprocess.Popen(
            words, env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, words, cwd, **environment):
        """Start ``python -m`` with arguments and additional environment variables; see `Program`."""
        self.count += 1
        files = {name: str(self.folder / f"{self.count}.{name}") for name in ("stdout", "stderr", "code")}
        order = {"module": words[0], "words": [str(word) for word in words], "cwd": str(cwd)}
        order |= {"environment": environment, **files}
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return Program(int(self.server.stdout.readline()), files)

    def close(self):
        """End the server."""
        self.server.stdin.close()
        self.server.wait()


class Program:
    """A running program."""

    def __init__(self, pid, files):
        self.pid, self.files = pid, {name: Path(path) for name, path in files.items()}

    def running(self):
        """Return whether the program is running."""
        return not self.files["code"].exists()

    def wait(self, seconds=300):
        """Wait for the program; returns returncode, stdout and stderr."""
        end = time.monotonic() + seconds
        while self.running():
            assert time.monotonic() < end, self.files["stderr"].read_text()[-3000:]
            time.sleep(0.02)
        message = {name: self.files[name].read_text() for name in ("stdout", "stderr")}
        return SimpleNamespace(returncode=int(self.files["code"].read_text()), **message)

    def kill(self):
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
