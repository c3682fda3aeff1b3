import subprocess
import sys

from tools.errors import InputError, find_input_error

PROGRAM = """
from tools.errors import InputError, install_excepthook
install_excepthook()
try:
    try:
        raise InputError("scan.nii: expected a volume, found text")
    except ValueError as error:
        raise RuntimeError("Failed to instantiate component") from error
except RuntimeError as error:
    raise RuntimeError("Failed to evaluate") from error
"""


def test_the_terminal_shows_one_line_and_the_exit_code_tells():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: scan.nii: expected a volume, found text\n"


def test_other_errors_keep_their_traceback():
    program = "from tools.errors import install_excepthook\ninstall_excepthook()\nraise ValueError('x')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_nothing_is_found_where_nothing_is():
    assert find_input_error(None) is None
    assert find_input_error(ValueError("x")) is None
    assert str(find_input_error(InputError("y"))) == "y"
