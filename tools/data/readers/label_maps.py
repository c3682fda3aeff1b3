"""Detection of label maps among volumes by file name, folder name and voxels."""

from __future__ import annotations

import random
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path

import numpy as np
from nibabel.openers import Opener

from tools.data.formats import metaimage, nifti, nrrd
from tools.data.readers import words
from tools.data.readers.base import Folder

NAMED = "label maps by name"
BY_CONTENT = "label maps by content (few distinct values in constant regions)"
DERIVATIVES = "BIDS derivatives"
DERIVED = "derivatives by name (probabilities, distances, deformations …)"
REGIONS = "masks of brain, face or field of view"
OVERRIDE = "--include_label_maps True uses them"
#: reasons of files that can be the ground truth of an image
GROUND_TRUTH = (NAMED, BY_CONTENT)

SAMPLED = 64  # files read per group of names that differ only in digits; if one is a label map, all are read
SAMPLED_NAMED = 8  # the same for files named like label maps; if one is an image, all are read
MIN_GROUP = 8  # minimum size of such a group; the other files form one group
SAMPLED_OTHERS = 512  # files read of this group
CHUNK = 2**18  # bytes
MASK = 3  # maximum number of values of a label map in any arrangement
SOME = 8  # maximum number of values of a label map with small structures
MANY = 2**12  # maximum number of values of a label map
BACKGROUND = 0.05  # minimum fraction of zeros in a probability map
CONSTANT = 0.8  # minimum fraction of equal neighbours within structures, for many values
RAGGED = 0.5  # the same for up to `SOME` values
PAIRS = 2**14  # pairs of neighbours required to detect an image
NEGATIVE = 4  # maximum number of values of a label map with a negative value, such as -1 for unlabelled voxels

_DIGITS = re.compile(r"\d+")


class Content(Enum):
    """Kind of content of a volume."""

    LABELS = "few distinct values in constant regions"
    FRACTIONS = "values from 0 to 1 with a background of 0"
    VECTORS = "three components per voxel"
    IMAGE = "other values"
    UNKNOWN = "one value, or a file that cannot be read"


def find_label_maps(folder: Folder, volumes: Iterable[Path], by_content: bool = True) -> dict[Path, str]:
    """Find the label maps and other derivatives of images among volumes.

    Args:
        folder: the data set.
        volumes: files in volume formats.
        by_content: whether voxels are read, to detect label maps without such names and images with label map names.

    Returns:
        Reason by file: `DERIVATIVES`, `NAMED`, `REGIONS`, `DERIVED` or `BY_CONTENT`. Files with the name of a label map
        and the content of an image are not included. Only a sample of many files is read first, see `SAMPLED`.
    """
    volumes = list(volumes)
    found: dict[Path, str] = {}
    named: dict[tuple[str, str], list[Path]] = defaultdict(list)
    others: list[Path] = []
    for file in volumes:
        case = folder.case_id(file)
        if words.DERIVATIVES in case.split("/")[:-1]:
            found[file] = DERIVATIVES
        elif reason := reason_by_name(case):
            named[reason, _DIGITS.sub("0", words.label_folder(case) or case)].append(file)
        else:
            others.append(file)
    for (reason, _), files in named.items():
        images = _pick(files, SAMPLED_NAMED, lambda file, why=reason: _contradicts(file, why)) if by_content else ()
        found |= dict.fromkeys((file for file in files if file not in images), reason)
    found |= _by_content(folder, others) if by_content else {}
    return {file: found[file] for file in volumes if file in found}


def may_be_ground_truth(path: str, reason: str) -> bool:
    """Return whether a file (given path and reason) can be the ground truth of an image."""
    return reason in GROUND_TRUTH or (reason == DERIVATIVES and reason_by_name(path) == NAMED)


def reason_by_name(case: str) -> str:
    """Return the reason according to a relative path without suffix; an empty string if there is none."""
    if words.is_derived(case):
        return DERIVED
    if words.is_label_map_path(case):
        return REGIONS if words.is_region_mask(case) else NAMED
    return ""


def _contradicts(file: Path, reason: str) -> bool:
    """Return whether the voxels indicate an image, although the name indicates a label map."""
    if reason != DERIVED:
        return read_content(file, constant=RAGGED) == Content.IMAGE
    maps = (Content.FRACTIONS, Content.VECTORS)
    return words.is_spm_map(file.name) and read_content(file, fractions=True) not in maps


def _pick(files: Sequence[Path], limit: int, test: Callable[[Path], bool]) -> set[Path]:
    """Return the files that pass a test; above `limit` files, all are tested only if one of a sample passes."""
    sample = files if len(files) <= limit else random.Random(0).sample(files, limit)
    found = {file for file in sample if test(file)}
    return {file for file in files if test(file)} if found and len(sample) < len(files) else found


def _by_content(folder: Folder, files: Iterable[Path]) -> dict[Path, str]:
    """Return the reason of each label map or vector field by content.

    A file with a single value, such as an empty mask, has the kind of the files with similar names.
    """
    contents: dict[Path, Content] = {}

    def is_labels(file: Path) -> bool:
        contents[file] = contents.get(file) or read_content(file)
        return contents[file] == Content.LABELS

    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[_DIGITS.sub("0", folder.case_id(file))].append(file)
    large = [group for group in groups.values() if len(group) >= MIN_GROUP]
    small = [file for group in groups.values() if len(group) < MIN_GROUP for file in group]
    found = set().union(*(_pick(group, SAMPLED, is_labels) for group in large), _pick(small, SAMPLED_OTHERS, is_labels))
    for key in (lambda file: folder.case_id(file), lambda file: file.name):
        votes: dict[str, set[Content]] = defaultdict(set)
        for file, content in contents.items():
            votes[_DIGITS.sub("0", key(file))].add(content)
        labels = {Content.LABELS, Content.UNKNOWN}
        found |= {file for file in contents if votes[_DIGITS.sub("0", key(file))] == labels}
    vectors = dict.fromkeys((file for file, content in contents.items() if content == Content.VECTORS), DERIVED)
    return {file: REGIONS if words.is_region_mask(file.name) else BY_CONTENT for file in found} | vectors


