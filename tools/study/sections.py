"""The parts of a study's report, in Markdown; a part about nothing is empty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tools.study.comparison import RESAMPLES, SWAPS, Comparison, Difference, Estimate, all_swaps
from tools.study.curves import percent, score_name
from tools.study.outcome import Outcome
from tools.study.savings import Saving, Steps
from tools.training.dry_run import format_duration
from tools.utils.bootstrap import MIN_UNITS, describe_interval

LEVEL = 0.05


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; bars and line ends inside cells are taken out."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(str(cell).replace("|", "/").split()) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def what_was_run(outcome: Outcome) -> str:
    """Bundle, cells, test cases, arms and settings."""
    seconds = sum(cell.seconds for cell in outcome.cells.values())
    done, seeds = len(outcome.cells), ", ".join(map(str, outcome.seeds))
    shares = ", ".join(percent(share) for share in outcome.fractions)
    facts = [
        f"- Score: {score_name(outcome.score)}, higher is better; on {len(outcome.cases)} test cases of "
        f"{len(set(outcome.patients))} patients, the same in all cells.",
        f"- Shares of the labels: {shares}; seeds: {seeds}.",
        f"- {done} of {outcome.planned} cells are done, {len(outcome.errors)} failed"
        + (" (**this report is partial**)" if outcome.partial else "")
        + f"; {format_duration(seconds)} of training and evaluation.",
    ]
    arms = table(
        ["initialisation", "weights", "protocol", "cells"],
        [
            [arm["name"], arm["pretrained"] or "random", arm["protocol"], _cells_of(outcome, arm["name"])]
            for arm in outcome.arms
        ],
    )
    settings = ", ".join(f"`{key}` {value}" for key, value in outcome.settings.items())
    title = f"# What pretraining buys: {outcome.bundle}" + (f" ({outcome.partial})" if outcome.partial else "")
    return "\n\n".join([title, "\n".join(facts), arms, *([f"Settings: {settings}."] if settings else [])])


def _cells_of(outcome: Outcome, arm: str) -> str:
    done = sum(len(outcome.seeds_of(arm, share)) for share in outcome.fractions)
    return f"{done} of {len(outcome.fractions) * len(outcome.seeds)}"


def reading(outcome: Outcome, comparison: Comparison) -> str:
    """What the differences say, in words, share by share."""
    lines = []
    for share in outcome.fractions:
        found = {name: comparison.differences[name, share] for name in outcome.names[1:]}
        found = {name: one for name, one in found.items() if one.estimate.seeds}
        groups = [
            ("above", [_said(name, one) for name, one in found.items() if one.beyond > 0]),
            ("below", [_said(name, one) for name, one in found.items() if one.beyond < 0]),
            ("not told apart from", [name for name, one in found.items() if not one.beyond]),
        ]
        said = [f"{words} {outcome.scratch}: {', '.join(names)}" for words, names in groups if names]
        lines.append(f"- {percent(share)}: {'; '.join(said) or 'nothing to compare yet'}.")
    sure = sum(one.holm < LEVEL for one in comparison.differences.values())
    known = sum(not math.isnan(one.p) for one in comparison.differences.values())
    close = (
        f'"Above" and "below" mean that the 95 % interval of the paired difference leaves zero out; a star, that the '
        f"permutation test agrees after correction for all {known} comparisons (p < {LEVEL}), as it does for {sure}. "
        "Not told apart is not the same as equal."
    )
    return "\n\n".join(["## Reading", "\n".join(lines), close]) if comparable(comparison) else ""


def comparable(comparison: Comparison) -> bool:
    """Whether there is anything to compare with scratch."""
    return any(one.estimate.seeds for one in comparison.differences.values())


def _said(name: str, difference: Difference) -> str:
    star = r"\*" if difference.holm < LEVEL else ""
    return f"{name} ({difference.estimate.value:+.3f}{star})"


def score_table(outcome: Outcome, comparison: Comparison) -> str:
    """Mean score over seeds with its interval and spread, by arm and share."""
    header = [
        "initialisation",
        *(f"{percent(share)} ({_training_cases(outcome, share)})" for share in outcome.fractions),
    ]
    rows = []
    for arm in outcome.names:
        found = [comparison.scores[arm, share] for share in outcome.fractions]
        rows.append([arm, *(_estimate(one, len(outcome.seeds)) for one in found)])
    said = "Mean over seeds on the test cases (95 % interval), sd: standard deviation over seeds."
    return "\n\n".join(["## Score", said, table(header, rows)])


def _training_cases(outcome: Outcome, share: float) -> str:
    counts = [cell.training_cases for key, cell in outcome.cells.items() if key.fraction == share]
    if not counts:
        return "no cell yet"
    low, high = min(counts), max(counts)
    return f"{low} training cases" if low == high else f"{low} to {high} training cases"


def _estimate(estimate: Estimate, seeds: int, sign: str = "") -> str:
    if not estimate.seeds:
        return "-"
    interval = describe_interval((estimate.low, estimate.high), estimate.patients, f"{sign}.3f")
    spread = "" if math.isnan(estimate.spread) else f", sd {estimate.spread:.3f}"
    some = "" if estimate.seeds == seeds else f", {estimate.seeds} of {seeds} seeds"
    return f"{estimate.value:{sign}.3f} ({interval}){spread}{some}"


def difference_table(outcome: Outcome, comparison: Comparison) -> str:
    """Paired difference of every arm to scratch at every share, with interval and test."""
    if not comparable(comparison):
        return ""
    rows = [
        [arm, percent(share), _estimate(one.estimate, len(outcome.seeds), "+"), _p(one.p), _p(one.holm)]
        for (arm, share), one in comparison.differences.items()
    ]
    said = (
        f"Arm less {outcome.scratch}: the same seeds, label subsets and test patients. p: permutation test that swaps "
        "the answers of both patient by patient; then corrected for all rows (Holm)."
    )
    header = ["initialisation", "labels", "difference (95 % interval)", "p", "p, Holm"]
    return "\n\n".join([f"## Difference to {outcome.scratch}", said, table(header, rows)])


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def saving_table(outcome: Outcome, savings: Mapping[str, Saving]) -> str:
    """Labels that reach scratch's score with the largest share, and how many that saves."""
    if not savings:
        return ""
    rows = []
    for arm, saving in savings.items():
        first = next((share for share in outcome.fractions if outcome.seeds_of(arm, share)), None)
        least = saving.share == first  # how much less would do is not known
        interval = "" if math.isnan(saving.share) else f" ({_share_interval(saving)})"
        saved = "-" if math.isnan(saving.saved) else f"{'at least ' * least}{percent(saving.saved)}"
        rows.append([arm, f"{_share(saving.share)}{' or less' * least}{interval}", saved])
    whole = percent(outcome.fractions[-1])
    said = (
        f"Share of the labels with which an arm's mean score reaches that of {outcome.scratch} with {whole}"
        f"{'' if outcome.fractions[-1] == 1 else ', the largest share here'}, on straight lines between the shares "
        "(95 % interval from the same bootstrap), and the share saved."
    )
    header = ["initialisation", "labels needed", "labels saved"]
    return "\n\n".join(["## Annotation saving", said, table(header, rows)])


