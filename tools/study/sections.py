"""Sections of a study's Markdown report; a section without content is empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tools.study.annotation_efficiency import AnnotationEfficiency, StepsToScratch
from tools.study.comparison import PERMUTATIONS, RESAMPLES, Comparison, Difference, Estimate, count_permutations
from tools.study.curves import percent, score_name
from tools.study.outcome import Outcome
from tools.training.dry_run import format_duration
from tools.utils.bootstrap import MIN_UNITS, describe_interval

LEVEL = 0.05


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a Markdown table; bars and line breaks inside cells are removed."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(str(cell).replace("|", "/").split()) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def overview(outcome: Outcome) -> str:
    """Return the overview: bundle, runs, test cases, initialisations and settings."""
    seconds = sum(run.seconds for run in outcome.runs.values())
    done, seeds = len(outcome.runs), ", ".join(map(str, outcome.seeds))
    fractions = ", ".join(percent(fraction) for fraction in outcome.fractions)
    facts = [
        f"- Score: {score_name(outcome.score)}, higher is better; on {len(outcome.cases)} test cases of "
        f"{len(set(outcome.patients))} patients, the same in all runs.",
        f"- Fractions of the labels: {fractions}; seeds: {seeds}.",
        f"- {done} of {outcome.planned} runs are finished, {len(outcome.errors)} failed"
        + (" (**this report is partial**)" if outcome.partial else "")
        + f"; {format_duration(seconds)} of training and evaluation.",
    ]
    initialisations = table(
        ["initialisation", "weights", "protocol", "runs"],
        [
            [one["name"], one["pretrained"] or "random", one["protocol"], _count_runs(outcome, one["name"])]
            for one in outcome.initialisations
        ],
    )
    settings = ", ".join(f"`{key}` {value}" for key, value in outcome.settings.items())
    title = f"# Effect of pretraining: {outcome.bundle}" + (f" ({outcome.partial})" if outcome.partial else "")
    return "\n\n".join([title, "\n".join(facts), initialisations, *([f"Settings: {settings}."] if settings else [])])


def _count_runs(outcome: Outcome, initialisation: str) -> str:
    done = sum(len(outcome.seeds_of(initialisation, fraction)) for fraction in outcome.fractions)
    return f"{done} of {len(outcome.fractions) * len(outcome.seeds)}"


def summary(outcome: Outcome, comparison: Comparison) -> str:
    """Return the summary of the differences by label fraction."""
    lines = []
    for fraction in outcome.fractions:
        found = {name: comparison.differences[name, fraction] for name in outcome.names[1:]}
        found = {name: one for name, one in found.items() if one.estimate.seeds}
        groups = [
            ("above", [_describe(name, one) for name, one in found.items() if one.sign > 0]),
            ("below", [_describe(name, one) for name, one in found.items() if one.sign < 0]),
            ("no significant difference to", [name for name, one in found.items() if not one.sign]),
        ]
        text = [f"{words} {outcome.scratch}: {', '.join(names)}" for words, names in groups if names]
        lines.append(f"- {percent(fraction)}: {'; '.join(text) or 'no comparison yet'}.")
    significant = sum(one.holm < LEVEL for one in comparison.differences.values())
    compared = sum(not math.isnan(one.p) for one in comparison.differences.values())
    legend = (
        '"Above" and "below": the 95 % interval of the paired difference excludes zero. Star: the permutation test is '
        f"significant (p < {LEVEL}) after correction for all {compared} comparisons, as for {significant} of them. "
        "No significant difference does not imply equality."
    )
    return "\n\n".join(["## Summary", "\n".join(lines), legend]) if has_comparisons(comparison) else ""


def has_comparisons(comparison: Comparison) -> bool:
    """Return whether any initialisation can be compared with scratch."""
    return any(one.estimate.seeds for one in comparison.differences.values())


def _describe(name: str, difference: Difference) -> str:
    star = r"\*" if difference.holm < LEVEL else ""
    return f"{name} ({difference.estimate.value:+.3f}{star})"


def score_table(outcome: Outcome, comparison: Comparison) -> str:
    """Return a table of mean scores with intervals and standard deviations, by initialisation and label fraction."""
    header = [
        "initialisation",
        *(f"{percent(fraction)} ({_training_cases(outcome, fraction)})" for fraction in outcome.fractions),
    ]
    rows = []
    for initialisation in outcome.names:
        estimates = [comparison.scores[initialisation, fraction] for fraction in outcome.fractions]
        rows.append([initialisation, *(_estimate(one, len(outcome.seeds)) for one in estimates)])
    text = "Mean over seeds on the test cases (95 % interval), sd: standard deviation over seeds."
    return "\n\n".join(["## Score", text, table(header, rows)])


def _training_cases(outcome: Outcome, fraction: float) -> str:
    counts = [run.training_cases for key, run in outcome.runs.items() if key.fraction == fraction]
    if not counts:
        return "no run yet"
    low, high = min(counts), max(counts)
    return f"{low} training cases" if low == high else f"{low} to {high} training cases"


def _estimate(estimate: Estimate, seeds: int, sign: str = "") -> str:
    if not estimate.seeds:
        return "-"
    interval = describe_interval((estimate.low, estimate.high), estimate.patients, f"{sign}.3f")
    std = "" if math.isnan(estimate.std) else f", sd {estimate.std:.3f}"
    some = "" if estimate.seeds == seeds else f", {estimate.seeds} of {seeds} seeds"
    return f"{estimate.value:{sign}.3f} ({interval}){std}{some}"


def difference_table(outcome: Outcome, comparison: Comparison) -> str:
    """Return a table of paired differences to scratch with intervals and tests."""
    if not has_comparisons(comparison):
        return ""
    rows = [
        [initialisation, percent(fraction), _estimate(one.estimate, len(outcome.seeds), "+"), _p(one.p), _p(one.holm)]
        for (initialisation, fraction), one in comparison.differences.items()
    ]
    text = (
        f"Initialisation minus {outcome.scratch} with equal seeds, label subsets and test patients. p: permutation "
        "test that swaps the predictions of both by patient; with Holm's correction for all rows."
    )
    header = ["initialisation", "labels", "difference (95 % interval)", "p", "p, Holm"]
    return "\n\n".join([f"## Difference to {outcome.scratch}", text, table(header, rows)])


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def efficiency_table(outcome: Outcome, efficiencies: Mapping[str, AnnotationEfficiency]) -> str:
    """Return a table of the labels needed to reach the final score of scratch, and of the labels saved."""
    if not efficiencies:
        return ""
    rows = []
    for initialisation, efficiency in efficiencies.items():
        first = next((fraction for fraction in outcome.fractions if outcome.seeds_of(initialisation, fraction)), None)
        least = efficiency.fraction == first  # smaller fractions were not tested
        interval = "" if math.isnan(efficiency.fraction) else f" ({_fraction_interval(efficiency)})"
        saved = "-" if math.isnan(efficiency.saved) else f"{'at least ' * least}{percent(efficiency.saved)}"
        rows.append([initialisation, f"{_format_fraction(efficiency.fraction)}{' or less' * least}{interval}", saved])
    largest = percent(outcome.fractions[-1])
    text = (
        f"Fraction of the labels with which the mean score reaches that of {outcome.scratch} with {largest}"
        f"{'' if outcome.fractions[-1] == 1 else ', the largest fraction of this study'}, by linear interpolation (95 "
        "% interval from the same bootstrap samples), and the fraction saved."
    )
    header = ["initialisation", "labels needed", "labels saved"]
    return "\n\n".join(["## Annotation efficiency", text, table(header, rows)])


def _fraction_interval(efficiency: AnnotationEfficiency) -> str:
    if math.isnan(efficiency.low):
        return describe_interval((efficiency.low, efficiency.high), efficiency.patients, "")
    return f"{_format_fraction(efficiency.low)} to {_format_fraction(efficiency.high)}"


def _format_fraction(fraction: float) -> str:
    return "unknown" if math.isnan(fraction) else percent(fraction) if math.isfinite(fraction) else "not reached"


def steps_table(outcome: Outcome, steps: Mapping[tuple[str, float], StepsToScratch]) -> str:
    """Return a table of the training steps to the final validation score of scratch."""
    rows = [
        [initialisation, *(_steps(steps[initialisation, fraction]) for fraction in outcome.fractions)]
        for initialisation in outcome.names
    ]
    ends = [
        f"{one.target:.3f} after {one.total:.0f} steps with {percent(fraction)}"
        for fraction in outcome.fractions
        if not math.isnan((one := steps[outcome.scratch, fraction]).target)
    ]
    text = (
        f"First validated step at which the mean validation score reaches the final score of {outcome.scratch}, and "
        f"this step as a fraction of {outcome.scratch}'s steps. Final scores of {outcome.scratch}: "
        f"{', '.join(ends) or 'unknown'}."
    )
    header = ["initialisation", *(percent(fraction) for fraction in outcome.fractions)]
    return "\n\n".join([f"## Steps to {outcome.scratch}'s final score", text, table(header, rows)])


def _steps(steps: StepsToScratch) -> str:
    if math.isnan(steps.step):
        return "-"
    return f"{steps.step:.0f} ({steps.step / steps.total:.2f})" if math.isfinite(steps.step) else "not reached"


def failed_runs(outcome: Outcome) -> str:
    """Return a table of failed runs with their error messages."""
    rows = [[key.initialisation, percent(key.fraction), key.seed, error] for key, error in outcome.errors.items()]
    header = ["initialisation", "labels", "seed", "error"]
    return "\n\n".join(["## Failed runs", table(header, rows)]) if rows else ""


def limitations(outcome: Outcome) -> str:
    """Return the limitations of the intervals and tests."""
    patients, seeds = len(set(outcome.patients)), len(outcome.seeds)
    lines = [
        "Intervals and tests are conditional on the pretrained weights above. The variance between repeated "
        "pretraining runs is not included.",
        f"Intervals: percentiles of {RESAMPLES} bootstrap samples of test patients and, independently, of seeds. The "
        f"permutation test (all permutations of patients, or {PERMUTATIONS} random ones if there are more) is "
        "conditional on the trained networks and does not include the variance between seeds.",
        "The epoch is selected on the validation set, which is the same in all runs, also with few labels.",
    ]
    if seeds == 1:
        lines.append("One seed: intervals are over test patients only and do not include the variance between seeds.")
    elif seeds < 5:
        lines.append(f"{seeds} seeds are few: the intervals underestimate the variance between seeds.")
    tested = "One test patient" if patients == 1 else f"{patients} test patients"
    if patients < MIN_UNITS:
        lines.append(f"{tested}: no intervals, which need at least {MIN_UNITS} patients.")
    if count_permutations(patients) <= PERMUTATIONS:
        lines.append(f"{tested}: the smallest possible p is {2 ** (1 - patients):.2g}, before correction.")
    if outcome.partial:
        lines.append(
            "The study is not finished: means are over the finished seeds, differences over those of both. Results "
            "will change."
        )
    return "\n".join(["## Limitations", "", *(f"- {line}" for line in lines)])
