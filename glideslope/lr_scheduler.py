"""Learning-rate schedules: settings in, a rate for each network and step out, and into a PyTorch optimizer.

A schedule is a pure function of the step (and of the curriculum's history, where it follows that),
computed in float64 from a closed form. It answers the same in any order of asking, for one step and
for an array of steps::

    rate(step) = base                                    before the first interval
               = curve_i(t)                              t = step - start_i, start_i <= step < end_i
               = r0 + (curve_i(t) - r0) * t / warmup_i   there, t < warmup_i (r0: the rate just before)
               = curve_i(end_i - start_i)                in a gap, and after the last end

>>> schedules = build_schedules(
...     {"actor": {"type": "step_decay", "intervals": [{"end": "50%", "lr": "1x"}, {"lr": "0.5x"}]}},
...     base={"encoder": 1e-4, "actor": 1e-4, "critic": 3e-4}, total_steps=6_000_000)
>>> [schedules["actor"](step) for step in (0, 2_999_999, 3_000_000, 10**9)]
[0.0001, 0.0001, 5e-05, 5e-05]
>>> schedules["critic"](3_000_000)
0.0003

The parts, in order: shapes are pure functions; a setting's value is parsed; a type makes an interval's
curve of parsed values; a list of intervals is put in its place; `_join` alone knows of warm-ups, gaps
and ends. Times are exact fractions up to the last division.
"""

from __future__ import annotations

import math
import operator
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from itertools import pairwise
from numbers import Rational, Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = [
    "SHAPES",
    "Schedule",
    "ScheduleError",
    "Schedules",
    "build_schedules",
    "parse_stddev",
    "read_lr",
    "write_lr",
]

History: TypeAlias = Sequence[tuple[int, int]]
Number: TypeAlias = Any  # a float or an array of float64: the shapes serve both

_LONGEST_RUN = 10**15  # steps; keeps every boundary well inside an int64
_INFINITE = sys.float_info.max


class ScheduleError(ValueError):
    """A schedule that cannot be used. `faults`: every fault found, a line each, as `key=value: rule`."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


# --- Shapes: pure functions of x, the time since the interval's start in the shape's own unit -----


def _each(function: Callable[[float], float], x: Number) -> Number:
    """function(x); for an array the same call for each element, so that both agree to the last bit."""
    if isinstance(x, np.ndarray):
        return np.fromiter(map(function, x.tolist()), float, x.size)
    return function(x)


def _mix(a: Number, b: Number, x: Number) -> Number:
    """a + (b - a) x, so rounded that it is a at 0, b at 1, and in the range between them for x in [0, 1]."""
    if isinstance(x, np.ndarray):
        return np.where(x < 0.5, a + (b - a) * x, b - (b - a) * (1.0 - x))
    return a + (b - a) * x if x < 0.5 else b - (b - a) * (1.0 - x)


def _flat(x: Number, lr: float) -> Number:
    return lr


def _linear(x: Number, init: float, final: float) -> Number:
    return _mix(init, final, x)


def _cosine(x: Number, init: float, final: float) -> Number:
    return _mix(init, final, 0.5 * (1.0 - _each(math.cos, math.pi * x)))


def _polynomial(x: Number, init: float, final: float, power: float) -> Number:
    return _mix(init, final, 1.0 - _each(lambda left: left**power, 1.0 - x))


def _geometric(x: Number, init: float, final: float) -> Number:
    """init (final / init)^x, through logarithms, since the ratio of two rates can overflow."""
    log_init, log_final = math.log(init), math.log(final)
    low, high = min(init, final), max(init, final)

    def at(x: float) -> float:
        if x in (0, 1):
            return final if x else init
        return min(max(math.exp(_mix(log_init, log_final, x)), low), high)

    return _each(at, x)


def _exponential(x: Number, init: float, decay_rate: float) -> Number:
    return init * _each(lambda n: decay_rate**n, x)


def _inverse_sqrt(x: Number, init: float) -> Number:
    return init / _each(math.sqrt, 1.0 + x)


@dataclass(frozen=True)
class _Curve:
    """A shape with its numbers: the rate as a function of t, the steps since the interval's start."""

    shape: Callable[..., Number]
    numbers: tuple[float, ...]
    unit: Fraction = Fraction(1)  # steps in one unit of the shape's x
    stairs: bool = False  # x is rounded down

    def at(self, t: Fraction) -> float:
        x = t / self.unit
        try:
            return float(self.shape(math.floor(x) if self.stairs else float(x), *self.numbers))
        except OverflowError:
            return math.inf


