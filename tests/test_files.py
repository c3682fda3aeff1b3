import os

import pytest

from tools.errors import WriteError
from tools.files import whole_file


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail_halfway():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise OSError("full")

    with pytest.raises(WriteError, match="full"):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_folders_are_made_suffixes_kept_and_files_readable(tmp_path):
    path = tmp_path / "a/b/scan.nii.gz"
    with whole_file(path) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0))