def is_label_map(path: str | Path) -> bool:
    """Return whether a volume has the content of a label map, see `read_content`."""
    return read_content(Path(path)) == Content.LABELS


def read_content(path: Path, fractions: bool = False, constant: float = CONSTANT) -> Content:
    """Determine the kind of content of a volume; reading stops as soon as an image is detected.

    A label map has few distinct values, or more values in constant regions: most neighbours in storage order that are
    neither 0 nor the lowest value are equal. This excludes noise, low counts and coarsely quantised scans.

    Args:
        path: file of the volume.
        fractions: whether to detect `Content.FRACTIONS`, which requires the complete file.
        constant: minimum fraction of equal neighbours in a label map with many values.
    """
    values: set[float] = set()
    same = pairs = zeros = count = 0
    try:
        for chunk in _read_chunks(path):
            if chunk is None:
                return Content.VECTORS
            if chunk.dtype.kind not in "iubf":
                return Content.IMAGE
            chunk = np.nan_to_num(chunk, nan=0) if chunk.dtype.kind == "f" else chunk
            new = np.unique(chunk)
            fractions = fractions and new[0] >= 0 and new[-1] <= 1 + 1e-3
            zeros, count = zeros + int((chunk == 0).sum()), count + chunk.size
            values.update(new.tolist() if len(values) <= MANY else ())
            inside = (chunk[:-1] != 0) & (chunk[1:] != 0) & (chunk[:-1] != new[0])
            pairs += int(inside.sum())
            same += int((inside & (chunk[:-1] == chunk[1:])).sum())
            if not fractions and not _may_be_labels(values, same, pairs, constant, PAIRS):
                return Content.IMAGE
    except Exception:  # damaged files are reported by the preprocessing
        return Content.UNKNOWN
    if len(values) < 2:
        return Content.UNKNOWN
    if _may_be_labels(values, same, pairs, constant):
        return Content.LABELS
    return Content.FRACTIONS if fractions and zeros > BACKGROUND * count else Content.IMAGE


def _may_be_labels(values: set[float], same: int, pairs: int, constant: float, least: int = 0) -> bool:
    """Return whether the values read so far can belong to a label map; undecided up to `least` pairs."""
    if len(values) <= MASK:
        return True
    if len(values) > (NEGATIVE if min(values) < 0 else MANY):
        return False
    if len(values) > SOME and any(value != round(value) for value in values):
        return False
    return pairs <= least or same >= (RAGGED if len(values) <= SOME else constant) * pairs


def _read_chunks(path: Path) -> Iterator[np.ndarray | None]:
    """Yield the voxels of a file in storage order, `CHUNK` bytes at a time; None first for vectors."""
    name = path.name.lower()
    read = _read_nrrd if name.endswith((".nrrd", ".nhdr")) else _read_metaimage
    yield from (_read_nifti if name.endswith((".nii", ".nii.gz")) else read)(path)


def _read_nifti(path: Path) -> Iterator[np.ndarray]:
    header = nifti.read_header(path)
    with Opener(path) as file:
        file.seek(header.get_data_offset())
        shape = header.get_data_shape()
        if len(shape) == 5 and shape[4] > 1:
            yield None
        slope, offset = header.get_slope_inter()
        for chunk in _arrays(iter(lambda: file.read(CHUNK), b""), header.get_data_dtype(), int(np.prod(shape))):
            yield chunk if slope is None or (abs(slope - 1) < 1e-3 and not offset) else chunk * slope + offset


def _read_nrrd(path: Path) -> Iterator[np.ndarray]:
    header = nrrd.read_header(path)
    if header.data != path or header.encoding not in ("raw", "gzip", "gz"):
        yield nrrd.read_voxels(path, header).ravel(order="F")
        return
    nrrd.check_size(path, header)
    with path.open("rb") as file:
        file.seek(header.offset)
        blocks = iter(lambda: file.read(CHUNK), b"")
        count = int(np.prod(header.fields["sizes"]))
        yield from _arrays(blocks if header.encoding == "raw" else _inflate(blocks), header.dtype, count)


def _read_metaimage(path: Path) -> Iterator[np.ndarray]:
    metaimage.check_size(path)
    header, detached = metaimage.read_header(path), metaimage.data_files(path)
    with (detached[0] if detached else path).open("rb") as data:
        data.seek(0 if detached else header.length)
        blocks = iter(lambda: data.read(CHUNK), b"")
        compressed = header.is_true("CompressedData")
        yield from _arrays(_inflate(blocks) if compressed else blocks, header.dtype, int(np.prod(header.shape)))


def _inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress zlib or gzip data."""
    stream = zlib.decompressobj(wbits=47)
    for block in blocks:
        while block and not stream.eof:
            yield stream.decompress(block, CHUNK)
            block = stream.unconsumed_tail


def _arrays(blocks: Iterable[bytes], dtype: np.dtype, count: int) -> Iterator[np.ndarray]:
    """Yield arrays from blocks of bytes, at most `count` values."""
    left = b""
    for block in blocks:
        data = left + block
        whole = min(len(data) // dtype.itemsize, count)
        left = data[whole * dtype.itemsize :]
        if whole:
            yield np.frombuffer(data, dtype, whole)
        count -= whole
        if not count:
            return
