"""Estimates how long the rest of a run takes: work left per kind, times what a unit of it costs.

Pure: it is told the time and holds no clock. Costs begin at an estimate and follow what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

# What a run spends its time on. Units: frames for collect and learn, vector steps for evaluate, pictures for film
# and grid; the others count occasions.
Kind: TypeAlias = Literal["collect", "learn", "evaluate", "film", "grid", "save", "draw"]
Work: TypeAlias = Mapping[Kind, float]  # units by kind
Costs: TypeAlias = Mapping[Kind, float]  # seconds per unit

_MEMORY_SECONDS = 120.0  # a frame's cost is a mean over about so much time
_PRIOR_SECONDS = 4.0  # how much measured time weighs as much as the estimate
_NEWEST_WEIGHT = 0.7  # of the latest evaluation among all of them
# A longer pause between two signs of life is a suspended machine, and counts for so much only.
_PAUSE_FACTOR, _PAUSE_SECONDS = 10.0, 2.0
_OVERDUE = 0.1  # what an activity that takes longer than planned still has to do, as a share of the plan
_FEWEST_TICKS = 3  # from so many on the pace of an activity tells its cost
_DOUBLING_SECONDS = 5.0
_SHORTEST = 1.0  # never 0 while there is work


@dataclass(frozen=True)
class _Activity:
    kind: Kind
    units: float  # expected
    seconds: float = 0.0
    ticks: int = 0


class TimeLeft:
    """The time that the remaining work takes.

    Frames are reported as they are done (:meth:`did`). Whatever interrupts them is an activity: :meth:`begin`,
    a :meth:`tick` at every step of it, :meth:`end`.

    Args:
        costs: estimated seconds per unit; kinds without one are unknown until measured.
        now: seconds on any monotonic scale, as all further times.
    """

    def __init__(self, costs: Costs, now: float) -> None:
        self._seconds: dict[Kind, float] = {}
        self._units: dict[Kind, float] = {}
        for kind, cost in costs.items():
            self._seconds[kind], self._units[kind] = _PRIOR_SECONDS, _PRIOR_SECONDS / max(cost, 1e-9)
        self._work: dict[Kind, float] = {}
        self._activity: _Activity | None = None
        self._mark = now

    def plan(self, work: Work) -> None:
        """Replace the work that is left, an activity under way included."""
        self._work = dict(work)

    def did(self, kind: Kind, units: float, now: float) -> None:
        """Take in ``units`` of frames, done since the last report."""
        seconds, self._mark = now - self._mark, now
        if units <= 0:
            return
        cost = self.cost(kind)
        if cost is not None:
            seconds = min(seconds, _PAUSE_FACTOR * units * cost + _PAUSE_SECONDS)
        keep = math.exp(-seconds / _MEMORY_SECONDS)
        self._seconds[kind] = self._seconds.get(kind, 0.0) * keep + seconds
        self._units[kind] = self._units.get(kind, 0.0) * keep + units

    def begin(self, kind: Kind, units: float, now: float) -> None:
        """Begin an activity of about ``units``."""
        self._activity, self._mark = _Activity(kind, units), now

    def tick(self, now: float) -> None:
        """Take in a step of the activity under way."""
        activity = self._activity
        if activity is None:
            return
        seconds, self._mark = now - self._mark, now
        cost = self.cost(activity.kind)
        if cost is not None:
            seconds = min(seconds, _PAUSE_FACTOR * cost + _PAUSE_SECONDS)
        self._activity = replace(activity, seconds=activity.seconds + seconds, ticks=activity.ticks + 1)

    def end(self, now: float) -> None:
        """End the activity: its cost is known now, and its work is done."""
        if self._activity is None:
            return
        ticks = self._activity.ticks
        self.tick(now)
        activity = replace(self._activity, ticks=ticks)
        cost = self._measured_cost(activity, activity.seconds / max(activity.units, 1e-9))
        self._activity = None
        if cost is not None:
            self._seconds[activity.kind], self._units[activity.kind] = cost, 1.0
        self._work[activity.kind] = max(self._work.get(activity.kind, 0.0) - activity.units, 0.0)

    def cost(self, kind: Kind) -> float | None:
        """Return the seconds per unit; None while unknown."""
        units = self._units.get(kind, 0.0)
        return self._seconds[kind] / units if units else None

    def unknown(self) -> bool:
        """Return whether there is work left of a kind whose cost is not known yet."""
        return any(units > 0 and self._present_cost(kind) is None for kind, units in self._work.items())

    def seconds(self, now: float) -> float:
        """Return the seconds that the remaining work of known cost takes."""
        activity = self._activity
        total = 0.0
        for kind, units in self._work.items():
            if activity is not None and kind == activity.kind:
                units -= activity.units
            total += max(units, 0.0) * (self._present_cost(kind) or 0.0)
        if activity is not None:
            planned = activity.units * (self._measured_cost(activity, None) or 0.0)
            # The last step may be a suspended machine's: it counts once it has ended.
            running = min(now - self._mark, _PAUSE_SECONDS)
            total += max(planned - activity.seconds - running, _OVERDUE * planned)
        return total

    def total(self, work: Work) -> float:
        """Return the seconds that ``work`` takes at the present costs; unknown ones count nothing."""
        return sum(units * (self._present_cost(kind) or 0.0) for kind, units in work.items())

    def _present_cost(self, kind: Kind) -> float | None:
        """Return the cost, after what the activity under way shows of it."""
        activity = self._activity
        if activity is None or activity.kind != kind:
            return self.cost(kind)
        return self._measured_cost(activity, None)

    def _measured_cost(self, activity: _Activity, whole: float | None) -> float | None:
        """Return the known cost, moved to the activity's pace or, if it has no steps, to that of the ``whole``."""
        known = self.cost(activity.kind)
        pace = activity.seconds / activity.ticks if activity.ticks >= _FEWEST_TICKS else whole
        if pace is None or known is None:
            return known if pace is None else pace
        return known + _NEWEST_WEIGHT * (pace - known)


class Steady:
    """Limits how far a displayed time left moves between two looks at it.

    It counts down with the clock; beyond that it at most doubles or halves, and takes five seconds for that.
    """

    def __init__(self) -> None:
        self._shown: float | None = None
        self._at = 0.0

    def show(self, seconds: float, now: float) -> float:
        """Return what to display for an estimate of ``seconds`` at the time ``now``."""
        if self._shown is None:
            shown = seconds
        else:
            passed = now - self._at
            factor = 2.0 ** min(passed / _DOUBLING_SECONDS, 1.0)
            lowest = max(self._shown - passed, 0.0) / factor
            shown = min(max(seconds, lowest), self._shown * factor)
        self._shown, self._at = max(shown, _SHORTEST), now
        return self._shown
