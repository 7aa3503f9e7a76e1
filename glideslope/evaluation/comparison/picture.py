"""`comparison.png`: learning curves with bands, stages as ticks, the learning rates below on the same axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

# The house style; these are helpers of all its figures.
from glideslope.display.figures import count_axis, drawing, rate_axis, rate_limits, success_axis
from glideslope.evaluation.comparison.summary import Comparison, Summary
from glideslope.settings import NETWORKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_GAP = 11  # points between two stage numbers
# Okabe & Ito's palette, dark enough for lines on white; told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#00664A", "#CC79A7", "#E69F00", "#56B4E9", "#595959", "#7A3E9D")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1, 1.5), (5, 2, 1, 2))


def draw(path: Path, comparison: Comparison) -> None:
    """Write the picture; groups without any evaluation are in the legend alone."""
    groups = comparison.summaries
    staged = any(len(summary.entries) > 1 for summary in groups)
    panels = rate_panels(groups)
    heights = [2.4, *([0.2 + 0.16 * len(groups)] if staged else []), *[1.2] * len(panels)]
    with drawing(path, height=sum(heights) + 0.7 + 0.2 * -(-len(groups) // 2)) as figure:
        axes = np.atleast_1d(figure.subplots(len(heights), sharex=True, height_ratios=heights))
        _draw_curves(axes[0], groups)
        if staged:
            _draw_entries(figure, axes[1], groups)
        for part, (title, network) in zip(axes[1 + staged :], panels.items(), strict=True):
            _draw_rates(part, title, network, groups)
        count_axis(axes[-1], np.array([0.0, length(groups)]), "frames")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(groups), 2))


def colour(index: int) -> str:
    """Return the colour of a group, here and on the page."""
    return _COLOURS[index % len(_COLOURS)]


def dashes(index: int) -> tuple[float, ...]:
    """Return a group's dash pattern; empty for a solid line. It differs for groups of one colour too."""
    return _DASHES[(index + index // len(_COLOURS)) % len(_DASHES)]


def rate_panels(groups: Sequence[Summary]) -> dict[str, str]:
    """Return title → network of each panel of rates: one for all networks where they are alike in every group."""
    logged = [network for network in NETWORKS if any(summary.rates[network] for summary in groups)]
    shapes = [
        [[(frame.tolist(), rate.tolist()) for frame, rate in summary.rates[network]] for summary in groups]
        for network in logged
    ]
    if logged and all(shape == shapes[0] for shape in shapes):
        return {"learning rate, all networks": logged[0]}
    return {f"learning rate, {network}": network for network in logged}


def _draw_curves(axes: Axes, groups: Sequence[Summary]) -> None:
    for index, summary in enumerate(groups):
        for run in summary.group.runs:
            axes.plot(*run.curve, color=colour(index), linewidth=0.5, alpha=0.45)
        curve = summary.curve
        if curve.runs > 1:
            axes.fill_between(summary.frames, curve.low, curve.high, color=colour(index), alpha=0.16, linewidth=0)
        finished, count = len(summary.finished), len(summary.group.runs)
        runs = "1 run" if count == 1 else f"{count} runs"
        of = runs if finished == count else f"{finished} of {count} runs finished"
        axes.plot(summary.frames, curve.value, linewidth=1.8, label=f"{summary.group.label} ({of})", **_line(index))
    success_axis(axes, "landed in evaluations")


def _draw_entries(figure: Figure, axes: Axes, groups: Sequence[Summary]) -> None:
    """Draw a row for each group, with a tick at the mean frame at which it entered each stage."""
    points_wide = figure.get_size_inches()[0] * 72 * 0.85
    for index, summary in enumerate(groups):
        free = -np.inf
        for stage, _, frame, _ in summary.entries:
            axes.plot([frame], [index], color=colour(index), marker="|", markersize=8, markeredgewidth=1.6)
            at = frame / length(groups) * points_wide
            if at - free >= _LEAST_GAP:
                axes.annotate(
                    str(stage), (frame, index), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=7, color=colour(index), annotation_clip=False,
                )  # fmt: skip
                free = at
    axes.set(ylabel="stage", ylim=(len(groups) - 0.5, -0.5), yticks=[])
    axes.yaxis.label.set_rotation(0)
    axes.yaxis.label.set(ha="right", va="center")
    axes.grid(axis="x", color="0.92", linewidth=0.5)


def _draw_rates(axes: Axes, title: str, network: str, groups: Sequence[Summary]) -> None:
    for index, summary in enumerate(groups):
        for frame, rate in summary.rates[network]:
            axes.plot(frame, rate, linewidth=1.4, drawstyle="steps-post", **_line(index))
    rate_axis(axes, rate_bounds(network, groups), "log")
    axes.grid(axis="y", which="major", color="0.88", linewidth=0.6)
    axes.set_ylabel(title.replace(", ", "\n"))


def rate_bounds(network: str, groups: Sequence[Summary]) -> tuple[float, float]:
    """Return the lowest and the highest rate of the axis."""
    limits = [rate_limits(frame, {network: rate}) for summary in groups for frame, rate in summary.rates[network]]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _line(index: int) -> dict[str, Any]:
    return {"color": colour(index), "dashes": dashes(index) or (None, None)}


def length(groups: Sequence[Summary]) -> float:
    """Return the last frame of all that is drawn."""
    runs = [run for summary in groups for run in summary.group.runs]
    frames = [frame for run in runs for frame, _ in (run.curve, *map(run.rates, NETWORKS)) if len(frame)]
    return max((float(frame[-1]) for frame in frames), default=1.0)
