"""Pictures of a study: score against share of the labels, differences to scratch, score against training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.study.comparison import Comparison, Estimate
from tools.study.outcome import Key, Outcome
from tools.study.savings import mean_curve
from tools.utils import figures

#: after Okabe and Ito, and Tol: told apart by colour-blind people, in this order as far as possible
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#999933", "#44AA99")
MARKERS = "sD^vPX<>*ph"  # scratch has the circle

SCORE_NAMES = {
    "auc": "area under the ROC curve",
    "kappa": "quadratic weighted kappa",
    "mean_dice": "mean Dice",
    "mean_sensitivity": "mean sensitivity (0.5 to 4 false positives)",
}


class Style(NamedTuple):
    """How an arm is drawn."""

    color: str
    marker: str
    dashes: str


def styles(outcome: Outcome) -> dict[str, Style]:
    """A colour and a marker for every arm; scratch is grey and dashed."""
    others = {
        name: Style(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], "-")
        for index, name in enumerate(outcome.names[1:])
    }
    return {outcome.scratch: Style("#6e6e6e", "o", "--"), **others}


def score_name(score: str) -> str:
    """What an axis says of a score."""
    return SCORE_NAMES.get(score, score.replace("_", " "))


def percent(share: float) -> str:
    """A share in words, as in "5 %"."""
    return f"{100 * share:.3g} %"


def draw_curve(outcome: Outcome, comparison: Comparison) -> Figure:
    """Draw the score against the share of labels, one line per arm with 95 % intervals.

    Shares stand evenly spaced, as papers have them; arms a little beside each other, so that intervals stay apart.
    """
    figure = Figure(figsize=(max(5.2, 1.5 * len(outcome.fractions) + 1.5), 5), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.5, 0.5, len(outcome.arms)) * min(0.5, 0.06 * len(outcome.arms))
    for (name, style), offset in zip(styles(outcome).items(), offsets, strict=True):
        estimates = [comparison.scores[name, share] for share in outcome.fractions]
        places = np.arange(len(estimates)) + offset
        values = [one.value for one in estimates]
        axes.errorbar(places, values, _reach(estimates), fmt="none", ecolor=style.color, elinewidth=1.1, alpha=0.55)
        front = 1 if name == outcome.scratch else 3
        axes.plot(places, values, style.dashes, color=style.color, marker=style.marker, markersize=5, zorder=front)
    axes.set_xticks(range(len(outcome.fractions)), [percent(share) for share in outcome.fractions])
    axes.set_xlim(-0.5, len(outcome.fractions) - 0.5)
    axes.set_xlabel("share of the labels")
    axes.set_ylabel(score_name(outcome.score))
    _plain(axes)
    _finish(figure, outcome, f"{outcome.bundle}, test cases")
    return figure


def draw_differences(outcome: Outcome, comparison: Comparison) -> Figure:
    """Draw every arm less scratch with 95 % intervals, a panel per share; filled where the interval leaves zero out."""
    names = outcome.names[1:]
    shares = outcome.fractions
    figure = Figure(figsize=(2.1 * len(shares) + 1.6, 0.32 * len(names) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(shares), sharex=True, sharey=True, squeeze=False)[0]
    for axes, share in zip(panels, shares, strict=True):
        axes.axvline(0, color=figures.GREY, linestyle="--", linewidth=1)
        for height, name in enumerate(names):
            difference = comparison.differences[name, share]
            style = styles(outcome)[name]
            axes.errorbar(
                difference.estimate.value,
                height,
                xerr=_reach([difference.estimate]),
                fmt=style.marker,
                color=style.color,
                markerfacecolor=style.color if difference.beyond else "white",
                markersize=6,
                elinewidth=1.6,
            )
        axes.set_title(percent(share), fontsize=10)
        _plain(axes)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(f"difference to {outcome.scratch}: {score_name(outcome.score)}", fontsize=10)
    figure.suptitle(_title(outcome, f"{outcome.bundle}, test cases"), fontsize=11)
    return figure


def draw_convergence(outcome: Outcome) -> Figure:
    """Draw validation scores against training steps, a panel per share: every seed thin, their mean thick."""
    shares = outcome.fractions
    columns = min(3, len(shares))
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 2.7 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, share in zip(panels, shares, strict=False):
        for name, style in styles(outcome).items():
            seeds = outcome.seeds_of(name, share)
            for seed in seeds if len(seeds) > 1 else []:
                if points := outcome.cells[Key(name, share, seed)].curve:
                    axes.plot(*np.transpose(points), style.dashes, color=style.color, linewidth=0.6, alpha=0.3)
            if points := mean_curve(outcome, name, share, seeds):
                axes.plot(*np.transpose(points), style.dashes, color=style.color, linewidth=1.7)
                axes.plot(*points[-1], style.marker, color=style.color, markersize=5)
        axes.set_title(percent(share), fontsize=10)
        _plain(axes)
    for axes in panels[len(shares) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(shares) - columns) : len(shares)]:  # the lowest of every column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("step")
    figure.supylabel(f"validation: {score_name(outcome.score)}", fontsize=10)
    _finish(figure, outcome, outcome.bundle)
    return figure


def _reach(estimates: Sequence[Estimate]) -> np.ndarray:
    """How far intervals reach below and above their values: (2, N), 0 where there is none."""
    ends = np.array([[one.value - one.low, one.high - one.value] for one in estimates]).T
    return np.nan_to_num(ends).clip(0)  # the middle of skewed samples may lie beside the value


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _title(outcome: Outcome, words: str) -> str:
    return f"{words} ({outcome.partial})" if outcome.partial else words


def _finish(figure: Figure, outcome: Outcome, words: str) -> None:
    """Put the title above, and the legend of the arms below."""
    figure.suptitle(_title(outcome, words), fontsize=11)
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.dashes, markersize=5, label=name)
        for name, style in styles(outcome).items()
    ]
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.45)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)
