"""Splits of data sets with a published split: the published split or a split by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.data.split import LABELLED_SPLITS, SPLITS, Split, build_split, split_cases, split_labelled_cases
from tools.utils.errors import InputError, check_choice

MAX_NAMED = 5
SPLIT_MODES = ("auto", "patient", "published")


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
    stratify_by: str | None = None,
) -> Split:
    """Split labelled cases into training, validation and test sets.

    Args:
        cases: cases with "patient" and, if there is a published split, "split".
        split_by: "published" uses the published split, "patient" splits by patient, "auto" uses the published split if
            there is one. A `split_file` or a `test_fraction` of 1 has precedence.
        val_fraction: fraction of patients for validation in a split by patient, in (0, 1).
        test_fraction: fraction of patients for testing in a split by patient; 1 for all cases.
        label_fraction: fraction of the training patients that is used, in (0, 1]; for a seed, smaller fractions are
            subsets of larger ones.
        seed: random seed of the label fraction.
        split_file: an existing ``split.json`` to use instead.
        output_dir: folder of ``split.json``, see `Split`.
        fold: index of the test fold of a split by patient.
        stratify_by: key of the cases for stratification.

    Returns:
        Cases under "training", "validation" and "test", in input order.

    Raises:
        InputError: as `split_labelled_cases`, and if there is no published split or it is incomplete.
    """
    official = any("split" in case for case in cases)
    published = check_choice(split_by, SPLIT_MODES, "split_by") == "published" or (split_by == "auto" and official)
    if split_file is not None or test_fraction == 1 or not published:
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        options = {"label_fraction": label_fraction, "seed": seed, "split_file": split_file, "output_dir": output_dir}
        return split_labelled_cases(cases, **fractions, **options, stratify_by=stratify_by, fold=fold)
    check_single_fold(fold)
    return build_split(cases, _official_parts(cases), label_fraction, seed, output_dir, stratify_by)


def check_single_fold(fold: int) -> None:
    """Raise `InputError` for a fold above 0 of a published split, which has one test set."""
    if fold:
        raise InputError(f"fold: expected 0, since the published split has one test set, found {fold}")


def _official_parts(cases: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the published split of each case."""
    splits = {case["case"]: case.get("split") for case in cases}
    if wrong := [case for case, split in splits.items() if split not in LABELLED_SPLITS]:
        raise InputError(
            f"split_by: expected all cases in the published split, found {len(wrong)} of {len(cases)} that are not, "
            f"such as {wrong[0]}; use --split_by patient"
        )
    for split in LABELLED_SPLITS:
        if split not in splits.values():
            raise InputError(
                f"split_by: expected {split} cases in the published split, found none among {len(cases)}; use "
                "--split_by patient"
            )
    return splits


def class_names(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Return the class names in the order of their labels."""
    return sorted({case["class"] for case in cases})


def split_classified_images(
    cases: Sequence[dict[str, Any]],
    val_fraction: float = 0.1,
    split_file: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Split:
    """Split images by their folders for training and validation, or else by the hash of their ids.

    Args:
        cases: cases, see `find_classified_images`.
        val_fraction: fraction for validation if the folders do not determine it, in (0, 1).
        split_file: an existing ``split.json`` to use instead.
        output_dir: folder of ``split.json``, see `Split`; not used if the folders determine the split.

    Returns:
        Cases under "training" and "validation". Validation cases are ordered by a hash, which mixes the classes.

    Raises:
        InputError: as `split_cases`, and if a class has no training image.
    """
    if split_file is None and "split" in cases[0]:
        subsets = {name: [case for case in cases if case["split"] == name] for name in SPLITS}
        split = Split(subsets, subsets)
    else:
        split = split_cases(cases, val_fraction, split_file, output_dir)
    trained = {case["class"] for case in split["training"]}
    if lacking := [name for name in class_names(cases) if name not in trained]:
        named = ", ".join(lacking[:MAX_NAMED])
        raise InputError(f"training data: expected images of every class, found none of {named}")
    split["validation"].sort(key=lambda case: hashlib.sha256(case["case"].encode(errors="surrogateescape")).hexdigest())
    return split
