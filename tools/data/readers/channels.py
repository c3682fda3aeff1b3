"""Grouping of files to multi-channel cases by file name patterns."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.data.readers import words
from tools.data.readers.base import Folder, strip_suffix
from tools.utils.errors import InputError

MAX_NAMED = 5

#: number of parent directories in which the files of a patient are grouped
LEVELS = 3


class _Match(NamedTuple):
    """File that matches a pattern: channel, path, text matched by the wildcards, and patient."""

    channel: str
    path: Path
    parts: tuple[str, ...]
    patient: str


def join_channels(folder: Folder, images: Mapping[Path, str], channels: Mapping[str, str]) -> dict[str, list[Path]]:
    """Group files to cases.

    Files of a directory form a case if the wildcards match the same text in their names, or if the directory has each
    channel exactly once. Remaining files are grouped in the same way across the directories of a patient, from the
    nearest to the farthest.

    Args:
        folder: the data set.
        images: patient by volume.
        channels: pattern by channel name. ``*`` and ``?`` match any text and any character. A pattern with ``/`` is
            compared with as many last components of the path, other patterns with the file name.

    Returns:
        Paths in the order of the channels by case id.

    Raises:
        InputError: if no file matches, a file matches two patterns, or a channel of a case is missing or duplicated.
    """
    matches = list(_match_all(images, channels))
    if not matches:
        raise InputError(
            f"dataset_dir {folder.root}: expected images that match the channels {dict(channels)}, found none"
        )
    cases: dict[str, list[Path]] = {}
    taken: set[Path] = set()
    for level in range(LEVELS + 2):
        for by_name in (True, False):
            for group in _group(matches, level, by_name):
                files = {one.channel: one.path for one in group}
                if len(group) == len(files) == len(channels) and taken.isdisjoint(files.values()):
                    case = _case_id(folder, group, by_name, by_patient=level > 0)
                    case = case if case not in cases else folder.case_id(files[next(iter(channels))])
                    taken.update(files.values())
                    cases[case] = [files[name] for name in channels]
    _refuse_incomplete(folder, [one for one in matches if one.path not in taken], channels, len(cases))
    return cases


def _group(matches: Iterable[_Match], level: int, by_name: bool) -> Iterable[list[_Match]]:
    """Group files by directory, or by patient in the directory `level` levels up; by patient above `LEVELS`."""
    groups: dict[Hashable, list[_Match]] = {}
    for one in matches:
        place = list(one.path.parents)[: level + 1][-1] if level <= LEVELS else None
        key = (place, one.patient if level else None, one.parts if by_name else None)
        groups.setdefault(key, []).append(one)
    return groups.values()


def is_label_map_pattern(pattern: str) -> bool:
    """Return whether a pattern is for label maps, such as ``*_seg.nii.gz``."""
    return words.is_label_map_path(strip_suffix(pattern))


def match_pattern(pattern: str, path: Path) -> tuple[str, ...] | None:
    """Return the text matched by the wildcards of a pattern, or None; see `join_channels`."""
    name = "/".join(path.parts[-1 - pattern.count("/") :])
    wildcards = {"*": "([^/]*)", "?": "([^/])"}
    found = re.fullmatch("".join(wildcards.get(letter) or re.escape(letter) for letter in pattern), name)
    return found.groups() if found else None


def _match_all(images: Mapping[Path, str], channels: Mapping[str, str]) -> Iterable[_Match]:
    for image, patient in images.items():
        matches = {name: parts for name, glob in channels.items() if (parts := match_pattern(glob, image)) is not None}
        if len(matches) > 1:
            raise InputError(f"{image}: expected at most one channel pattern to match, found {', '.join(matches)}")
        for name, parts in matches.items():
            yield _Match(name, image, parts, patient)


def _case_id(folder: Folder, group: Sequence[_Match], by_name: bool, by_patient: bool) -> str:
    """Return the case id: the directory with the text matched by the wildcards, or with the patient."""
    directories = {one.path.parent for one in group}
    place = Path(os.path.commonpath(directories))
    name = "_".join(group[0].parts).strip("_-. ") if by_name else ""
    if not name and by_patient and group[0].patient not in place.parts:
        name = group[0].patient.replace("/", "_")
    return folder.case_id(place / name)


def _refuse_incomplete(folder: Folder, left: list[_Match], channels: Mapping[str, str], complete: int) -> None:
    groups: dict[tuple[Path, tuple[str, ...]], dict[str, list[Path]]] = {}
    for one in left:
        groups.setdefault((one.path.parent, one.parts), defaultdict(list))[one.channel].append(one.path)
    lines = []
    for (place, parts), files in sorted(groups.items()):
        case = folder.case_id(place / "_".join(parts).strip("_-. "))
        lacking = [f"{name} ({channels[name]})" for name in channels if name not in files]
        twice = [f"{name} twice ({one[0].name}, {one[1].name})" for name, one in files.items() if len(one) > 1]
        lines.append(f"{case} has {', '.join(twice)}" if twice else f"{case} lacks {', '.join(lacking)}")
    if lines:
        more = f" and {len(lines) - MAX_NAMED} more" if len(lines) > MAX_NAMED else ""
        raise InputError(
            f"dataset_dir {folder.root}: expected every channel once in each of {complete + len(lines)} cases, found "
            f"{'; '.join(lines[:MAX_NAMED])}{more}; remove channels that are not complete, move these cases to another "
            "folder, or use patterns that match one file per case"
        )
