"""Label maps among volumes, recognised by file name, folder name and voxels."""

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
BY_CONTENT = "label maps by content (few distinct values in constant parts)"
DERIVATIVES = "BIDS derivatives"
DERIVED = "derivatives by name (probabilities, distances, deformations …)"
REGIONS = "masks of brain, face or field of view"
OVERRIDE = "--include_label_maps True uses them"
#: reasons of files that may be the ground truth of an image
GROUND_TRUTH = (NAMED, BY_CONTENT)

SAMPLED = 64  # files read of a group of names that differ in digits alone; if one is a label map, all are read
SAMPLED_NAMED = 8  # likewise of files named like label maps; if one is an image, all are read
ALIKE = 8  # files that make such a group; the others are one group
SAMPLED_OTHERS = 512
CHUNK = 2**18  # bytes
MASK = 3  # distinct values of a label map, whatever their arrangement
SOME = 8  # distinct values of one whose parts may be small
MANY = 2**12  # distinct values of a label map, at most
BACKGROUND = 0.05  # fraction of zeros in a map of probabilities, at least
CONSTANT = 0.8  # fraction of the pairs of neighbours inside a structure that are equal, in a label map of many values
RAGGED = 0.5  # the same of `SOME` values
PAIRS = 2**14  # pairs of neighbours that suffice to tell an image
NEGATIVE = 4  # distinct values of a label map with a negative one, such as -1 for what is not labelled

_DIGITS = re.compile(r"\d+")


class Content(Enum):
    """What the voxels of a volume show."""

    LABELS = "few distinct values, in constant parts"
    FRACTIONS = "values from 0 to 1 with a background of 0"
    VECTORS = "three components per voxel"
    IMAGE = "other values"
    UNKNOWN = "one value, or a file that cannot be read"


def find_label_maps(folder: Folder, volumes: Iterable[Path], by_content: bool = True) -> dict[Path, str]:
    """Find the label maps and other derivatives of images among volumes.

    Args:
        folder: the data set.
        volumes: files in a format of volumes.
        by_content: whether voxels are read: where the name does not tell, and to see whether they agree where it does.

    Returns:
        The reason by file: `DERIVATIVES`, `NAMED`, `REGIONS`, `DERIVED` or `BY_CONTENT`. A file that is named like one
        and clearly is an image is none. Of many files, some are read first, see `SAMPLED`.
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
    """Return whether a file (by path and reason) may be the ground truth of an image."""
    return reason in GROUND_TRUTH or (reason == DERIVATIVES and reason_by_name(path) == NAMED)


def reason_by_name(case: str) -> str:
    """Return the reason that a relative path without suffix gives, an empty text if none."""
    if words.is_derived(case):
        return DERIVED
    if words.is_label_map_path(case):
        return REGIONS if words.is_region_mask(case) else NAMED
    return ""


def _contradicts(file: Path, reason: str) -> bool:
    """Whether the voxels are those of an image although the name tells otherwise."""
    if reason != DERIVED:
        return read_content(file, constant=RAGGED) == Content.IMAGE
    maps = (Content.FRACTIONS, Content.VECTORS)
    return words.is_spm_map(file.name) and read_content(file, fractions=True) not in maps


def _pick(files: Sequence[Path], limit: int, test: Callable[[Path], bool]) -> set[Path]:
    """Files that pass a test; of more than `limit`, some are read first, and all if one of these passes."""
    sample = files if len(files) <= limit else random.Random(0).sample(files, limit)
    found = {file for file in sample if test(file)}
    return {file for file in files if test(file)} if found and len(sample) < len(files) else found


def _by_content(folder: Folder, files: Iterable[Path]) -> dict[Path, str]:
    """Reason by file, of label maps and vectors among files whose names do not tell.

    A file of a single value, such as an empty mask, is what those named alike are.
    """
    contents: dict[Path, Content] = {}

    def is_labels(file: Path) -> bool:
        contents[file] = contents.get(file) or read_content(file)
        return contents[file] == Content.LABELS

    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[_DIGITS.sub("0", folder.case_id(file))].append(file)
    large = [group for group in groups.values() if len(group) >= ALIKE]
    small = [file for group in groups.values() if len(group) < ALIKE for file in group]
    found = set().union(*(_pick(group, SAMPLED, is_labels) for group in large), _pick(small, SAMPLED_OTHERS, is_labels))
    for key in (lambda file: folder.case_id(file), lambda file: file.name):
        votes: dict[str, set[Content]] = defaultdict(set)
        for file, content in contents.items():
            votes[_DIGITS.sub("0", key(file))].add(content)
        alike = {Content.LABELS, Content.UNKNOWN}
        found |= {file for file in contents if votes[_DIGITS.sub("0", key(file))] == alike}
    vectors = dict.fromkeys((file for file, content in contents.items() if content == Content.VECTORS), DERIVED)
    return {file: REGIONS if words.is_region_mask(file.name) else BY_CONTENT for file in found} | vectors


def is_label_map(path: str | Path) -> bool:
    """Return whether a volume has the content of a label map, see `read_content`."""
    return read_content(Path(path)) == Content.LABELS


def read_content(path: Path, fractions: bool = False, constant: float = CONSTANT) -> Content:
    """Find out what a volume holds; reading stops where an image shows.

    A label map has few distinct values, or more in constant parts: most neighbours in storage that are neither 0 nor
    the lowest value are equal. Noise, low counts and coarse steps of a scan are not.

    Args:
        path: the volume.
        fractions: whether `Content.FRACTIONS` is told from images, for which a file is read to its end.
        constant: fraction of such neighbours that are equal in a label map of many values, at least.
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
    except Exception:  # a damaged file, of which the reader of volumes tells later
        return Content.UNKNOWN
    if len(values) < 2:
        return Content.UNKNOWN
    if _may_be_labels(values, same, pairs, constant):
        return Content.LABELS
    return Content.FRACTIONS if fractions and zeros > BACKGROUND * count else Content.IMAGE


def _may_be_labels(values: set[float], same: int, pairs: int, constant: float, least: int = 0) -> bool:
    """Whether values and constancy of what was read are those of a label map, with more than `least` pairs read."""
    if len(values) <= MASK:
        return True
    if len(values) > (NEGATIVE if min(values) < 0 else MANY):
        return False
    if len(values) > SOME and any(value != round(value) for value in values):
        return False
    return pairs <= least or same >= (RAGGED if len(values) <= SOME else constant) * pairs


def _read_chunks(path: Path) -> Iterator[np.ndarray | None]:
    """Yield the voxels of a file in the order they are stored, `CHUNK` bytes at a time; None first for vectors."""
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
    """Arrays of blocks of bytes, `count` values at most."""
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
