"""The types of intervals: the keys that each reads, and the curve that it makes of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from glideslope.lr_scheduler.curves import (
    Curve,
    Number,
    cosine,
    exponential,
    flat,
    geometric,
    inverse_sqrt,
    linear,
    one_minus_sqrt,
    piecewise,
    polynomial,
)
from glideslope.lr_scheduler.faults import UNSET
from glideslope.lr_scheduler.plateau import MODES, Plateau
from glideslope.lr_scheduler.values import (
    Context,
    Report,
    choices,
    parse_count,
    parse_factor,
    parse_flag,
    parse_non_negative,
    parse_number,
    parse_points,
    parse_positive,
    parse_positive_time,
    parse_rate,
    parse_repeat,
    parse_stage,
    parse_time,
)


@dataclass(frozen=True)
class Entry:
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
        """The rate that the interval starts from after any warm-up; None only in an interval at fault."""
        if self.points:
            return self.points[0][1]
        rate: float | None = self.values.get("lr", self.values.get("init_lr"))
        return rate

    @property
    def points(self) -> Sequence[tuple[Fraction, float]]:
        """The points that the curve leads through, where its type does that."""
        return self.values.get("points", ()) if self.type == "piecewise_linear" else ()

    @property
    def repeat(self) -> int:
        """How often the curve is run through."""
        return self.values.get("repeat", 1) if self.type and "repeat" in SHAPES[self.type].keys else 1

    @property
    def cycle(self) -> Fraction | None:
        """The steps of one run through the curve; None: unknown."""
        return None if self.length is None else self.length / self.repeat

    def fault(self, report: Report, name: str, rule: str) -> None:
        report.fault(f"{self.key}.{name}", rule, self.raw.get(name, UNSET))

    def note(self, report: Report, name: str, rule: str) -> None:
        report.note(f"{self.key}.{name}", rule, self.raw.get(name, UNSET))


_Make: TypeAlias = Callable[[Entry, float, float | None, Report], Curve]


class Shape(NamedTuple):
    """A type of interval: the keys it reads beside lr (or init_lr), and what makes its curve."""

    keys: tuple[str, ...]
    make: _Make  # of the entry, its initial rate and the next interval's, where there is one


def _hold(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    return Curve(flat, (init,))


def _arrive(shape: Callable[..., Number], entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    """Return a curve from init_lr at t = 0 to final_lr, or else the next interval's starting rate, at t = T."""
    final = entry.values.get("final_lr", following)
    if entry.length is None and "final_lr" in entry.raw and "stage" in entry.raw:
        entry.fault(report, "duration", "is missing; final_lr is reached at its end")
    if entry.cycle is None or final is None:
        return _hold(entry, init, following, report)
    if shape is geometric and not (init and final):
        name = next(name for name in ("lr", "init_lr") if name in entry.raw)
        rule = f"no exponential path leads from {init:g} to {final:g}; use linear_decay"
        entry.fault(report, name, rule)
        return _hold(entry, init, following, report)
    power = (entry.values.get("power", 1.0),) if shape is polynomial else ()
    return Curve(shape, (init, final, *power), entry.cycle)


