import subprocess
import sys

import pytest

from tools.utils.errors import InputError, find_input_error
from tools.utils.excepthook import describe_error

PROGRAM = """
from tools.utils.errors import InputError
from tools.utils.excepthook import install_excepthook
install_excepthook()
try:
    try:
        raise InputError("scan.nii: expected a volume, found text")
    except ValueError as error:
        raise RuntimeError("Failed to instantiate component") from error
except RuntimeError as error:
    raise RuntimeError("Failed to evaluate") from error
"""


def test_the_terminal_shows_one_line_and_the_exit_code_is_1():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: scan.nii: expected a volume, found text\n"


def test_other_errors_keep_their_traceback():
    program = "from tools.utils.excepthook import install_excepthook\ninstall_excepthook()\nraise ValueError('x')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_nothing_is_found_where_nothing_is():
    assert find_input_error(None) is None
    assert find_input_error(ValueError("x")) is None
    assert str(find_input_error(InputError("y"))) == "y"


def raised(cause):
    """A KeyError raised while an InputError was being handled."""
    try:
        raise InputError("handled")
    except InputError as handled:
        try:
            raise KeyError("real") from {"handled": handled, "other": OSError()}.get(cause)
        except KeyError as error:
            return error


@pytest.mark.parametrize(("cause", "found"), [("handled", True), ("other", False), (None, False)])
def test_an_error_handled_earlier_hides_no_later_one(cause, found):
    assert (find_input_error(raised(cause)) is not None) == found


def test_an_implicit_context_is_followed():
    later = KeyError("later")
    later.__context__ = InputError("first")
    assert find_input_error(later) is later.__context__


def test_control_characters_of_names_do_not_reach_the_terminal():
    program = (
        "from tools.utils.errors import InputError\n"
        "from tools.utils.excepthook import install_excepthook\ninstall_excepthook()\n"
        r"raise InputError('a\x1b[31m.nii: expected a volume\nb\r: too')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 1
    assert not {b"\x1b", b"\r"} & {done.stderr[i : i + 1] for i in range(len(done.stderr))}
    assert len(done.stderr.splitlines()) == 2


INTERRUPTED = """
import os, signal, sys, time
from tools.utils.excepthook import install_excepthook
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process inherits that it is ignored
install_excepthook()
try:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(10)
except KeyboardInterrupt as error:
    error.add_note("the same command with --resume True continues")
    raise
"""


@pytest.mark.parametrize(("name", "cause"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM")])
def test_an_interruption_is_one_line(name, cause):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, name], capture_output=True, text=True)
    assert done.returncode
    (line,) = done.stderr.splitlines()
    assert cause in line
    assert "--resume True" in line


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread"), OSError(24, "x")])
def test_an_exhausted_machine_is_explained_in_one_line(error):
    assert len(describe_error(error).splitlines()) == 1
