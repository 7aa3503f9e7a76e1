"""How groups are drawn, in the picture and on the page alike, and how figures are written."""

from __future__ import annotations

import math

from glideslope.display.text_plot import short_count
from glideslope.evaluation.comparison.summary import Milestone

# Okabe & Ito's palette, dark enough for lines on white; told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#00664A", "#CC79A7", "#E69F00", "#56B4E9", "#595959", "#7A3E9D")
_DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (1, 1.5), (5, 2, 1, 2))  # type: ignore[assignment]
NONE = "–"


def colour(index: int) -> str:
    """Return the colour of a group."""
    return _COLOURS[index % len(_COLOURS)]


def dashes(index: int) -> tuple[int, ...]:
    """Return a group's dash pattern; empty for a solid line. It differs for groups of one colour too."""
    return _DASHES[(index + index // len(_COLOURS)) % len(_DASHES)]


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


def minutes_text(minutes: float) -> str:
    """Return a duration in minutes, with a digit after the point where it is short."""
    return NONE if math.isnan(minutes) else f"{minutes:.1f}" if minutes < 100 else f"{minutes:,.0f}"
