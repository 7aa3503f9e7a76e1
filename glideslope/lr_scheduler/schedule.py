"""Intervals joined into a schedule: the rate as a pure function of the step and of the run's history."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from glideslope.lr_scheduler.curves import Curve, Number, flat, mix
from glideslope.lr_scheduler.plateau import Plateau

History: TypeAlias = Sequence[tuple[int, int]]
_FAR = 2**62  # a step that an int64 holds, after which nothing happens any more


@dataclass(frozen=True)
class Interval:
    """An interval in its place, its times exact fractions of a step."""

    curve: Curve
    span: Fraction  # the curve runs this long, then holds
    warmup: Fraction = Fraction(0)
    start: Fraction = Fraction(0)
    stage: int = 0
    plateau: Plateau | None = None  # of a curve that is flat but for reductions
    repeat: int = 1  # how often the curve is run through in the span
    restart_factor: float = 1.0  # what each restart multiplies the initial rate by

    def cycles(self) -> list[tuple[Fraction, Curve]]:
        """Return the curve of each run through the interval, with the steps from the start to its beginning."""
        if self.repeat == 1:
            return [(Fraction(0), self.curve)]
        init, *others = self.curve.numbers
        return [
            (i * self.span / self.repeat, replace(self.curve, numbers=(init * self.restart_factor**i, *others)))
            for i in range(self.repeat)
        ]

    @property
    def last(self) -> float:
        """The rate at the end of the span."""
        begin, curve = self.cycles()[-1]
        return curve.at(self.span - begin)

    def shown(self, staged: bool) -> str:
        """Return its beginning, its shape and its first and last rate in one line."""
        begin = f"from stage {self.stage}" if staged else f"from step {math.ceil(self.start)}"
        warmup = f", warmup {math.ceil(self.warmup)}" if self.warmup else ""
        if self.plateau:
            return f"{begin} reduce_on_plateau {self.curve.numbers[0]:g} by {self.plateau.metric}{warmup}"
        init, last = self.curve.at(Fraction(0)), self.last
        if self.curve.shape is flat:
            return f"{begin} {init:g}{warmup}"
        cycles = f", {self.repeat} times" if self.repeat > 1 else ""
        return (
            f"{begin} {self.curve.shape.__name__} {init:g} to {last:g} in {math.ceil(self.span)} steps{cycles}{warmup}"
        )

    def describe(self, staged: bool) -> dict[str, Any]:
        """Return everything that its rates depend on, as plain data."""
        curve = self.curve
        runs = curve.shape is not flat or self.plateau is not None
        return {
            **({"stage": self.stage} if staged else {"start": str(self.start)}),
            "shape": "reduce_on_plateau" if self.plateau else curve.shape.__name__,
            "numbers": list(curve.numbers),
            "span": str(self.span) if runs else None,
            "unit": str(curve.unit) if curve.unit != 1 else None,
            "stairs": curve.stairs or None,
            "warmup": str(self.warmup) if self.warmup else None,
            "plateau": self.plateau.describe() if self.plateau else None,
            **({"repeat": self.repeat, "restart_factor": self.restart_factor} if self.repeat > 1 else {}),
        }


class Spell(NamedTuple):
    """From `begin` to the next spell this interval is in force, its t counted from `start`; None: the base rate.

    An interval that was left and resumed has several spells of the same `start`.
    """

    begin: Fraction
    start: Fraction
    interval: Interval | None

    @property
    def run(self) -> tuple[Fraction, int | None]:
        """What the spells of one run of an interval have in common, and no others."""
        return self.start, None if self.interval is None else self.interval.stage


class ActivePlateau(NamedTuple):
    """A plateau interval that a training is in: since its step `first`, starting from the rate `init`."""

    plateau: Plateau
    init: float
    first: int
    spells: Sequence[tuple[int, int]]  # steps from which, and before which, it is in force

    def made(self, reductions: Sequence[int]) -> list[int]:
        """Return those of a schedule's reductions that were made in it."""
        return [step for step in reductions if any(first <= step < end for first, end in self.spells)]


