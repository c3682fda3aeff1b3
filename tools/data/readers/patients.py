"""Grouping of cases by patient from their paths."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tools.data.readers import words
from tools.utils.errors import InputError

MAX_NAMED = 3
SCANS = 4  # maximum number of scans per folder, as a multiple of the number of folders, if scan names recur
INDEXED = 50  # the same for slices and repeats, which are numbered from 0 or 1
_EDGE = re.compile(r"^[\W_]+")
_UID = re.compile(r"\d+(\.\d+){5,}")


class _Part(NamedTuple):
    """Component of a path: name, whether it is a folder, and whether its words are for visits or scans."""

    name: str
    folder: bool
    weak: bool


def find_patients(cases: Sequence[str], pattern: str | None = None) -> dict[str, str]:
    """Find the patient of each case from its path.

    - A word for a subject anywhere in the path is the patient (``sub-01``, ``case_00000``, ``Subj1``).
    - Otherwise, words for modality, session and side are removed. The patient is the outermost remaining component that
      is not a group of patients (see `_is_patient`): ``1001`` in ``1001/brain``, ``visit1/1001/t1``, ``101`` in
      ``GE3T/101``.
    - Suffixes after the number of a name that distinguish scans are removed: ``P1_a``, ``P1_b``, ``OAS1_0001_MR1``.
    - Equal names in folders of different sites, centres or data sets are different patients.

    Args:
        cases: case ids: relative paths without suffix.
        pattern: regular expression to search in the ids; its first group, or else the match, is the patient.

    Returns:
        Patient by case id.

    Raises:
        InputError: if the pattern is invalid or not found in a case id.
    """
    if pattern is not None:
        return _by_pattern(cases, pattern)
    named = {case: name for case in cases if (name := _subject(case))}
    rest = _without_repeats(_by_level({case: _parts(case) for case in cases if case not in named}))
    return _by_population(named | rest)


def join_cases(cases: Sequence[str]) -> dict[str, str]:
    """Find patients as `find_patients`, but use the case id, unique across data sets, for a patient with one case."""
    found = find_patients(cases)
    count = Counter(found.values())
    return {case: name if count[name] > 1 else case for case, name in found.items()}


def join_headers(by_path: Mapping[str, str], by_header: Mapping[str, str]) -> dict[str, str]:
    """Return the patient of each case, from the file header if available.

    A case without PatientID has the PatientID of other cases with the same patient by path, if it is unique.

    Args:
        by_path: patient by case from `find_patients`.
        by_header: PatientID by case, for some cases.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    for case, patient in by_header.items():
        ids[by_path[case]].add(patient)
    known = {patient: next(iter(several)) for patient, several in ids.items() if len(several) == 1}
    return {case: by_header.get(case, known.get(patient, patient)) for case, patient in by_path.items()}


def describe_patients(patients: Iterable[str], limit: int = 8) -> str:
    """Describe the numbers of patients and scans: ``2 patients, 3 scans (A 2, B 1)``."""
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
            f"patient_pattern: expected {pattern!r} in the paths of all {len(cases)} cases, found {len(missing)} "
            f"without a match: {', '.join(missing[:MAX_NAMED])}"
        )
    return found


def _subject(case: str) -> str:
    """Return the outermost word for a subject in a path."""
    return next(
        (name for part in case.split("/") if (name := words.find_subject(part)) and not words.is_collection(part)), ""
    )


def _parts(case: str) -> list[_Part]:
    """Return the path components that may be patients, outermost first."""
    *folders, last = case.split("/")
    parts = [(part, True) for part in folders if not words.is_collection(part)] + [(last, False)]
    found = [
        _Part(name, folder, words.is_repeat(part)) for part, folder in parts if (name := words.strip_descriptors(part))
    ]
    return found or [_Part(case, False, False)]


def _by_level(paths: dict[str, list[_Part]]) -> dict[str, str]:
    """Return the outermost component of each path that is a patient, by the statistics of all paths."""
    level, deeper = 0, paths
    while any(len(parts) > level + 1 for parts in deeper.values()):
        folders = {parts[level].name for parts in deeper.values() if parts[level].folder}
        longer = {case: parts for case, parts in deeper.items() if len(parts) > level + 1}
        pairs = {(parts[level], _behind(*parts[level : level + 2])) for parts in longer.values()}
        around_all = len(longer) == len(paths) and len(folders) == 1
        if not around_all and _is_patient(pairs, len(folders)):
            break
        level, deeper = level + 1, longer
    return {case: parts[min(level, len(parts) - 1)].name for case, parts in paths.items()}


