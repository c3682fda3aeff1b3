import ast
import csv
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tools.utils import files
from tools.utils.errors import WriteError
from tools.utils.files import atomic_write, write_table

ROOT = Path(__file__).parents[2]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail_halfway():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError("full")

    with pytest.raises(WriteError, match="full"):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_folders_are_made_suffixes_kept_and_files_readable(tmp_path):
    path = tmp_path / "a/b/scan.nii.gz"
    with atomic_write(path) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0))


def save(tensor, path):
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        torch.save(tensor, stream)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_what_torch_cannot_write_is_one_line_with_the_reason(tmp_path):
    """Torch raises a RuntimeError of its own, "unexpected pos"."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WriteError) as raised:
            save(torch.zeros(100_000), tmp_path / "checkpoint.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{tmp_path / 'checkpoint.pt'}: " in str(raised.value)
    assert os.strerror(errno.EFBIG) in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [None, 5 * 2**20])
def test_a_full_disk_is_reported_with_bytes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))

    def fill():
        with atomic_write(tmp_path / "table.csv", size):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match=r"No space left on device.*1\.00 MB free") as raised:
        fill()
    assert ("5.00 MB needed" in str(raised.value)) == (size is not None)


def test_other_errors_are_unchanged(tmp_path):
    with pytest.raises(RuntimeError, match="of torch"), atomic_write(tmp_path / "a"):
        raise RuntimeError("of torch")


#: what has an `open` that does not open a text file by default
OTHERS = ("os", "Image", "Folder", "gzip", "zip")


def opened_as_text(tree):
    """Calls that read or write text in the encoding of the locale."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        words = [one.value for one in [*call.args, *(k.value for k in call.keywords)] if isinstance(one, ast.Constant)]
        binary = any(isinstance(word, str) and set(word) <= set("rwxab+") and "b" in word for word in words)
        module = getattr(getattr(call.func, "value", None), "id", "")
        text = name in ("read_text", "write_text") or (name == "open" and module not in OTHERS)
        if text and not binary and "encoding" not in {keyword.arg for keyword in call.keywords}:
            yield call.lineno


def test_text_files_are_utf8_in_any_locale():
    """The members of an archive have no encoding."""
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / "tools").rglob("*.py")
        for line in opened_as_text(ast.parse(path.read_text(encoding="utf-8")))
    }
    plain = "tools/data/formats/npz.py"
    assert not [place for place in found if not place.startswith(plain)]


LOCALE_PROGRAM = """
import sys
from pathlib import Path
from tools.utils.excepthook import install_excepthook
from tools.utils.files import write_json, write_table
from tools.data.split import split_cases
write_table(Path(sys.argv[1]), [{"Läsion → ½": 1.0}])
cases = [{"case": path.name, "patient": path.name} for path in sorted(Path(sys.argv[2]).iterdir())]
parts = split_cases(cases, 0.5)
install_excepthook()
names = [case["case"].encode(errors="surrogateescape") for case in parts["training"]]
print("→ ×", open(sys.argv[1]).encoding, *(name.hex() for name in names))
"""


def test_an_ascii_locale_changes_neither_files_nor_splits(tmp_path):
    (tmp_path / "scans").mkdir()
    names = ["ä", "ö", "ü", "é"]
    for name in names:
        (tmp_path / "scans" / name).touch()
    (tmp_path / "table.csv").touch()
    (tmp_path / "program.py").write_text(LOCALE_PROGRAM, encoding="utf-8")
    encodings, trained = [], []
    for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "table.csv"), str(tmp_path / "scans")],
            env={**os.environ, **locale, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines() == ["Läsion → ½", "1.0"]
        *_, encoding, first, second = done.stdout.decode().split()
        encodings.append(encoding)
        trained.append([bytes.fromhex(first).decode(), bytes.fromhex(second).decode()])
    assert encodings[0] != encodings[1]
    assert trained[0] == trained[1]
    assert set(trained[0]) < set(names)


def test_texts_that_a_spreadsheet_would_evaluate_are_marked(tmp_path):
    cells = ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "plain", "a=b"]
    write_table(tmp_path / "a.csv", [{"case": cell, "score": -0.5} for cell in cells])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == [f"'{cell}" for cell in cells[:5]] + cells[5:]
    assert {row["score"] for row in rows} == {"-0.5"}  # numbers stay numbers


def test_names_that_are_no_utf_8_can_be_written(tmp_path):
    write_table(tmp_path / "a.csv", [{"case": os.fsdecode(b"scan_\xff")}])
    assert "scan_\\udcff" in (tmp_path / "a.csv").read_text(encoding="utf-8")


KILLED = """
import os, signal, sys
from tools.utils.files import atomic_write, write_table
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_partial_files_of_a_killed_process_are_removed_at_the_next_start(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.pt")], cwd=ROOT, check=False)
    assert len(list(tmp_path.glob(".a.pt.partial-*"))) == 1
    with atomic_write(tmp_path / "other.pt") as temporary:  # a file of this process is kept
        temporary.write_text("whole")
        with atomic_write(tmp_path / "b.pt") as inner:
            inner.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.pt", "other.pt"]