# --- Values: what may be written, and what it means -----------------------------------------------


@dataclass(frozen=True)
class _Context:
    """What the values of one network's schedule are measured by."""

    base: float
    total: int
    stage_names: tuple[str, ...] = ()
    max_rate: float | None = None
    hint: str = ""  # what to do where there are no intervals

    @property
    def largest(self) -> float:
        return _INFINITE if self.max_rate is None else self.max_rate


_DECIMAL = r"[+-]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d{1,3})?"
_RATE = re.compile(rf"({_DECIMAL})\s*(x?)")
_TIME = re.compile(rf"({_DECIMAL})\s*([%kKM]?)")
_SHARE = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")
_UNITS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_RATE_RULE = "a rate is a number (1.0e-4) or a multiple of the base rate (0.5x)"
_TIME_RULE = "a time is a number of steps (1000000, 1.0e6, 250k, 1M) or a share of training (40%, 2/5)"


def _exact(value: object, rule: str) -> Fraction:
    """A number as the decimal that was written, so that 0.7 times 1e-4 is 7e-05 to the last digit."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise ValueError(rule)
    if isinstance(value, Rational):
        number = Fraction(int(value.numerator), int(value.denominator))
    else:
        text = value.strip() if isinstance(value, str) else repr(float(value))
        if text.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
            raise ValueError("must be a finite number")
        if not re.fullmatch(_DECIMAL, text):
            raise ValueError(rule)
        number = Fraction(text.replace("_", ""))
    if abs(number) > _INFINITE:
        raise ValueError("must be a finite number")
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _parse_rate(value: object, context: _Context) -> float:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    relative = match is not None and match[2] == "x"
    rate = _exact(match[1] if match else value, _RATE_RULE)
    if relative:
        rate *= Fraction(repr(context.base))
    if rate > context.largest:
        becomes = f", here {float(min(rate, Fraction(_INFINITE))):g}," if relative else ""
        raise ValueError(f"a rate{becomes} must not be greater than {context.largest:g}")
    return float(rate)


def _parse_time(value: object, context: _Context) -> Fraction:
    """Steps, exactly; a share of training may fall between two of them."""
    text = value.strip() if isinstance(value, str) else ""
    if share := _SHARE.fullmatch(text):
        if int(share[2]) == 0:
            raise ValueError("a share must not divide by zero")
        steps = Fraction(int(share[1]), int(share[2])) * context.total
    else:
        match = _TIME.fullmatch(text)
        steps = _exact(match[1] if match else value, _TIME_RULE)
        if match and match[2] == "%":
            steps *= Fraction(context.total, 100)
        else:
            steps *= _UNITS[match[2] if match else ""]
            if steps.denominator != 1:
                raise ValueError("steps are whole numbers; a share of training is written 50% or 1/2")
    if steps < 0:
        raise ValueError("must not be negative")
    if steps > _LONGEST_RUN:
        raise ValueError("must not be more than 1e15 steps")
    return steps


def _parse_positive_time(value: object, context: _Context) -> Fraction:
    if not (steps := _parse_time(value, context)):
        raise ValueError("must be greater than 0")
    return steps


def _parse_positive(value: object, context: _Context) -> float:
    if not (number := float(_exact(value, "must be a number"))):
        raise ValueError("must be greater than 0")
    return number


def _parse_flag(value: object, context: _Context) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _parse_type(value: object, context: _Context) -> str:
    if not isinstance(value, str) or value not in SHAPES:
        kind = "not available yet" if value in _LATER else "an unknown type"
        raise ValueError(f"{kind}; {_choices(value, SHAPES, 'types')}")
    return value


def _parse_stage(value: object, context: _Context) -> int:
    """A stage's index; numbers beyond the curriculum are allowed."""
    if isinstance(value, str) and value in context.stage_names:
        return context.stage_names.index(value)
    if isinstance(value, str) and not re.fullmatch(r"[+-]?\d+", value):
        raise ValueError(f"an unknown stage; {_choices(value, context.stage_names, 'stages')}")
    number = _exact(value, "a stage is named, or numbered from 0")
    if number.denominator != 1:
        raise ValueError("a stage is named, or numbered from 0")
    return int(number)


