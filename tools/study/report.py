"""Tables, figures and Markdown report of a study."""

from __future__ import annotations

from pathlib import Path

from tools.study.annotation_efficiency import annotation_efficiency, steps_to_scratch
from tools.study.comparison import compare
from tools.study.curves import draw_convergence, draw_curve, draw_differences
from tools.study.outcome import read_outcome
from tools.study.sections import (
    difference_table,
    efficiency_table,
    failed_runs,
    has_comparisons,
    limitations,
    overview,
    score_table,
    steps_table,
    summary,
)
from tools.utils import figures
from tools.utils.files import atomic_write


def write_report(study_dir: str | Path) -> Path:
    """Write ``curve.png`` and ``.svg``, ``differences.png``, ``convergence.png`` and ``report.md``.

    ``differences.png`` is skipped without runs of scratch and another initialisation with equal fraction and seed.

    Args:
        study_dir: folder with ``plan.json`` and the records; also the output folder.

    Returns:
        Path of ``report.md``.

    Raises:
        InputError: see `tools.study.outcome.read_outcome`.
    """
    study_dir = Path(study_dir)
    outcome = read_outcome(study_dir)
    comparison = compare(outcome)
    curve = draw_curve(outcome, comparison)
    figures.save(curve, study_dir / "curve.png")
    figures.save(curve, study_dir / "curve.svg")
    figures.save(draw_convergence(outcome), study_dir / "convergence.png")
    paired = has_comparisons(comparison)
    if paired:
        figures.save(draw_differences(outcome, comparison), study_dir / "differences.png")
    parts = [
        overview(outcome),
        "![score by fraction of the labels](curve.png)",
        summary(outcome, comparison),
        score_table(outcome, comparison),
        difference_table(outcome, comparison),
        "![differences to scratch](differences.png)" if paired else "",
        efficiency_table(outcome, annotation_efficiency(outcome, comparison)),
        steps_table(outcome, steps_to_scratch(outcome)),
        "![validation score by step](convergence.png)",
        failed_runs(outcome),
        limitations(outcome),
    ]
    path = study_dir / "report.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path
