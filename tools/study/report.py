"""Make a study's tables, figures and report of whatever cells are done."""

from __future__ import annotations

from pathlib import Path

from tools.study.comparison import compare
from tools.study.curves import draw_convergence, draw_curve, draw_differences
from tools.study.outcome import read_outcome
from tools.study.savings import annotation_saving, steps_to_scratch
from tools.study.sections import (
    cautions,
    comparable,
    difference_table,
    failures,
    reading,
    saving_table,
    score_table,
    steps_table,
    what_was_run,
)
from tools.utils import figures
from tools.utils.files import atomic_write, write_table


def write_report(study_dir: str | Path) -> Path:
    """Write ``results.csv``, ``curve.png`` and ``.svg``, ``differences.png``, ``convergence.png`` and ``report.md``.

    Nothing is drawn of differences while no arm and scratch have a cell of the same share and seed.

    Args:
        study_dir: folder with ``plan.json`` and ``cells``; the files go there.

    Returns:
        Path of ``report.md``.

    Raises:
        InputError: see `tools.study.outcome.read_outcome`.
    """
    study_dir = Path(study_dir)
    outcome = read_outcome(study_dir)
    write_table(study_dir / "results.csv", list(outcome.table()))
    comparison = compare(outcome)
    curve = draw_curve(outcome, comparison)
    figures.save(curve, study_dir / "curve.png")
    figures.save(curve, study_dir / "curve.svg")
    figures.save(draw_convergence(outcome), study_dir / "convergence.png")
    paired = comparable(comparison)
    if paired:
        figures.save(draw_differences(outcome, comparison), study_dir / "differences.png")
    parts = [
        what_was_run(outcome),
        "![score against share of labels](curve.png)",
        reading(outcome, comparison),
        score_table(outcome, comparison),
        difference_table(outcome, comparison),
        "![differences to scratch](differences.png)" if paired else "",
        saving_table(outcome, annotation_saving(outcome, comparison)),
        steps_table(outcome, steps_to_scratch(outcome)),
        "![validation score against step](convergence.png)",
        failures(outcome),
        cautions(outcome),
    ]
    path = study_dir / "report.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path