_KEYS: Mapping[str, Callable[[object, _Context], Any]] = {
    "type": _parse_type,
    "start": _parse_time,
    "end": _parse_time,
    "stage": _parse_stage,
    "duration": _parse_positive_time,
    "lr": _parse_rate,
    "init_lr": _parse_rate,
    "final_lr": _parse_rate,
    "decay_rate": _parse_positive,
    "decay_interval": _parse_positive_time,
    "staircase": _parse_flag,
    "power": _parse_positive,
    "warmup": _parse_time,
}


class _Report:
    """Collects the faults, to be raised together, and the notes."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.notes: list[str] = []

    def fault(self, key: str, rule: str, value: object = None) -> None:
        self.faults.append(_line(key, rule, value))

    def note(self, key: str, rule: str, value: object = None) -> None:
        self.notes.append(_line(key, rule, value))


def _line(key: str, rule: str, value: object) -> str:
    shown = "" if value is None else f"={value}"
    return f"{key}{shown if len(shown) <= 80 else shown[:77] + '...'}: {rule}"


def _choices(name: object, options: Iterable[str], plural: str) -> str:
    """The nearest of the options, where one is near, and all of them."""
    names = list(options)
    near = [option for option in names if name and option.startswith(str(name))]
    near = get_close_matches(str(name), names, n=1) or near
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}the {plural} are {', '.join(names)}" if names else f"there are no {plural}"


# --- Types: what each reads, and the curve it makes -----------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One interval as written: `raw` holds the values given, `values` those that could be parsed."""

    key: str
    raw: Mapping[str, Any]
    values: Mapping[str, Any]
    type: str | None
    sound: bool  # no fault so far
    start: Fraction | None = None
    length: Fraction | None = None  # T; None: unknown

    @property
    def init(self) -> float | None:
        """The rate the interval starts from, its warm-up aside; None only in an interval at fault."""
        rate: float | None = self.values.get("lr", self.values.get("init_lr"))
        return rate

    def fault(self, report: _Report, name: str, rule: str) -> None:
        report.fault(f"{self.key}.{name}", rule, self.raw.get(name))

    def note(self, report: _Report, name: str, rule: str) -> None:
        report.note(f"{self.key}.{name}", rule, self.raw.get(name))


_Make: TypeAlias = Callable[[_Entry, float, float | None, _Report], _Curve]


class Shape(NamedTuple):
    """A type of interval: the keys it reads beside lr (or init_lr), and what makes its curve."""

    keys: tuple[str, ...]
    make: _Make  # of the entry, its initial rate and the next interval's, where there is one


def _hold(entry: _Entry, init: float, following: float | None, report: _Report) -> _Curve:
    return _Curve(_flat, (init,))


def _arrive(shape: Callable[..., Number]) -> _Make:
    """From init_lr at t = 0 to final_lr, or else the next interval's starting rate, at t = T."""

    def make(entry: _Entry, init: float, following: float | None, report: _Report) -> _Curve:
        final = entry.values.get("final_lr", following)
        if entry.length is None and "final_lr" in entry.raw and "stage" in entry.raw:
            entry.fault(report, "duration", "is missing; final_lr is reached at its end")
        if entry.length is None or final is None:
            return _hold(entry, init, following, report)
        if shape is _geometric and not (init and final):
            name = next(name for name in ("lr", "init_lr") if name in entry.raw)
            rule = f"no exponential path leads from {init:g} to {final:g}; use linear_decay"
            entry.fault(report, name, rule)
            return _hold(entry, init, following, report)
        power = (entry.values.get("power", 1.0),) if shape is _polynomial else ()
        return _Curve(shape, (init, final, *power), entry.length)

    return make