def _share_interval(saving: Saving) -> str:
    if math.isnan(saving.low):
        return describe_interval((saving.low, saving.high), saving.patients, "")
    return f"{_share(saving.low)} to {_share(saving.high)}"


def _share(share: float) -> str:
    return "unknown" if math.isnan(share) else percent(share) if math.isfinite(share) else "not reached"


def steps_table(outcome: Outcome, steps: Mapping[tuple[str, float], Steps]) -> str:
    """Steps after which an arm's validation score is scratch's last."""
    rows = [[arm, *(_steps(steps[arm, share]) for share in outcome.fractions)] for arm in outcome.names]
    ends = [
        f"{one.target:.3f} after {one.whole:.0f} steps with {percent(share)}"
        for share in outcome.fractions
        if not math.isnan((one := steps[outcome.scratch, share]).target)
    ]
    said = (
        f"First validated step at which the mean validation curve is as high as {outcome.scratch}'s at its end, and "
        f"that step as a part of {outcome.scratch}'s steps. There {outcome.scratch} ends at "
        f"{', '.join(ends) or 'an unknown value'}."
    )
    header = ["initialisation", *(percent(share) for share in outcome.fractions)]
    return "\n\n".join([f"## Steps to {outcome.scratch}'s final value", said, table(header, rows)])


def _steps(steps: Steps) -> str:
    if math.isnan(steps.step):
        return "-"
    return f"{steps.step:.0f} ({steps.step / steps.whole:.2f})" if math.isfinite(steps.step) else "not reached"


def failures(outcome: Outcome) -> str:
    """Cells that failed, with what they said."""
    rows = [[key.arm, percent(key.fraction), key.seed, error] for key, error in outcome.errors.items()]
    header = ["initialisation", "labels", "seed", "error"]
    return "\n\n".join(["## Failed cells", table(header, rows)]) if rows else ""


def cautions(outcome: Outcome) -> str:
    """What these figures do not say."""
    patients, seeds = len(set(outcome.patients)), len(outcome.seeds)
    lines = [
        "Intervals and tests hold for the pretrained weights named above: every pretraining was run once, and another "
        "run of it might do better or worse.",
        f"Intervals: percentiles of {RESAMPLES} bootstrap samples of test patients and of seeds, drawn apart from each "
        f"other. The test (all swaps of patients, or {SWAPS} drawn at random if there are more) is about the networks "
        "trained here, not about other seeds.",
        "The validation set chooses the epoch. It is the same in all cells, so it is not smaller where labels are few.",
    ]
    if seeds == 1:
        lines.append(
            "One seed: intervals are over test patients only; how much another seed would change is not known."
        )
    elif seeds < 5:
        lines.append(f"{seeds} seeds are few: what they add to the intervals is an underestimate.")
    tested = "One test patient" if patients == 1 else f"{patients} test patients"
    if patients < MIN_UNITS:
        lines.append(f"{tested}: there are no intervals, which need at least {MIN_UNITS} patients.")
    if all_swaps(patients) <= SWAPS:
        lines.append(f"{tested}: no p below {2 ** (1 - patients):.2g} is possible, before correction.")
    if outcome.partial:
        lines.append(
            "The grid is partial: means are over the seeds that are done, differences over those done for both; figures"
            " will change."
        )
    return "\n".join(["## Cautions", "", *(f"- {line}" for line in lines)])
