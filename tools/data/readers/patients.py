"""Patients of cases, from the paths of their files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tools.data.readers import words
from tools.utils.errors import InputError

MAX_SCANS = 50  # of one subject; a folder with more, and more than there are folders, is a part of a data set
MAX_NAMED = 3


def find_patients(cases: Sequence[str], pattern: str | None = None, folders: bool = True) -> dict[str, str]:
    """Find out which cases belong to one patient.

    A word for a subject decides (``sub-01``, ``case_00000``, ``Subj1``), wherever in the path. Without one, words for
    modality, session and side are dropped; a name with nothing left is that of its folder (``A01/flair``). Else the
    folder is the patient if it has a number and few scans (``1001/brain``), and the name otherwise (``T1/1001``).

    Args:
        cases: case ids: relative paths without suffix.
        pattern: regular expression searched in the ids; its first group, or the whole match, is the patient.
        folders: whether a folder may be a patient's although its files have names of their own.

    Returns:
        Patient by case id.

    Raises:
        InputError: a bad pattern, or cases in which it is not found.
    """
    if pattern is not None:
        return _by_pattern(cases, pattern)
    named = {case: name for case in cases if (name := _subject(case))}
    rest = [case for case in cases if case not in named]
    return named | _by_path(rest, folders)


def describe_patients(patients: Iterable[str], limit: int = 8) -> str:
    """Return numbers of patients and scans, and the scans of the first patients: ``2 patients, 3 scans (A 2, B 1)``."""
    scans = Counter(patients)
    if len(scans) == scans.total():
        return f"{len(scans)} patients, 1 scan each"
    some = ", ".join(f"{name} {count}" for name, count in list(scans.items())[:limit])
    return f"{len(scans)} patients, {scans.total()} scans ({some}{', …' if len(scans) > limit else ''})"


def _by_pattern(cases: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InputError(f"patient_pattern: expected a regular expression, found {pattern!r} ({error})") from error
    group = min(compiled.groups, 1)
    found = {case: match.group(group) for case in cases if (match := compiled.search(case)) and match.group(group)}
    if missing := [case for case in cases if case not in found]:
        raise InputError(
            f"patient_pattern: expected {pattern!r} in the path of each of {len(cases)} cases, found {len(missing)} "
            f"without: {', '.join(missing[:MAX_NAMED])}"
        )
    return found


def _subject(case: str) -> str:
    """The outermost word for a subject in a path."""
    return next((name for part in case.split("/") if (name := words.subject(part))), "")


def _by_path(cases: Sequence[str], folders: bool) -> dict[str, str]:
    """Patients of paths without a word for a subject."""
    parents = _subject_folders(cases)
    names = {case: words.identity(case.rpartition("/")[2]) for case in cases}
    names = {case: name if name or parents[case] else _innermost(case) for case, name in names.items()}
    places: dict[str, set[str]] = defaultdict(set)
    for case, name in names.items():
        places[name].add(parents[case])
    many = len(set(parents.values())) >= len(places)
    repeated = _repeated_words(names.values())
    found = {}
    for case, name in names.items():
        parent = parents[case]
        of_folder = folders and (_numbered(parent) or (not _numbered(name) and many and len(places[name]) > 1))
        found[case] = parent if parent and (not name or of_folder) else _without(name, repeated)
    return found


def _subject_folders(cases: Sequence[str]) -> dict[str, str]:
    """Identity of the folder that may be a patient's, by case; empty without one.

    That is the outermost one with a number, else the innermost, without parts of a data set: folders named so, the
    one with all cases, and those with more than `MAX_SCANS` cases and more than there are folders beside them.
    """
    scans: Counter[str] = Counter()
    beside: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for folder in _folders(case):
            scans[folder] += 1
            beside[folder.rpartition("/")[0]].add(folder)
    identities = {}
    for folder, count in scans.items():
        above, _, name = folder.rpartition("/")
        part = words.is_collection(name) or 1 < count == len(cases) or count > max(MAX_SCANS, len(beside[above]))
        identities[folder] = "" if part else words.identity(name)
    found = {}
    for case in cases:
        left = [name for folder in _folders(case) if (name := identities[folder])]
        found[case] = next(filter(_numbered, left), left[-1] if left else "")
    return found


def _innermost(case: str) -> str:
    """Identity of the innermost folder that has one, else the path."""
    left = (words.identity(name) for name in reversed(case.split("/")[:-1]) if not words.is_collection(name))
    return next(filter(None, left), case)


def _folders(case: str) -> list[str]:
    """Folders of a path, outermost first."""
    return [case[:end] for end, letter in enumerate(case) if letter == "/"]


def _numbered(name: str) -> bool:
    return any(map(str.isdigit, name))


def _repeated_words(names: Iterable[str]) -> set[str]:
    """Last words that stand behind several names and describe a scan: those without a digit, and 0000, 0001 …"""
    before: dict[str, set[str]] = defaultdict(set)
    for name in names:
        start, last = _last_word(name)
        if _numbered(start) and (not _numbered(last) or re.fullmatch(r"000\d", last)):
            before[last].add(start)
    return {word for word, starts in before.items() if len(starts) > 1}


def _without(name: str, repeated: set[str]) -> str:
    start, last = _last_word(name)
    return _without(start, repeated) if start and last in repeated else name


def _last_word(name: str) -> tuple[str, str]:
    """A name without its last word, and that word."""
    found = re.fullmatch(r"(.*?)[\W_]+([^\W_]+)", name)
    return (found[1], found[2]) if found else ("", name)
