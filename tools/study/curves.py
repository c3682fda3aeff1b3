"""Figures of a study: score by label fraction, differences to scratch, and validation score by training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.study.annotation_efficiency import mean_curve
from tools.study.comparison import Comparison, Estimate
from tools.study.outcome import Outcome, RunKey
from tools.utils import figures

#: colour-blind safe palettes of Okabe and Ito, and of Tol
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#999933", "#44AA99")
MARKERS = "sD^vPX<>*ph"  # scratch has a circle

SCORE_NAMES = {
    "auc": "area under the ROC curve",
    "kappa": "quadratic weighted kappa",
    "mean_dice": "mean Dice",
    "mean_sensitivity": "mean sensitivity (0.5 to 4 false positives)",
}


class Style(NamedTuple):
    """Line style of an initialisation."""

    color: str
    marker: str
    dashes: str


def styles(outcome: Outcome) -> dict[str, Style]:
    """Return the line style of every initialisation; scratch is grey and dashed."""
    others = {
        name: Style(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], "-")
        for index, name in enumerate(outcome.names[1:])
    }
    return {outcome.scratch: Style("#6e6e6e", "o", "--"), **others}


def score_name(score: str) -> str:
    """Return the axis label of a score."""
    return SCORE_NAMES.get(score, score.replace("_", " "))


def percent(fraction: float) -> str:
    """Format a fraction as a percentage, for example "5 %"."""
    return f"{100 * fraction:.3g} %"


def draw_curve(outcome: Outcome, comparison: Comparison) -> Figure:
    """Plot the score by label fraction, one line per initialisation with 95 % intervals.

    Fractions are evenly spaced. Initialisations are shifted slightly to separate the intervals.
    """
    figure = Figure(figsize=(max(5.2, 1.5 * len(outcome.fractions) + 1.5), 5), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.5, 0.5, len(outcome.initialisations)) * min(0.5, 0.06 * len(outcome.initialisations))
    for (name, style), offset in zip(styles(outcome).items(), offsets, strict=True):
        estimates = [comparison.scores[name, fraction] for fraction in outcome.fractions]
        positions = np.arange(len(estimates)) + offset
        values = [one.value for one in estimates]
        axes.errorbar(positions, values, _errors(estimates), fmt="none", ecolor=style.color, elinewidth=1.1, alpha=0.55)
        front = 1 if name == outcome.scratch else 3
        axes.plot(positions, values, style.dashes, color=style.color, marker=style.marker, markersize=5, zorder=front)
    axes.set_xticks(range(len(outcome.fractions)), [percent(fraction) for fraction in outcome.fractions])
    axes.set_xlim(-0.5, len(outcome.fractions) - 0.5)
    axes.set_xlabel("fraction of the labels")
    axes.set_ylabel(score_name(outcome.score))
    _plain(axes)
    _finish(figure, outcome, f"{outcome.bundle}, test cases")
    return figure


def draw_differences(outcome: Outcome, comparison: Comparison) -> Figure:
    """Plot differences to scratch with 95 % intervals, a panel per fraction; filled if the interval excludes zero."""
    names = outcome.names[1:]
    fractions = outcome.fractions
    figure = Figure(figsize=(2.1 * len(fractions) + 1.6, 0.32 * len(names) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(fractions), sharex=True, sharey=True, squeeze=False)[0]
    for axes, fraction in zip(panels, fractions, strict=True):
        axes.axvline(0, color=figures.GREY, linestyle="--", linewidth=1)
        for height, name in enumerate(names):
            difference = comparison.differences[name, fraction]
            style = styles(outcome)[name]
            axes.errorbar(
                difference.estimate.value,
                height,
                xerr=_errors([difference.estimate]),
                fmt=style.marker,
                color=style.color,
                markerfacecolor=style.color if difference.sign else "white",
                markersize=6,
                elinewidth=1.6,
            )
        axes.set_title(percent(fraction), fontsize=10)
        _plain(axes)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(f"difference to {outcome.scratch}: {score_name(outcome.score)}", fontsize=10)
    figure.suptitle(_title(outcome, f"{outcome.bundle}, test cases"), fontsize=11)
    return figure


def draw_convergence(outcome: Outcome) -> Figure:
    """Plot validation scores by training step, a panel per fraction with thin lines for seeds and thick for means."""
    fractions = outcome.fractions
    columns = min(3, len(fractions))
    rows = -(-len(fractions) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 2.7 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, fraction in zip(panels, fractions, strict=False):
        for name, style in styles(outcome).items():
            seeds = outcome.seeds_of(name, fraction)
            for seed in seeds if len(seeds) > 1 else []:
                if points := outcome.runs[RunKey(name, fraction, seed)].curve:
                    axes.plot(*np.transpose(points), style.dashes, color=style.color, linewidth=0.6, alpha=0.3)
            if points := mean_curve(outcome, name, fraction, seeds):
                axes.plot(*np.transpose(points), style.dashes, color=style.color, linewidth=1.7)
                axes.plot(*points[-1], style.marker, color=style.color, markersize=5)
        axes.set_title(percent(fraction), fontsize=10)
        _plain(axes)
    for axes in panels[len(fractions) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(fractions) - columns) : len(fractions)]:  # lowest panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("step")
    figure.supylabel(f"validation: {score_name(outcome.score)}", fontsize=10)
    _finish(figure, outcome, outcome.bundle)
    return figure


def _errors(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return the lower and upper errors of values (2, N); 0 without an interval."""
    ends = np.array([[one.value - one.low, one.high - one.value] for one in estimates]).T
    return np.nan_to_num(ends).clip(0)  # the interval of a skewed sample may exclude the value


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _title(outcome: Outcome, words: str) -> str:
    return f"{words} ({outcome.partial})" if outcome.partial else words


def _finish(figure: Figure, outcome: Outcome, words: str) -> None:
    """Add the title and the legend of initialisations."""
    figure.suptitle(_title(outcome, words), fontsize=11)
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.dashes, markersize=5, label=name)
        for name, style in styles(outcome).items()
    ]
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.45)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)