def _behind(folder: _Part, part: _Part) -> _Part:
    """Return a path component without a prefix that equals the name of its folder."""
    rest = part.name.removeprefix(folder.name)
    return part if rest in (part.name, "") or rest[0].isalnum() else part._replace(name=_EDGE.sub("", rest))


def _is_patient(pairs: set[tuple[_Part, _Part]], count: int) -> bool:
    """Return whether folders are patients, and not groups of patients.

    A patient has few scans, and a data set has many patients. Folders are therefore patients unless their average
    number of components exceeds the number of folders. The limit is higher if names recur in several folders, or are
    names of scans. Names with numbers are more likely patients.

    Args:
        pairs: folder and component in it, for all folders with components.
        count: number of folders, including those with a single file.
    """
    outer, inner = ({pair[level] for pair in pairs} for level in (0, 1))
    numbered, inner_numbered = (_most(_is_numbered(one.name) for one in level) for level in (outer, inner))
    weak, inner_weak = (_most(one.weak for one in level) for level in (outer, inner))
    recur = len(pairs) >= 1.2 * len(inner)
    indexed = inner_weak or (inner_numbered and all(one.name.isdecimal() for one in inner) and _lowest(inner) <= 1)
    if weak and not inner_weak:
        limit = 0 if inner_numbered else 1
    elif numbered and (recur or inner_weak):
        limit = INDEXED if indexed or not inner_numbered else SCANS
    elif inner_weak:
        limit = SCANS
    else:
        limit = 1 if count > 1 else 0
    most = limit * count - (inner_numbered and not numbered and not inner_weak)
    return len(pairs) / len(outer) <= most


def _most(flags: Iterable[bool]) -> bool:
    counts = Counter(flags)
    return counts[True] > counts[False]


def _lowest(parts: Iterable[_Part]) -> int:
    return min(int(one.name) for one in parts)


def _is_numbered(name: str) -> bool:
    return any(map(str.isdigit, name))


def _without_repeats(patients: dict[str, str]) -> dict[str, str]:
    """Return patients without the last words of names that distinguish scans of one patient."""
    while repeats := _repeats(set(patients.values())):
        patients = {case: repeats.get(name, name) for case, name in patients.items()}
    return patients


def _repeats(names: set[str]) -> dict[str, str]:
    """Return the patient by scan name.

    A last word without number identifies a scan if it follows several names with numbers (``S1_foo``, ``S2_foo``). A
    last word with number identifies a scan if the word before has a number and there are few of them (``P001_1``,
    ``P001_2``).
    """
    split = {name: _last_word(name) for name in names if not _UID.fullmatch(name)}
    split = {name: pair for name, pair in split.items() if _is_numbered(pair[0]) and not words.is_group(pair[0])}
    behind = Counter(last for _, last in split.values())
    found = {name: start for name, (start, last) in split.items() if not _is_numbered(last) and behind[last] > 1}
    scans = {name: start for name, (start, last) in split.items() if _is_numbered(last)}
    scans = {name: start for name, start in scans.items() if _is_numbered(_last_word(start)[1])}
    starts = set(scans.values())
    count = len(scans) + len(starts & names)
    recur = len(scans) >= 1.2 * len({split[name][1] for name in scans})
    if len(starts) > 1 and (recur or count > len(starts)) and count <= (SCANS if recur else 1) * len(starts) ** 2:
        found |= scans
    return found


def _last_word(name: str) -> tuple[str, str]:
    """Split a name into the part before the last word and the last word."""
    found = re.fullmatch(r"(.*?)[\W_]+([^\W_]+)[\W_]*", name)
    return (found[1], found[2]) if found else ("", name)


def _by_population(patients: dict[str, str]) -> dict[str, str]:
    """Prefix patients with their site or data set folders if several of these have equal names."""
    places = {case: "/".join(filter(words.is_population, case.split("/")[:-1])) for case in patients}
    several: dict[str, set[str]] = defaultdict(set)
    for case, name in patients.items():
        several[name].add(places[case])
    return {
        case: f"{places[case]}/{name}" if places[case] and len(several[name]) > 1 else name
        for case, name in patients.items()
    }
