"""Checked paths of output files, which never overwrite inputs.

Output files are recognised by their content. Readers ignore files that `is_output` recognises, and `output_path` raises
for any other existing file, so no run writes to a path that it reads. This includes links and file systems that ignore
case, since existence is checked on the file system.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.utils.errors import InputError

MARK = "output of a MONAI bundle"  # in the description of NIfTI files and the "Software" entry of PNG files
HEAD = 1024  # bytes that include the mark, or the name of the first array of an archive
MAX_NAME = 255  # bytes of a file name on all common file systems
WINDOWS = os.name == "nt"
RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:"|?*\\\x00-\x1f].*|.*[. ]', re.IGNORECASE)

#: header of a NumPy file with one vector of float32
VECTOR = re.compile(rb"\x93NUMPY.{4}\{'descr': '<f4', 'fortran_order': False, 'shape': \(\d+,\), \}", re.DOTALL)
#: headers of the tables that runs write
TABLES = re.compile(
    rb"epoch,step,seconds,|case,patient,(mean_dice|lesions|file)\b|case,(patient,truth,)?(grade,)?probability_"
    rb"|case,x1,y1,x2,y2,score|arm,fraction,seed,(training_cases|error),"
)
#: keys of JSON output files: split, scores, detections, model card, study, shortcut test, plan
JSON_KEYS = (
    {"training", "validation"},
    {"scores"},
    {"accuracy", "interval_95"},
    {"min_score", "scans"},
    {"sha256", "versions"},
    {"bundle", "arms"},
    {"statistics", "results"},
    {"fingerprint", "roi_size"},
)


def is_output(path: str | Path) -> bool:
    """Return whether a file is an output of a run, by its content; False if it is missing or unreadable."""
    name = os.path.basename(path).lower()
    recognise = next((one for suffix, one in RECOGNISE.items() if name.endswith(suffix)), None)
    try:
        return recognise is not None and recognise(path)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return False


def output_path(folder: str | Path, name: str) -> Path:
    """Return the path of an output file, which may exist as an output of an earlier run.

    Args:
        folder: output folder; it does not need to exist and may be a link.
        name: path of the file relative to the folder, with ``/`` as separator.

    Raises:
        InputError: if the path is outside the folder, is not a valid file name, or exists as another file.
    """
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part:
            raise InputError(f"{folder}: expected output files below this folder, found the name {name!r}")
        if len(os.fsencode(part)) > MAX_NAME:
            raise InputError(f"{folder}: expected names of at most {MAX_NAME} bytes, found {part!r}; rename the input")
        if WINDOWS and RESERVED.fullmatch(part):
            raise InputError(f"{folder}: expected names that Windows allows, found {part!r}; rename the input")
    path = Path(folder, name)
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{path}: expected a file below {folder}, found a link to {os.path.realpath(path.parent)}")
    _refuse_others(path)
    return path


def _refuse_others(path: Path) -> None:
    """Raise `InputError` if a path exists and is not an output, or if a parent is a file."""
    above = next(folder for folder in path.parents if os.path.exists(folder))
    if not above.is_dir():
        raise InputError(f"{above}: expected a folder for output files, found a file; choose another folder")
    if not os.path.exists(path):
        return
    kind = path.name.lower().endswith(tuple(RECOGNISE))
    if path.is_dir() or (kind and path.stat().st_size and not is_output(path)):
        found = "a folder" if path.is_dir() else "another file"
        raise InputError(
            f"{path}: expected no file, or an output of an earlier run, found {found}; choose another output "
            "folder, or move it"
        )


def check_not_input(written: Sequence[Path], read: Sequence[str | Path]) -> None:
    """Raise `InputError` if a run would overwrite one of its inputs, even under another name."""
    for path in written:
        for other in read:
            if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
                raise InputError(
                    f"{other}: expected an input that this run does not write, found its {path}; copy it elsewhere"
                )


def check_outside(folder: str | Path, read: Sequence[str | Path]) -> None:
    """Raise `InputError` for an input in a folder that the run may clear."""
    for path in read:
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise InputError(f"{path}: expected inputs outside {folder}, whose content is removed; copy it elsewhere")


def _head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        head = file.read(HEAD)
    return zlib.decompressobj(wbits=31).decompress(head, HEAD) if head.startswith(b"\x1f\x8b") else head  # gzip


def _is_marked(path: str | Path) -> bool:
    return MARK.encode() in _head(path)


def _is_embedding(path: str | Path) -> bool:
    return b"embeddings.npy" in _head(path)


def _is_vector(path: str | Path) -> bool:
    return VECTOR.match(_head(path)) is not None


def _is_table(path: str | Path) -> bool:
    return TABLES.match(_head(path)) is not None


def _is_json(path: str | Path) -> bool:
    content = json.loads(Path(path).read_bytes())
    if not isinstance(content, dict) or {"images", "annotations"} <= content.keys():
        return False
    if {"training", "validation"} <= content.keys():  # a data list has dictionaries where a split has case ids
        return all(isinstance(one, str) for ids in content.values() if isinstance(ids, list) for one in ids)
    return any(keys <= content.keys() for keys in JSON_KEYS)


RECOGNISE: dict[str, Callable[[str | Path], bool]] = {
    ".nii.gz": _is_marked,
    ".nii": _is_marked,
    ".png": _is_marked,
    ".npz": _is_embedding,
    ".npy": _is_vector,
    ".csv": _is_table,
    ".json": _is_json,
}
