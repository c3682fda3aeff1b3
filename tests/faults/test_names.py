"""Hostile file names: a run trains on them, and escapes them in its outputs."""

import csv
import os
import shutil

import pytest
from harness import Run, write_scans

NAMES = [
    b"scan_\xff\xfe",
    b"=cmd|' /C calc'!A0",
    b"-rf",
    b"new\nline",
    b"\x1b[31mred",
    "\u202egnp.exe".encode(),
    b"'; DROP TABLE scans; --",
    b"$(touch pwned)",
    b"{@seed}",
    b"$import os",
    b"%s%n",
    b"n" * 240,
]


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_hostile_name(tmp_path, monkeypatch, capsys, fault, number):
    folder = write_scans(tmp_path / "scans", 4)
    name = os.fsencode(folder) + b"/" + NAMES[number].replace(b"/", b"_") + b".nii.gz"
    shutil.move(os.fsencode(folder / "scan_3.nii.gz"), name)
    monkeypatch.chdir(tmp_path)
    with fault():
        run = Run("rotation3d", tmp_path, folder, epochs=1)
        run.go()
        run.go(("train", "evaluate"))
        capsys.readouterr()
        tables = list(run.output.rglob("*.csv"))
        assert tables
        for table in tables:
            rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
            assert not [cell for row in rows for cell in row if cell[:1] in "=@" and cell]
        assert not (tmp_path / "pwned").exists()
