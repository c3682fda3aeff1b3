"""Parts of a data set that comes with an official split: that one, or another by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.data.split import LABELLED_PARTS, PARTS, Split, split_cases, split_labelled_cases, take_parts
from tools.utils.errors import InputError, check_choice

MAX_NAMED = 5
SPLITS = ("auto", "patient", "published")


def split_official_cases(
    cases: Sequence[dict[str, Any]],
    split_by: str = "auto",
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    label_fraction: float = 1.0,
    seed: int = 0,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
    fold: int = 0,
    strata: str | None = None,
) -> Split:
    """Split cases with labels into training, validation and test.

    Args:
        cases: cases that have a "patient" and, where there is an official split, their "part" of it.
        split_by: "published" follows the official split, "patient" makes one where no patient is in two parts, "auto"
            follows the official one where there is one. A `split_file`, or a `test_fraction` of 1, goes before that.
        val_fraction: by patient, share of the patients that validate, in (0, 1).
        test_fraction: by patient, share of the patients that are tested on; 1 for all, whatever `split_by` says.
        label_fraction: share of the training patients that are used, in (0, 1]; smaller shares of one seed are parts of
            larger ones.
        seed: chooses which.
        split_file: a ``split.json`` to follow instead.
        output_dir: folder of ``split.json``, see `Split`.
        fold: by patient, which share of `test_fraction` is tested on.
        strata: key of the cases whose values every part and share has in proportion.

    Returns:
        The cases under "training", "validation" and "test", in the order given.

    Raises:
        InputError: as `split_labelled_cases`; also an official split that is missing, or lacks cases or a part.
    """
    official = any("part" in case for case in cases)
    published = check_choice(split_by, SPLITS, "split_by") == "published" or (split_by == "auto" and official)
    if split_file is not None or test_fraction == 1 or not published:
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        options = {"label_fraction": label_fraction, "seed": seed, "split_file": split_file, "output_dir": output_dir}
        return split_labelled_cases(cases, **fractions, **options, strata=strata, fold=fold)
    refuse_folds(fold)
    return take_parts(cases, _official_parts(cases), label_fraction, seed, output_dir, strata)


def refuse_folds(fold: int) -> None:
    """Raise an `InputError` for a fold of a split that has one test part."""
    if fold:
        raise InputError(f"fold: expected 0, since the published split has one test part, found {fold}")


def _official_parts(cases: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Part by case id."""
    sides = {case["case"]: case.get("part") for case in cases}
    if wrong := [case for case, part in sides.items() if part not in LABELLED_PARTS]:
        raise InputError(
            f"split_by: expected cases with a part in the published split, found {len(wrong)} of {len(cases)} without, "
            f"such as {wrong[0]}; --split_by patient makes a split"
        )
    for part in LABELLED_PARTS:
        if part not in sides.values():
            raise InputError(
                f"split_by: expected cases of every part in the published split, found none of {part} among "
                f"{len(cases)}; --split_by patient makes a split"
            )
    return sides


def class_names(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the classes in the order of their labels."""
    return sorted({case["class"] for case in cases})


def split_classified_images(
    cases: Sequence[dict[str, Any]],
    val_fraction: float = 0.1,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Split:
    """Split images as their folders say, or by the hash of their ids where these say nothing.

    Args:
        cases: as `find_classified_images` gives them.
        val_fraction: fraction for validation, where the folders do not say; in (0, 1).
        split_file: a ``split.json`` to follow instead.
        output_dir: folder of ``split.json``, see `Split`; unused where the folders are the split.

    Returns:
        The cases under "training" and "validation", these in the order of a hash, so that the first show all classes.

    Raises:
        InputError: see `split_cases`; a class without an image to train on.
    """
    if split_file is None and "part" in cases[0]:
        parts = {part: [case for case in cases if case["part"] == part] for part in PARTS}
        split = Split(parts, parts)
    else:
        split = split_cases(cases, val_fraction, split_file, output_dir)
    trained = {case["class"] for case in split["training"]}
    if lacking := [name for name in class_names(cases) if name not in trained]:
        named = ", ".join(lacking[:MAX_NAMED])
        raise InputError(f"training data: expected images of every class, found none of {named}")
    split["validation"].sort(key=lambda case: hashlib.sha256(case["case"].encode(errors="surrogateescape")).hexdigest())
    return split