def _spells_of(run: tuple[Fraction, int | None], placed: Sequence[Spell]) -> list[tuple[int, int]]:
    """Return the steps from which, and before which, a run of an interval is in force."""
    edges = [math.ceil(spell.begin) for spell in placed] + [_FAR]
    return [(edges[i], edges[i + 1]) for i, spell in enumerate(placed) if spell.run == run]


_Piece: TypeAlias = Callable[[Number], Number]


# Pieces are functions of a module with their numbers bound, not closures: such a schedule pickles.


def _clock(start: Fraction, unit: Fraction, whole: bool = False) -> _Piece:
    """Return (step - start) / unit as a function of the step, exact in integers up to its one division."""
    # It is (step * scale - offset) / divisor.
    scale, offset = start.denominator * unit.denominator, start.numerator * unit.denominator
    divisor = start.denominator * unit.numerator
    common = math.gcd(scale, offset, divisor)
    return partial(_read_clock, scale // common, offset // common, divisor // common, whole)


def _read_clock(scale: int, offset: int, divisor: int, whole: bool, step: Number) -> Number:
    if type(step) is int:
        ticks = step * scale - offset
        return ticks // divisor if whole else ticks / divisor
    if max(int(step.max()) * scale, abs(offset), divisor) >= 2**53:
        step = step.astype(object)  # beyond exact floats: Python's integers
    ticks = step * scale - offset
    return (ticks // divisor if whole else ticks / divisor).astype(float)


def _held(rate: float) -> _Piece:
    return partial(_hold, rate)


def _hold(rate: float, step: Number) -> Number:
    return rate


def _running(curve: Curve, start: Fraction) -> _Piece:
    if curve.shape is flat:
        return _held(curve.numbers[0])
    return partial(_run_curve, curve.shape, curve.numbers, _clock(start, curve.unit, curve.stairs))


def _run_curve(shape: Callable[..., Number], numbers: tuple[float, ...], clock: _Piece, step: Number) -> Number:
    return shape(clock(step), *numbers)


def _reduced(plateau: Plateau, init: float, made: Sequence[int]) -> _Piece:
    """Return the rate after the reductions of an interval, each in force from the step after its own."""
    levels = tuple(plateau.rate(init, count) for count in range(len(made) + 1))
    return partial(_level, levels, tuple(made))


def _level(levels: tuple[float, ...], made: tuple[int, ...], step: Number) -> Number:
    if isinstance(step, np.ndarray):
        return np.array(levels)[np.searchsorted(made, step, side="left")]
    return levels[bisect_left(made, step)]


def _warm(before: float, running: _Piece, clock: _Piece, step: Number) -> Number:
    """Return the rate in a warm-up: from the rate just before it, frozen, to the running curve."""
    return mix(before, running(step), clock(step))


@dataclass(frozen=True)
class _Timeline:
    """pieces[0] serves the steps before bounds[0], pieces[i + 1] those from bounds[i] on."""

    bounds: Sequence[int]
    pieces: Sequence[_Piece]

    def rate(self, step: int) -> float:
        rate: float = self.pieces[bisect_right(self.bounds, step)](step)
        return rate

    def rates(self, steps: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        most = min(np.iinfo(steps.dtype).max, _FAR)
        flat = np.minimum(steps.ravel(), steps.dtype.type(most)).astype(np.int64)
        which = np.searchsorted(np.array(self.bounds, dtype=np.int64), flat, side="right")
        rates = np.empty(flat.shape)
        for index in np.unique(which):
            rates[which == index] = self.pieces[index](flat[which == index])
        return rates.reshape(steps.shape)


def _join(base: float, placed: Sequence[Spell], reductions: Sequence[int] = ()) -> _Timeline:
    """Return the intervals end to end, each at its start; only this knows of warm-ups, gaps and ends."""
    bounds: list[int] = []
    pieces = [_held(base)]
    runs: dict[object, list[tuple[int, _Piece]]] = {}
    for spell in placed:
        first = math.ceil(spell.begin)
        if spell.interval is None:
            runs[spell.run] = [(first, _held(base))]
        elif spell.run not in runs:
            began = math.ceil(spell.start)
            before = _Timeline(bounds, pieces).rate(began - 1) if began > 0 else 0.0
            spells = _spells_of(spell.run, placed)
            runs[spell.run] = _run(spell.interval, spell.start, before, spells, reductions)
        parts = runs[spell.run]
        while bounds and bounds[-1] >= first:  # what the interval before would have done from here on
            bounds.pop()
            pieces.pop()
        ahead = bisect_right([bound for bound, _ in parts], first)
        bounds += [first, *(bound for bound, _ in parts[ahead:])]
        pieces += [piece for _, piece in parts[ahead - 1 :]]
    return _Timeline(tuple(bounds), tuple(pieces))


def _run(
    interval: Interval, start: Fraction, before: float, spells: Sequence[tuple[int, int]], reductions: Sequence[int]
) -> list[tuple[int, _Piece]]:
    """Return what an interval does from `start` on, if nothing comes after it: pieces, each with its first step."""
    cycles = [(start + begin, curve) for begin, curve in interval.cycles()]
    running, last = _running(interval.curve, start), interval.last
    if interval.plateau:
        active = ActivePlateau(interval.plateau, interval.curve.numbers[0], math.ceil(start), spells)
        made = [step for step in active.made(reductions) if step < start + interval.span]
        running = _reduced(active.plateau, active.init, made)
        last = running(math.ceil(start + interval.span))
    ends = [
        (math.ceil(start + interval.warmup), running),
        *((math.ceil(begin), _running(curve, begin)) for begin, curve in cycles[1:]),
        (math.ceil(start + interval.span), _held(last)),
    ]
    if not interval.warmup:
        return ends
    return [(math.ceil(start), partial(_warm, before, running, _clock(start, interval.warmup))), *ends]


def _whole(step: Any) -> int:
    try:
        return operator.index(step)
    except TypeError:
        raise TypeError(f"a step must be an integer, not {step!r}") from None


class Schedule:
    """A rate as a pure function of the step; made by `build_schedules` and `parse_schedule`.

    Attributes:
        base: the base rate.
        depends_on_base: whether some of its rates are multiples of the base rate.
        follows_stages: whether it needs the curriculum's history.
        follows_evaluations: whether it needs the history of reductions.
        notes: what the user should know, of a schedule from `parse_schedule`; a network's are in `Schedules.notes`.
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
        self.follows_evaluations = any(interval.plateau for interval in intervals)
        self.notes = tuple(notes)
        self._intervals = tuple(intervals)
        self._pure = not (self.follows_stages or self.follows_evaluations)
        # The history last asked about, and what it made: most calls ask about the same.
        self._stages: tuple[tuple[int, int], ...] = ()
        self._reductions: tuple[int, ...] = ()
        self._timeline = _join(base, self._place(()))

    @overload
    def __call__(self, step: int, stages: History = (), reductions: Sequence[int] = ()) -> float: ...

    @overload
    def __call__(
        self, step: NDArray[np.integer[Any]], stages: History = (), reductions: Sequence[int] = ()
    ) -> NDArray[np.float64]: ...

    def __call__(
        self, step: int | NDArray[np.integer[Any]], stages: History = (), reductions: Sequence[int] = ()
    ) -> float | NDArray[np.float64]:
        """Return the rate at a global step, or the rates at an array of steps, in float64.

        Args:
            step: the step, or an array of steps of any shape, which is the result's too.
            stages: the curriculum's history, [(step of entry, stage), ...] in order; a schedule by time
                ignores it, one by stages has its base rate before the first entry.
            reductions: the steps of the evaluations that reduced the rate, in order, each in force for the
                steps after it; only a schedule with a reduce_on_plateau reads them.

        Raises:
            TypeError: for steps that are not integers.
            ValueError: for a history out of order.
        """
        self._follow(stages, reductions)
        if not isinstance(step, np.ndarray):
            return self._timeline.rate(_whole(step))
        if not np.issubdtype(step.dtype, np.integer):
            raise TypeError(f"steps must be integers, not {step.dtype}")
        return self._timeline.rates(step)

    def __repr__(self) -> str:
        """Return the base rate and what begins where: `<Schedule base=0.0001; from step 0 cosine 0.0001 to 1e-05>`."""
        parts = [interval.shown(self.follows_stages) for interval in self._intervals]
        return f"<{'; '.join([f'Schedule base={self.base:g}', *parts])}>"

    def next_bound(self, step: int, stages: History = (), reductions: Sequence[int] = ()) -> float:
        """Return the step after this one at which another formula comes into force; infinity where none does."""
        self._follow(stages, reductions)
        bounds = self._timeline.bounds
        return next((bound for bound in bounds if bound > step), math.inf)

    def plateau_at(self, step: int, stages: History = ()) -> ActivePlateau | None:
        """Return the reduce_on_plateau that an evaluation at this step belongs to; None where there is none."""
        placed = self._place(stages)
        spell = next((spell for spell in reversed(placed) if spell.begin <= step), None)
        interval = None if spell is None else spell.interval
        if spell is None or interval is None or interval.plateau is None or step >= spell.start + interval.span:
            return None
        spells = _spells_of(spell.run, placed)
        return ActivePlateau(interval.plateau, interval.curve.numbers[0], math.ceil(spell.start), spells)

    def describe(self) -> dict[str, Any]:
        """Return all that its rates depend on beside the history, as plain data: equal for equal schedules."""
        first = self._intervals[0] if self._intervals else None
        starts_late = first is None or (first.stage if self.follows_stages else first.start) > 0
        return {
            "base": self.base if starts_late else None,  # in force before the first interval alone
            "intervals": [interval.describe(self.follows_stages) for interval in self._intervals],
        }

    def _follow(self, stages: History, reductions: Sequence[int]) -> None:
        """Make the timeline that of this history."""
        if self._pure or (tuple(stages) == self._stages and tuple(reductions) == self._reductions):
            return
        history, made = tuple((int(step), int(stage)) for step, stage in stages), tuple(map(int, reductions))
        if (history, made) == (self._stages, self._reductions):
            return
        if any(later <= earlier for earlier, later in pairwise(made)):
            raise ValueError(f"reductions must be in order of steps, not {made}")
        self._timeline = _join(self.base, self._place(history), made)
        self._stages, self._reductions = history, made

    def _place(self, stages: History) -> list[Spell]:
        """Return what is in force, in the order in which it came into force."""
        if not self.follows_stages:
            return [Spell(interval.start, interval.start, interval) for interval in self._intervals]
        if any(later[0] < earlier[0] for earlier, later in pairwise(stages)):
            raise ValueError(f"the curriculum's history must be in order of steps, not {stages}")
        placed: list[Spell] = []
        entered: dict[int, Fraction] = {}  # when the stage of an interval was last entered
        before = -1
        for number, stage in stages:
            step, at = Fraction(number), None
            for interval in self._intervals:
                own = interval.stage
                if own == stage or before < own < stage or stage < own < before:  # entered, or passed through
                    entered[own] = step
                at = interval if own <= stage else at
            before = stage
            start = step if at is None else entered[at.stage]
            latest = placed[-1] if placed else Spell(step, step, None)
            if latest.interval is not at or (at is not None and latest.start != start):
                placed.append(Spell(step, start, at))
        return placed


class Schedules(Mapping[str, Schedule]):
    """The schedule of each network, by name.

    Attributes:
        notes: what the user should know, a line each.
    """

    def __init__(self, schedules: Mapping[str, Schedule], notes: Sequence[str] = ()) -> None:
        self._schedules = dict(schedules)
        self.notes = tuple(notes)

    def __repr__(self) -> str:
        return f"Schedules({self._schedules!r})"

    def __getitem__(self, network: str) -> Schedule:
        return self._schedules[network]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedules)

    def __len__(self) -> int:
        return len(self._schedules)
