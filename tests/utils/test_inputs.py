"""Untrusted files: JSON with wrong fields and tensors that are not plain raise one-line errors."""

import json
import os
import zipfile

import pytest
import torch

from tools.training.restore import read_checkpoint
from tools.utils.errors import InputError
from tools.utils.inputs import COUNT, NUMBER, TEXT, list_of, read_json
from tools.utils.tensor_files import load_tensors

SCHEMA = {"name": TEXT, "epoch": COUNT, "score?": (NUMBER,), "cases": [{"case": TEXT, "hashes": list_of(TEXT)}]}
VALID = {"name": "a", "epoch": 3, "score": None, "cases": [{"case": "b", "hashes": ["c"]}], "other": [1]}


def test_a_file_that_fits_is_returned_whole(tmp_path):
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(VALID), encoding="utf-8")
    assert read_json(tmp_path / "a.json", SCHEMA) == VALID


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": 3}, "name: expected text, found 3"),
        ({"epoch": -1}, "epoch: expected an integer of at least 0, found -1"),
        ({"epoch": True}, "epoch: "),
        ({"epoch": 2.0}, "epoch: "),
        ({"score": float("nan")}, "score: expected a finite number, found nan"),
        ({"cases": {}}, "cases: expected a list"),
        ({"cases": [3]}, "cases[0]: expected a dictionary"),
        ({"cases": [{"case": "a"}]}, "cases[0]: expected the field hashes"),
        ({"cases": [{"case": "a", "hashes": [None]}]}, "cases[0].hashes: "),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, change, place):
    (tmp_path / "a.json").write_text(json.dumps(VALID | change))
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json", SCHEMA)
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}: {place}")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "\0", "9" * 9999, b"\xff\xfe{"])
def test_what_is_no_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"a\.json: expected") as error:
        read_json(tmp_path / "a.json", SCHEMA)
    assert "\n" not in str(error.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match="named pipe"):
        read_json(tmp_path / "a.json")


STRANGE = {
    "meta": lambda: torch.ones(3, device="meta"),
    "sparse": lambda: torch.ones(3, 3).to_sparse(),
    "compressed rows": lambda: torch.ones(3, 3).to_sparse_csr(),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "zero stride": lambda: torch.ones(1).expand(10**12),
    "overlapping": lambda: torch.ones(10).as_strided((9, 9), (1, 0)),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_tensors_are_refused(tmp_path, kind):
    torch.save({"a": [torch.ones(2), STRANGE[kind]()]}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: expected weights with plain tensors, found .* in a\.1"):
        load_tensors(tmp_path / "a.pt", tmp_path / "a.pt", "weights")


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save({"a": torch.zeros(10**5)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as one,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as two,
    ):
        for name in one.namelist():
            two.writestr(name, one.read(name))
    with pytest.raises(InputError, match="compressed"):
        load_tensors(tmp_path / "b.pt", "b.pt", "weights")


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch", -1), ("epoch", "3"), ("step", None), ("best_metric_epoch", 0.5), ("best_metric", "x")],
)
def test_the_progress_of_a_checkpoint_is_checked(tmp_path, field, value):
    progress = {"epoch": 1, "step": 3, "best_metric": 0.5, "best_metric_epoch": 1, field: value}
    content = {"network": {}, "optimizer": {"state": {}, "param_groups": []}, "loss_function": {}, "settings": {}}
    torch.save(content | {"cases": [], "progress": progress}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=rf"checkpoint\.pt: progress\.{field}: expected"):
        read_checkpoint(tmp_path / "checkpoint.pt")