def _decay(entry: _Entry, init: float, following: float | None, report: _Report) -> _Curve:
    given = [name for name in ("decay_rate", "decay_interval") if name in entry.raw]
    if not given:
        if "staircase" in entry.raw:
            entry.note(report, "staircase", "not used without decay_rate")
        return _arrive(_geometric)(entry, init, following, report)
    if "final_lr" in entry.raw:
        entry.fault(report, "final_lr", "give either final_lr, or decay_rate and decay_interval")
    if len(given) == 1:
        absent = "decay_interval" if given == ["decay_rate"] else "decay_rate"
        entry.fault(report, absent, f"is missing; it goes with {given[0]}")
        return _hold(entry, init, following, report)
    numbers = (init, entry.values["decay_rate"])
    if numbers[1] > 1:
        entry.note(report, "decay_rate", "greater than 1, so the rate grows")
    return _Curve(_exponential, numbers, entry.values["decay_interval"], entry.values.get("staircase", True))


def _inverse_root(entry: _Entry, init: float, following: float | None, report: _Report) -> _Curve:
    if "decay_interval" in entry.values:
        return _Curve(_inverse_sqrt, (init,), entry.values["decay_interval"])
    if entry.length is None:
        rule = "holds its rate, since its length is unknown; give decay_interval or duration"
        report.note(entry.key, rule)
        return _hold(entry, init, following, report)
    return _Curve(_inverse_sqrt, (init,), entry.length / 10)


SHAPES: Mapping[str, Shape] = {
    "constant": Shape((), _hold),
    "step_decay": Shape((), _hold),
    "exponential_decay": Shape(("final_lr", "decay_rate", "decay_interval", "staircase"), _decay),
    "linear_decay": Shape(("final_lr",), _arrive(_linear)),
    "cosine_decay": Shape(("final_lr",), _arrive(_cosine)),
    "polynomial_decay": Shape(("final_lr", "power"), _arrive(_polynomial)),
    "inverse_sqrt_decay": Shape(("decay_interval",), _inverse_root),
}
_LATER = ("reduce_on_plateau",)
_SHAPE_KEYS = {name for shape in SHAPES.values() for name in shape.keys}


# --- Intervals: read, placed, made ----------------------------------------------------------------


@dataclass(frozen=True)
class _Interval:
    curve: _Curve
    span: Fraction  # the curve runs this long, then holds
    warmup: Fraction = Fraction(0)
    start: Fraction = Fraction(0)
    stage: int = 0


def _read_entry(
    raw: object, key: str, default_type: str | None, context: _Context, report: _Report
) -> _Entry | None:
    if not isinstance(raw, Mapping):
        report.fault(key, "an interval is a mapping, such as {start: 0, end: 1M, lr: 1.0e-4}", raw)
        return None
    faults = len(report.faults)
    given = {str(name): value for name, value in raw.items() if value is not None}
    values = {}
    for name, value in given.items():
        if name not in _KEYS:
            report.fault(f"{key}.{name}", f"an unknown key; {_choices(name, _KEYS, 'keys')}", value)
            continue
        try:
            values[name] = _KEYS[name](value, context)
        except ValueError as problem:
            report.fault(f"{key}.{name}", str(problem), value)
    if "lr" in given and "init_lr" in given:
        report.fault(f"{key}.init_lr", "lr and init_lr are one thing; give one of them", given["init_lr"])
    elif not ("lr" in given or "init_lr" in given):
        report.fault(f"{key}.lr", "is missing; an interval starts from lr (or init_lr)")
    chosen = values.get("type") if "type" in given else default_type
    return _Entry(key, given, values, chosen, sound=chosen is not None and len(report.faults) == faults)


