"""The types of intervals: the keys that each reads, and the curve that it makes of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    polynomial,
)
from glideslope.lr_scheduler.faults import UNSET
from glideslope.lr_scheduler.plateau import METRICS, Plateau
from glideslope.lr_scheduler.values import (
    Context,
    Report,
    choices,
    parse_count,
    parse_factor,
    parse_flag,
    parse_non_negative,
    parse_positive,
    parse_positive_time,
    parse_rate,
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
        rate: float | None = self.values.get("lr", self.values.get("init_lr"))
        return rate

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
    if entry.length is None or final is None:
        return _hold(entry, init, following, report)
    if shape is geometric and not (init and final):
        name = next(name for name in ("lr", "init_lr") if name in entry.raw)
        rule = f"no exponential path leads from {init:g} to {final:g}; use linear_decay"
        entry.fault(report, name, rule)
        return _hold(entry, init, following, report)
    power = (entry.values.get("power", 1.0),) if shape is polynomial else ()
    return Curve(shape, (init, final, *power), entry.length)


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
    if entry.length is None:
        rule = "holds its rate, since its length is unknown; give decay_interval or duration"
        report.note(entry.key, rule)
        return _hold(entry, init, following, report)
    return Curve(inverse_sqrt, (init,), entry.length / 10)


def _on_plateau(entry: Entry, init: float, following: float | None, report: Report) -> Curve:
    """Return a flat curve; `plateau_of` says what evaluations do to it."""
    if entry.values.get("min_lr", 0.0) > init:
        entry.fault(report, "min_lr", f"must not be greater than the initial rate, {init:g}")
    return _hold(entry, init, following, report)


_PLATEAU_KEYS = tuple(field.name for field in fields(Plateau))


def plateau_of(entry: Entry) -> Plateau | None:
    """Return what evaluations do to the rate of an interval; None for a type that doesn't follow them."""
    if entry.type != "reduce_on_plateau":
        return None
    return Plateau(**{name: entry.values[name] for name in _PLATEAU_KEYS if name in entry.values})


SHAPES: Mapping[str, Shape] = {
    "constant": Shape((), _hold),
    "step_decay": Shape((), _hold),
    "exponential_decay": Shape(("final_lr", "decay_rate", "decay_interval", "staircase"), _decay),
    "linear_decay": Shape(("final_lr",), partial(_arrive, linear)),
    "cosine_decay": Shape(("final_lr",), partial(_arrive, cosine)),
    "polynomial_decay": Shape(("final_lr", "power"), partial(_arrive, polynomial)),
    "inverse_sqrt_decay": Shape(("decay_interval",), _inverse_root),
    "reduce_on_plateau": Shape(_PLATEAU_KEYS, _on_plateau),
}
SHAPE_KEYS = {name for shape in SHAPES.values() for name in shape.keys}


def parse_type(value: object, context: Context) -> str:
    if not isinstance(value, str) or value not in SHAPES:
        raise ValueError(f"an unknown type; {choices(value, SHAPES, 'types')}")
    return value


def parse_metric(value: object, context: Context) -> str:
    if not isinstance(value, str) or value not in METRICS:
        raise ValueError(f"an unknown metric; {choices(value, METRICS, 'metrics')}")
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
    "warmup": parse_time,
    "metric": parse_metric,
    "factor": parse_factor,
    "patience": parse_count,
    "min_delta": parse_non_negative,
    "cooldown": parse_count,
    "min_lr": parse_rate,
}
