"""Report of the voxels outside the intensity window over the cases of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

AIR = -100.0  # HU; a CT has air or fat below
OFFSET = 1024  # added by scanners and converters that store no negative values
APART = 0.25  # share by which a case differs from the median to be named
MAX_NAMED = 10


def is_shifted(found: Mapping[str, Any]) -> bool:
    """Return whether an image seems to be stored as HU + 1024: nearly nothing as dark as air, unlike its window.

    Args:
        found: "outside_window" of `tools.transforms.CheckWindowd`.
    """
    low = found["window"][0]
    return found["lowest"] > AIR and (low < 0 or low < found["lowest"])


def shift_hint(found: Mapping[str, Any]) -> str:
    """Return what to do about scans stored as HU + 1024; the argument is that of `is_shifted`."""
    hint = f"if it is stored as HU + {OFFSET}, subtract {OFFSET} from the voxels"
    if not found["adjustable"]:
        return hint
    low, high = (end + OFFSET for end in found["window"])
    return f'{hint} (or, if all scans are, use --hu_window "[{low:g}, {high:g}]")'


def describe_window(found: Mapping[str, Mapping[str, Any]], desc: str) -> list[str]:
    """Describe how much of the cases lies outside the window.

    Args:
        found: "outside_window" of `tools.transforms.CheckWindowd` by case; empty without a window.
        desc: name of this part of the data.

    Returns:
        One line with the median shares and the cases that differ from them, and one warning for each reason to doubt
        that the voxels are in HU.
    """
    if not found:
        return []
    window = next(iter(found.values()))["window"]
    shares = {side: median(one[side] for one in found.values()) for side in ("below", "above")}
    apart = {c: one for c, one in found.items() if any(abs(one[s] - shares[s]) > APART for s in shares)}
    line = f"{desc} data: voxels outside the window of {window[0]:g} to {window[1]:g} HU, median over cases: "
    line += _shares(shares)
    if apart:
        line += f"; unlike them: {_name([f'{case} ({_shares(one)})' for case, one in apart.items()])}"
    lines = [line]
    if shares["above"] > 0.5:
        lines.append(f"warning: {desc} data: more than half of the voxels lie above the window; expected HU")
    if shifted := [case for case, one in found.items() if is_shifted(one)]:
        cases = _name(shifted) if len(shifted) < len(found) else "all cases"
        lines.append(
            f"warning: {desc} data: expected HU, found hardly a voxel as dark as air in {cases}, though the window "
            f"starts at {window[0]:g}; {shift_hint(found[shifted[0]])}"
        )
    return lines


def _shares(found: Mapping[str, Any]) -> str:
    return f"{found['below']:.1%} below, {found['above']:.1%} above"


def _name(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more