def _place_in_time(entries: Sequence[_Entry], context: _Context, report: _Report) -> list[_Entry]:
    """Fill in the missing starts and ends; refuse what is out of order or overlaps."""
    placed: list[_Entry] = []
    for i, entry in enumerate(entries):
        before, after = entries[i - 1] if i else None, entries[i + 1] if i + 1 < len(entries) else None
        start, end = entry.values.get("start"), entry.values.get("end")
        if "start" not in entry.raw:
            start = before.values.get("end") if before else Fraction(0)
            if before and "end" not in before.raw:
                entry.fault(report, "start", f"is missing, and so is {before.key}.end; give one of them")
        if "end" not in entry.raw:
            end = after.values.get("start") if after else Fraction(context.total)
        if "duration" in entry.raw:
            entry.fault(report, "duration", "belongs to an interval with a stage; give its end")
        length = end - start if start is not None and end is not None and end > start else None
        if start is not None and start >= context.total:
            entry.note(report, "start", f"never reached: training ends at step {context.total}")
        if start is not None and "end" in entry.values and length is None:
            shown = entry.raw.get("start", _steps(start))
            entry.fault(report, "end", f"must be greater than the start, {shown}")
        if length is not None and entry.values.get("warmup", 0) > length:
            entry.fault(report, "warmup", f"longer than its interval, which has {_steps(length)} steps")
        placed.append(replace(entry, start=start, length=length))
    for i, later in enumerate(placed):
        # The nearest clash is enough for a user to mend.
        any(_refuse_overlap(earlier, later, report) for earlier in reversed(placed[:i]))
    return placed


def _refuse_overlap(earlier: _Entry, later: _Entry, report: _Report) -> bool:
    """Report it where these two, in this order, cannot stand in one list."""
    if earlier.start is None or later.start is None:
        return False
    end, other = earlier.values.get("end"), f"interval {earlier.key.rsplit('.', 1)[1]}"
    if later.start < earlier.start:
        rule = f"intervals are listed in order, but {other} starts later, at step {_steps(earlier.start)}"
    elif later.start == earlier.start:
        mend = f"; mend it with {later.key}.start={earlier.raw['end']}" if end is not None else ""
        rule = f"{other} starts there too{mend}"
    elif end is not None and later.start < end:
        own = _steps(later.start) + (f" to {_steps(later.start + later.length)}" if later.length else " on")
        mend = f"{earlier.key}.end={later.raw.get('start', _steps(later.start))}"
        rule = f"steps {own} overlap {other}, {_steps(earlier.start)} to {_steps(end)}; mend it with {mend}"
    else:
        return False
    later.fault(report, "start", rule)
    return True


def _steps(time: Fraction) -> str:
    return f"{float(time):.15g}"


def _place_in_stages(entries: Sequence[_Entry], context: _Context, report: _Report) -> list[_Entry]:
    previous = -1
    for entry in entries:
        clash = [name for name in ("start", "end") if name in entry.raw]
        for name in clash:
            entry.fault(report, name, "times and stages do not mix in one list of intervals")
        if "stage" not in entry.raw and not clash:
            entry.fault(report, "stage", "is missing; the other intervals of this list have one")
        stage = entry.values.get("stage", previous + 1)
        if stage <= previous:
            entry.fault(report, "stage", f"listed after stage {previous}; stages are in order, once each")
        if "stage" in entry.values and stage >= len(context.stage_names):
            last = f"the last stage is {len(context.stage_names) - 1}" if context.stage_names else "no stages"
            entry.note(report, "stage", f"never reached: {last}")
        if "duration" in entry.values and entry.values.get("warmup", 0) > entry.values["duration"]:
            entry.fault(report, "warmup", f"longer than the duration, {entry.raw['duration']}")
        previous = max(stage, previous)
    return [replace(entry, length=entry.values.get("duration")) for entry in entries]


