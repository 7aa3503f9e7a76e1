"""The comparison in words: a table for the terminal, a row for each group, readable at 80 columns, and notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from glideslope.display.commands import near
from glideslope.display.console import say
from glideslope.display.text_plot import short_count
from glideslope.errors import listed
from glideslope.evaluation.comparison.statistics import MANY
from glideslope.evaluation.comparison.summary import MILESTONES, Comparison, Milestone, Summary

NONE = "–"
_NAMED = 6  # settings that a note lists


def print_table(comparison: Comparison, console: Console) -> None:
    """Print the table, what is to be known about it, and the runs it leaves out."""
    if comparison.summaries:
        console.print(_table(comparison), highlight=False, markup=False)
    for note in notes(comparison):
        console.print(note, highlight=False, markup=False)
    if comparison.left_out:
        say(console, "Runs without a result:")
    for line in left_out_lines(comparison):
        say(console, "  ", line)


def left_out_lines(comparison: Comparison) -> list[str]:
    """Return the runs that the figures leave out, with the reasons."""
    return [f"{near(left_out.path)}: {left_out.reason}" for left_out in comparison.left_out]


def _table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(comparison.grouping.heading, overflow="fold")
    milestones = [f"frames\nto {rate:.0%}" for rate in MILESTONES]
    for heading in ("runs", "landed", "95%\ninterval", *milestones, "min"):
        table.add_column(heading, justify="right", no_wrap=True)
    for summary in comparison.summaries:
        table.add_row(
            summary.group.label.replace(", ", "\n"),
            str(len(summary.finished)),
            rate_text(summary.landed.value),
            interval_text(summary.landed.low, summary.landed.high),
            *(milestone_text(summary.milestones[rate]) for rate in MILESTONES),
            _minutes_text(summary.minutes),
        )
    return table


def notes(comparison: Comparison) -> Iterator[str]:
    """Yield what a reader must know about the figures."""
    stages, groups = comparison.last_stages, comparison.summaries
    if stages:
        where = f"the last stage ({listed(stages, 'or')})"
        yield f"Landed: held-out success rate on {where}{_methods(groups)}."
    if len(stages) > 1:
        yield "The runs end with different stages: these are scores of different tasks."
    for summary in groups:
        if len(summary.finished) == 1:
            score = summary.finished[0].scores[summary.finished[0].last_stage]
            yield (
                f"{summary.group.label}: one run, so no interval over runs; its own over"
                f" {score.get('episodes', 'its')} episodes is {interval_text(score['low'], score['high'])}."
            )
    if comparison.grouping.pooled:
        yield f"Runs of one group differ in {_first(comparison.grouping.pooled)} too."
    for one, other, found in comparison.improvements:
        yield (
            f"A run of {one} scores higher than one of {other} with probability"
            f" {found.value:.2f} ({found.low:.2f}–{found.high:.2f})."
        )


def _methods(groups: Sequence[Summary]) -> str:
    """Return what the figures are, by the groups' sizes."""
    sizes = [len(summary.finished) for summary in groups]
    few = "mean over runs and 95% t interval" if any(1 < size < MANY for size in sizes) else ""
    many = "interquartile mean over runs and 95% bootstrap interval" if max(sizes) >= MANY else ""
    both = f"{few}; from {MANY} runs on {many}" if few and many else few or many
    return f", {both}" if both else ""


def _first(names: tuple[str, ...]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return listed([*names[:_NAMED], *more], "and")


def rate_text(value: float) -> str:
    """Return a success rate as `97.3%`."""
    return NONE if math.isnan(value) else f"{value:.1%}"


def interval_text(low: float, high: float) -> str:
    """Return an interval as `92–100%`; a dash where there is none."""
    return NONE if math.isnan(low) else f"{100 * low:.0f}–{high:.0%}"


def milestone_text(milestone: Milestone) -> str:
    """Return a median and how many runs got there, as `12.5k (2 of 3)`."""
    if not milestone.runs:
        return NONE
    frames = NONE if math.isinf(milestone.frames) else short_count(float(f"{milestone.frames:.3g}"))
    return f"{frames} ({milestone.reached} of {milestone.runs})"


def _minutes_text(minutes: float) -> str:
    """Return a duration in minutes, with a digit after the point where it is short."""
    return NONE if math.isnan(minutes) else f"{minutes:.1f}" if minutes < 100 else f"{minutes:,.0f}"
