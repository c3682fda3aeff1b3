"""Report of voxels outside the intensity window for the cases of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

AIR = -100.0  # HU; a CT contains air or fat below this value
OFFSET = 1024  # HU; added by software that does not store negative values
OUTLIER = 0.25  # minimum difference from the median fraction for a case to be listed
MAX_NAMED = 10


def is_shifted(found: Mapping[str, Any]) -> bool:
    """Return whether an image seems to be stored as HU + 1024: it has almost no voxels as dark as air.

    Args:
        found: "outside_window" of `tools.transforms.CheckWindowd`.
    """
    low = found["window"][0]
    return found["lowest"] > AIR and (low < 0 or low < found["lowest"])


def shift_hint(found: Mapping[str, Any]) -> str:
    """Return advice for scans stored as HU + 1024; same argument as `is_shifted`."""
    hint = f"if it is stored as HU + {OFFSET}, subtract {OFFSET} from the voxels"
    if not found["adjustable"]:
        return hint
    low, high = (end + OFFSET for end in found["window"])
    return f'{hint} (or, if this applies to all scans, use --hu_window "[{low:g}, {high:g}]")'


def describe_window(found: Mapping[str, Mapping[str, Any]], desc: str) -> list[str]:
    """Describe the fractions of voxels outside the window.

    Args:
        found: "outside_window" of `tools.transforms.CheckWindowd` by case; empty without a window.
        desc: name of the data in messages, such as "training".

    Returns:
        A line with the median fractions and the outliers, and a warning for each indication that voxels are not in HU.
    """
    if not found:
        return []
    window = next(iter(found.values()))["window"]
    medians = {key: median(one[key] for one in found.values()) for key in ("below", "above")}
    outliers = {c: one for c, one in found.items() if any(abs(one[k] - medians[k]) > OUTLIER for k in medians)}
    line = f"{desc} data: voxels outside the window of {window[0]:g} to {window[1]:g} HU, median over cases: "
    line += _fractions(medians)
    if outliers:
        line += f"; outliers: {_name([f'{case} ({_fractions(one)})' for case, one in outliers.items()])}"
    lines = [line]
    if medians["above"] > 0.5:
        lines.append(f"warning: {desc} data: expected HU, found more than half of the voxels above the window")
    if shifted := [case for case, one in found.items() if is_shifted(one)]:
        cases = _name(shifted) if len(shifted) < len(found) else "all cases"
        lines.append(
            f"warning: {desc} data: expected HU, found almost no voxels as dark as air in {cases}, but the window "
            f"starts at {window[0]:g}; {shift_hint(found[shifted[0]])}"
        )
    return lines


def _fractions(found: Mapping[str, Any]) -> str:
    return f"{found['below']:.1%} below, {found['above']:.1%} above"


def _name(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more