def _make_interval(
    entry: _Entry, following: float | None, context: _Context, report: _Report
) -> _Interval | None:
    """The interval of an entry that has its place; None for one at fault."""
    if not entry.sound or entry.type is None or entry.init is None:
        return None
    shape = SHAPES[entry.type]
    for name in entry.raw:
        if name in _SHAPE_KEYS and name not in shape.keys:
            users = ", ".join(other for other in SHAPES if name in SHAPES[other].keys)
            entry.note(report, name, f"not used by {entry.type}, only by {users}")
    curve = shape.make(entry, entry.init, following, report)
    warmup = entry.values.get("warmup", Fraction(0))
    span = max(Fraction(context.total) if entry.length is None else entry.length, warmup)
    peak = max(entry.init, curve.at(span))
    if peak > context.largest:
        rule = f"the rate grows to {peak:g}; it must not be greater than {context.largest:g}"
        entry.fault(report, "decay_rate", rule)
    elif context.max_rate is not None and 0 < 10 * context.base <= peak * (1 + 1e-12):
        name = "lr" if "lr" in entry.raw else "init_lr"
        entry.note(report, name, f"the rate reaches {peak:g}, {peak / context.base:.4g} times the base rate")
    return _Interval(curve, span, warmup, entry.start or Fraction(0), entry.values.get("stage", 0))


def _read_network(raw: object, key: str, context: _Context, report: _Report) -> Schedule:
    """One network's schedule; a stand-in where a fault has been reported."""
    constant = Schedule(context.base)
    if raw is None:
        return constant
    if not isinstance(raw, Mapping):
        report.fault(key, "must be a mapping with type and intervals", raw)
        return constant
    for name in raw:
        if name not in ("type", "intervals"):
            rule = f"an unknown key; {_choices(name, ('type', 'intervals'), 'keys')}"
            if name in _KEYS:
                rule = f"belongs to an interval, as {key}.intervals.0.{name}"
            report.fault(f"{key}.{name}", rule, raw[name])
    default_type = None
    if raw.get("type") is not None:
        try:
            default_type = _parse_type(raw["type"], context)
        except ValueError as problem:
            report.fault(f"{key}.type", str(problem), raw["type"])
    items = raw.get("intervals")
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        found = "is missing" if items is None else "must be a list of one interval or more"
        report.fault(f"{key}.intervals", f"{found}{context.hint}", items)
        return constant
    read = [
        _read_entry(item, f"{key}.intervals.{i}", default_type, context, report)
        for i, item in enumerate(items)
    ]
    entries = [entry for entry in read if entry is not None]
    if raw.get("type") is None and any("type" not in entry.raw for entry in entries):
        report.fault(f"{key}.type", f"is missing; {_choices('', SHAPES, 'types')}")
    return _assemble(entries, context, report) if len(entries) == len(items) else constant


def _assemble(entries: Sequence[_Entry], context: _Context, report: _Report) -> Schedule:
    """The schedule of a network's intervals; a stand-in where a fault has been reported."""
    staged = any("stage" in entry.raw for entry in entries)
    placed = (_place_in_stages if staged else _place_in_time)(entries, context, report)
    following = [entry.init for entry in placed[1:]] + [None]
    made = [
        _make_interval(entry, rate, context, report) for entry, rate in zip(placed, following, strict=True)
    ]
    intervals = [interval for interval in made if interval is not None]
    if len(intervals) < len(placed):
        return Schedule(context.base)
    starts_late = intervals[0].stage > 0 if staged else intervals[0].start > 0
    return Schedule(context.base, intervals, starts_late or any(map(_is_relative, placed)), staged)


def _is_relative(entry: _Entry) -> bool:
    """Whether a rate that its curve uses is a multiple of the base rate."""
    final = entry.type is not None and "final_lr" in SHAPES[entry.type].keys
    names = ("lr", "init_lr", "final_lr") if final else ("lr", "init_lr")
    return any(str(entry.raw.get(name)).strip().endswith("x") for name in names)


# --- Schedules: intervals joined, and asked -------------------------------------------------------


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


def _running(curve: _Curve, start: Fraction) -> _Piece:
    if curve.shape is _flat:
        return _held(curve.numbers[0])
    shape, numbers, clock = curve.shape, curve.numbers, _clock(start, curve.unit, curve.stairs)
    return lambda step: shape(clock(step), *numbers)


def _ramp(before: float, running: _Piece, clock: _Piece) -> _Piece:
    """The warm-up: from the rate in force just before, frozen, to the running curve."""
    return lambda step: _mix(before, running(step), clock(step))


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