def _decay(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    given = [name for name in ("decay_rate", "decay_interval") if name in entry.raw]
    if not given:
        if "staircase" in entry.raw:
            entry.note(report, "staircase", "not used without decay_rate")
        return _arrive(geometric, entry, init, following, report)
    if "final_lr" in entry.raw:
        entry.fault(report, "final_lr", "give either final_lr, or decay_rate and decay_interval")
    if len(given) == 1:
        absent = "decay_interval" if given == ["decay_rate"] else "decay_rate"
        entry.fault(report, absent, f"is missing; it goes with {given[0]}")
        return _hold(entry, init, following, report)
    numbers = (init, entry.values["decay_rate"])
    if numbers[1] > 1:
        entry.note(report, "decay_rate", "greater than 1, so the rate grows")
    return Curve(exponential, numbers, entry.values["decay_interval"], entry.values.get("staircase", True))


def _inverse_root(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    if "decay_interval" in entry.values:
        return Curve(inverse_sqrt, (init,), entry.values["decay_interval"])
    if entry.cycle is None:
        rule = "holds its rate, since its length is unknown; give decay_interval or duration"
        report.note(entry.key, rule)
        return _hold(entry, init, following, report)
    return Curve(inverse_sqrt, (init,), entry.cycle / 10)


def _through_points(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    if not entry.points:  # a line to the next interval
        return _arrive(linear, entry, init, following, report)
    return Curve(piecewise, tuple(number for time, rate in entry.points for number in (float(time), rate)))


def _on_plateau(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    """Return a flat curve; `plateau_of` says what evaluations do to it."""
    if entry.values.get("min_lr", 0.0) > init:
        entry.fault(report, "min_lr", f"must not be greater than the initial rate, {init:g}")
    return _hold(entry, init, following, report)


_PLATEAU_KEYS = tuple(field.name for field in fields(Plateau))


def plateau_of(entry: Entry, modes: Mapping[str, str]) -> Plateau | None:
    """Return what evaluations do to the rate of an interval; None for a type that doesn't follow them."""
    if entry.type != "reduce_on_plateau":
        return None
    given = {name: entry.values[name] for name in _PLATEAU_KEYS if name in entry.values}
    return Plateau(**{"mode": modes.get(entry.values.get("metric", Plateau.metric), "max")} | given)


_CYCLES = ("repeat", "restart_factor")
SHAPES: Mapping[str, Shape] = {
    "constant": Shape((), _hold),
    "step_decay": Shape((), _hold),
    "exponential_decay": Shape(("final_lr", "decay_rate", "decay_interval", "staircase", *_CYCLES), _decay),
    "linear_decay": Shape(("final_lr", *_CYCLES), partial(_arrive, linear)),
    "cosine_decay": Shape(("final_lr", *_CYCLES), partial(_arrive, cosine)),
    "polynomial_decay": Shape(("final_lr", "power", *_CYCLES), partial(_arrive, polynomial)),
    "one_minus_sqrt": Shape(("final_lr", *_CYCLES), partial(_arrive, one_minus_sqrt)),
    "inverse_sqrt_decay": Shape(("decay_interval", *_CYCLES), _inverse_root),
    "piecewise_linear": Shape(("points", "final_lr", "repeat"), _through_points),
    "reduce_on_plateau": Shape(_PLATEAU_KEYS, _on_plateau),
}
SHAPE_KEYS = {name for shape in SHAPES.values() for name in shape.keys}


def parse_type(value: object, context: Context) -> str:
    if not isinstance(value, str) or value not in SHAPES:
        raise ValueError(f"an unknown type; {choices(value, SHAPES, 'types')}")
    return value


def parse_metric(value: object, context: Context) -> str:
    if context.metrics is not None and (not isinstance(value, str) or value not in context.metrics):
        raise ValueError(f"an unknown metric; {choices(value, context.metrics, 'metrics')}")
    if not isinstance(value, str) or not value:
        raise ValueError("must be the name of a metric")
    return value


def parse_mode(value: object, context: Context) -> str:
    if not isinstance(value, str) or value not in MODES:
        raise ValueError(f"an unknown mode; {choices(value, MODES, 'modes')}")
    return value


KEYS: Mapping[str, Callable[[object, Context], Any]] = {
    "type": parse_type,
    "start": parse_time,
    "end": parse_time,
    "stage": parse_stage,
    "duration": parse_positive_time,
    "lr": parse_rate,
    "init_lr": parse_rate,
    "final_lr": parse_rate,
    "decay_rate": parse_positive,
    "decay_interval": parse_positive_time,
    "staircase": parse_flag,
    "power": parse_positive,
    "points": parse_points,
    "repeat": parse_repeat,
    "restart_factor": parse_positive,
    "warmup": parse_time,
    "metric": parse_metric,
    "factor": parse_factor,
    "mode": parse_mode,
    "patience": parse_count,
    "min_delta": parse_non_negative,
    "cooldown": parse_count,
    "min_lr": parse_rate,
    "start_after": parse_time,
    "min_value": parse_number,
}
