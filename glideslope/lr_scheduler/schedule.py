"""Intervals joined into a schedule, a pure function of the step and of the history; and asked."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from glideslope.lr_scheduler.curves import Curve, Number, flat, mix

History: TypeAlias = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Interval:
    curve: Curve
    span: Fraction  # the curve runs this long, then holds
    warmup: Fraction = Fraction(0)
    start: Fraction = Fraction(0)
    stage: int = 0


_Piece: TypeAlias = Callable[[Number], Number]


def _clock(start: Fraction, unit: Fraction, whole: bool = False) -> _Piece:
    """(step - start) / unit as a function of the step, exact in integers up to its one division."""
    scale, offset = start.denominator * unit.denominator, start.numerator * unit.denominator
    divisor = start.denominator * unit.numerator
    common = math.gcd(scale, offset, divisor)
    scale, offset, divisor = scale // common, offset // common, divisor // common

    def read(step: Number) -> Number:
        if isinstance(step, np.ndarray):
            if int(step.max()) * scale >= 2**53:  # beyond exact floats: use Python's integers
                step = step.astype(object)
            ticks = step * scale - offset
            return (ticks // divisor if whole else ticks / divisor).astype(float)
        ticks = step * scale - offset
        return ticks // divisor if whole else ticks / divisor

    return read


def _held(rate: float) -> _Piece:
    return lambda step: rate


def _running(curve: Curve, start: Fraction) -> _Piece:
    if curve.shape is flat:
        return _held(curve.numbers[0])
    shape, numbers, clock = curve.shape, curve.numbers, _clock(start, curve.unit, curve.stairs)
    return lambda step: shape(clock(step), *numbers)


def _ramp(before: float, running: _Piece, clock: _Piece) -> _Piece:
    """The warm-up: from the rate in force just before, frozen, to the running curve."""
    return lambda step: mix(before, running(step), clock(step))


@dataclass(frozen=True)
class _Timeline:
    """pieces[0] serves the steps before bounds[0], pieces[i + 1] those from bounds[i] on."""

    bounds: Sequence[int]
    pieces: Sequence[_Piece]

    def rate(self, step: int) -> float:
        rate: float = self.pieces[bisect_right(self.bounds, step)](step)
        return rate

    def rates(self, steps: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        flat = steps.ravel().astype(np.int64)
        which = np.searchsorted(np.array(self.bounds, dtype=np.int64), flat, side="right")
        rates = np.empty(flat.shape)
        for index in np.unique(which):
            rates[which == index] = self.pieces[index](flat[which == index])
        return rates.reshape(steps.shape)


def _join(base: float, placed: Iterable[tuple[Fraction, Interval]]) -> _Timeline:
    """Intervals end to end, each at its start; the only place that knows of warm-ups, gaps and ends."""
    bounds: list[int] = []
    pieces = [_held(base)]
    for start, interval in placed:
        first, running = math.ceil(start), _running(interval.curve, start)
        before = _Timeline(bounds, pieces).rate(first - 1) if first > 0 else 0.0
        while bounds and bounds[-1] >= first:  # what the interval before would have done from here on
            bounds.pop()
            pieces.pop()
        if interval.warmup:
            bounds.append(first)
            pieces.append(_ramp(before, running, _clock(start, interval.warmup)))
        bounds += [math.ceil(start + interval.warmup), math.ceil(start + interval.span)]
        pieces += [running, _held(interval.curve.at(interval.span))]
    return _Timeline(tuple(bounds), tuple(pieces))


class Schedule:
    """A rate as a pure function of the step; made by `build_schedules` and `parse_stddev`.

    `depends_on_base`: some of its rates follow the base rate. `follows_stages`: it needs the curriculum's
    history. `notes`: what the user should know (from `parse_stddev`; a network's are in `Schedules.notes`).
    """

    def __init__(
        self,
        base: float,
        intervals: Sequence[Interval] = (),
        depends_on_base: bool = True,
        follows_stages: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.base = base
        self.depends_on_base = depends_on_base
        self.follows_stages = follows_stages
        self.notes = tuple(notes)
        self._intervals = tuple(intervals)
        placed = [] if follows_stages else [(interval.start, interval) for interval in intervals]
        self._joined: tuple[tuple[Any, ...], _Timeline] = ((), _join(base, placed))  # for this history

    @overload
    def __call__(self, step: int, stages: History = ()) -> float: ...

    @overload
    def __call__(self, step: NDArray[np.integer[Any]], stages: History = ()) -> NDArray[np.float64]: ...

    def __call__(
        self, step: int | NDArray[np.integer[Any]], stages: History = ()
    ) -> float | NDArray[np.float64]:
        """The rate at a global step, or at each of an array of them.

        `stages` is the curriculum's history, [(step of entry, stage), ...] in order; a schedule by time
        ignores it, one by stages has its base rate before the first entry.
        Raises TypeError for steps that are not integers.
        """
        timeline = self._follow(stages) if self.follows_stages else self._joined[1]
        if not isinstance(step, np.ndarray):
            return timeline.rate(operator.index(step))
        if not np.issubdtype(step.dtype, np.integer):
            raise TypeError(f"steps must be integers, not {step.dtype}")
        return timeline.rates(step)

    def _follow(self, stages: History) -> _Timeline:
        """The timeline of this history; the last one is kept, since most calls ask about the same."""
        history, (known, timeline) = tuple(map(tuple, stages)), self._joined
        if history == known:
            return timeline
        if any(later[0] < earlier[0] for earlier, later in pairwise(history)):
            raise ValueError(f"the curriculum's history must be in order of steps, not {history}")
        placed: list[tuple[Fraction, Interval]] = []
        for step, stage in history:
            reached = [interval for interval in self._intervals if interval.stage <= stage]
            if reached and (not placed or placed[-1][1] is not reached[-1] or reached[-1].stage == stage):
                placed.append((Fraction(step), reached[-1]))
        self._joined = (history, _join(self.base, placed))
        return self._joined[1]


class Schedules(Mapping[str, Schedule]):
    """The schedule of each network, by name. `notes`: what the user should know, a line each."""

    def __init__(self, schedules: Mapping[str, Schedule], notes: Sequence[str] = ()) -> None:
        self._schedules = dict(schedules)
        self.notes = tuple(notes)

    def __getitem__(self, network: str) -> Schedule:
        return self._schedules[network]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedules)

    def __len__(self) -> int:
        return len(self._schedules)