def _join(base: float, placed: Iterable[tuple[Fraction, _Interval]]) -> _Timeline:
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
        intervals: Sequence[_Interval] = (),
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
        placed: list[tuple[Fraction, _Interval]] = []
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


def build_schedules(
    config: Mapping[str, Any] | None,
    *,
    base: Mapping[str, float],
    total_steps: int,
    stage_names: Sequence[str] = (),
    key: str = "lr_schedule",
    max_rate: float | None = 1.0,
    given: Mapping[str, str] | None = None,
) -> Schedules:
    """Read the settings of a schedule for each network of `base`.

    Args:
        config: {network: {type, intervals: [{start, end, lr, ...}]}}; a network left out keeps its base
            rate, and with None all do.
        base: each network's base rate, of which rates such as 0.5x are multiples.
        total_steps: global steps of the whole training, of which times such as 40% are shares.
        stage_names: the curriculum's stages in order, for intervals that name a stage.
        key: the name of these settings, for messages.
        max_rate: no rate may be greater; None for no limit.
        given: for each network, the key that the user typed for its base rate ("lr", say), to note
            where it has no effect.

    Raises:
        ScheduleError: with every fault of the settings.
        ValueError: for a base rate or a total that cannot be used.
    """
    preset = f"{key}=gentle_decay, say"
    hint = f"; choose a preset first ({preset}), or list the intervals"
    contexts = {
        network: _context(rate, total_steps, stage_names, max_rate, hint) for network, rate in base.items()
    }
    report = _Report()
    networks = config if isinstance(config, Mapping) else {}
    if config is not None and not isinstance(config, Mapping):
        rule = f"must be null or a mapping of {', '.join(base)}; a preset is chosen with {preset}"
        report.fault(key, rule, config)
    if key in networks and key not in base:
        report.fault(f"{key}.{key}", "add `# @package _global_` as the first line of the preset file")
        networks = {}
    for name in networks:
        if name not in base:
            rule = f"an unknown network; {_choices(name, base, 'networks')}"
            report.fault(f"{key}.{name}", rule, networks[name])
    schedules = {
        network: _read_network(networks.get(network), f"{key}.{network}", context, report)
        for network, context in contexts.items()
    }
    if report.faults:
        raise ScheduleError(report.faults)
    for name in dict.fromkeys((given or {}).values()):
        users = [network for network, typed in (given or {}).items() if typed == name]
        if not any(schedules[network].depends_on_base for network in users):
            report.note(name, f"has no effect: every rate of {', '.join(users)} in {key} is absolute")
    return Schedules(schedules, report.notes)


def _context(
    base: float, total: int, stages: Sequence[str], max_rate: float | None, hint: str = ""
) -> _Context:
    context = _Context(float(base), operator.index(total), tuple(stages), max_rate, hint)
    if not 0 <= context.base <= context.largest:
        raise ValueError(f"a base rate must be from 0 to {context.largest:g}, not {base}")
    if not 1 <= total <= _LONGEST_RUN:
        raise ValueError(f"the total steps must be from 1 to 1e15, not {total}")
    return context


# --- Exploration noise ----------------------------------------------------------------------------

_NOISE = {
    "linear": ("init", "final", "duration"),
    "step_linear": ("init", "final1", "duration1", "final2", "duration2"),
}


def parse_stddev(
    value: Mapping[str, Any] | float | str | None,
    *,
    base: float = 1.0,
    total_steps: int,
    stage_names: Sequence[str] = (),
    key: str = "stddev_schedule",
) -> Schedule:
    """The standard deviation of the exploration noise over global steps, with no upper bound.

    `value` is a number; or {type, intervals} as for one network in `build_schedules`; or a string of
    DrQ-v2 (Yarats et al. 2021, utils.schedule), `linear(init,final,duration)` or
    `step_linear(init,final1,duration1,final2,duration2)`, in which rates such as 0.5x and times such as
    40% are understood too. None is `base`. Raises ScheduleError with every fault.
    """
    context, report = _context(base, total_steps, stage_names, None), _Report()
    if value is None or isinstance(value, Mapping):
        schedule = _read_network(value, key, context, report)
    else:
        schedule = _read_noise(value, key, context, report)
    if report.faults:
        raise ScheduleError(report.faults)
    schedule.notes = tuple(report.notes)
    return schedule


def _read_noise(value: object, key: str, context: _Context, report: _Report) -> Schedule:
    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", value) if isinstance(value, str) else None
    names = _NOISE.get(call[1], ()) if call else ("number",)
    words = [word.strip() for word in call[2].split(",")] if call else [value]
    if len(words) != len(names):
        forms = ", ".join(f"{form}({','.join(arguments)})" for form, arguments in _NOISE.items())
        report.fault(key, f"must be a number, a mapping with type and intervals, or one of {forms}", value)
        return Schedule(context.base)
    numbers: list[Any] = []
    for name, word in zip(names, words, strict=True):
        parse: Callable[[object, _Context], Any] = _parse_rate
        if name.startswith("duration"):
            parse = _parse_positive_time
        try:
            numbers.append(parse(word, context))
        except ValueError as problem:
            report.fault(key, f"{name} {word}: {problem}" if call else str(problem), value)
    if report.faults:
        return Schedule(context.base)
    if not call:
        intervals = [_Interval(_Curve(_flat, (numbers[0],)), Fraction(context.total))]
    else:
        intervals = [_Interval(_Curve(_linear, (numbers[0], numbers[1]), numbers[2]), numbers[2])]
    if len(numbers) == 5:
        curve = _Curve(_linear, (numbers[1], numbers[3]), numbers[4])
        intervals.append(_Interval(curve, numbers[4], start=numbers[2]))
    return Schedule(context.base, intervals, any(str(word).endswith("x") for word in words))


# --- Optimizers -----------------------------------------------------------------------------------


def write_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every parameter group's rate to lr times the group's `lr_scale` (1 where it has none).

    A rate that is a tensor is filled in place, without a device synchronisation, and stays the object that
    captured graphs hold on to: where `load_state_dict` has put another, the first one is put back. (Write
    once before loading where groups were given tensors of their own.) A rate that is a number is compared
    with what the optimizer really holds, and left alone where they agree.
    Raises ValueError for a rate that is negative or not finite.
    """
    import torch

    if not 0 <= lr <= _INFINITE:
        raise ValueError(f"a learning rate must be finite and not negative, not {lr}")
    tensors: dict[int, torch.Tensor | None] = vars(optimizer).setdefault("_rate_tensors", {})
    for index, group in enumerate(optimizer.param_groups):
        rate = lr * group.get("lr_scale", 1.0)
        if index not in tensors:
            tensors[index] = _own_tensor(optimizer, group, tensors)
        tensor = tensors[index]
        if tensor is None:
            if isinstance(group["lr"], torch.Tensor) or group["lr"] != rate:
                group["lr"] = rate
        else:
            group["lr"] = tensor
            with torch.no_grad():
                tensor.fill_(rate)


def _own_tensor(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], taken: Mapping[int, torch.Tensor | None]
) -> torch.Tensor | None:
    """The tensor that holds this group's rate from now on; None for a group whose rate is a number."""
    import torch

    held, default = group["lr"], optimizer.defaults.get("lr")
    replaced = all(other["lr"] is not default for other in optimizer.param_groups)
    if isinstance(default, torch.Tensor) and (replaced or not isinstance(held, torch.Tensor)):
        held = default  # what the optimizer was made with, before load_state_dict put something else there
    if not isinstance(held, torch.Tensor):
        return None
    # A tensor given for the whole optimizer is shared by its groups, whose scales may differ.
    return held.detach().clone() if any(held is tensor for tensor in taken.values()) else held


def read_lr(optimizer: torch.optim.Optimizer) -> float:
    """The rate that the optimizer really holds, without `lr_scale`: that of its first group not scaled by 0.

    Waits for the device where the rate is a tensor there. Raises ValueError where every scale is 0.
    """
    for group in optimizer.param_groups:
        if scale := group.get("lr_scale", 1.0):
            return float(group["lr"]) / float(scale)
    raise ValueError("no parameter group has an lr_scale other than 0")
