"""Reads single values of a schedule's settings (rates, times, stages, counts) and collects the faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from glideslope.lr_scheduler.decimals import FACTORS, LARGEST, LONGEST_RUN, finite
from glideslope.lr_scheduler.faults import UNSET, Fault, nearest, typed


class ScheduleError(ValueError):
    """A schedule that cannot be used. `faults` holds every fault found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)  # by default an exception is made again of its message


@dataclass(frozen=True)
class Context:
    """What the values of one network's schedule are measured by, and what training they are for."""

    base: float
    total: int  # steps that shares refer to
    stage_names: tuple[str, ...] = ()
    max_rate: float | None = None
    hint: str = ""  # what to do where there are no intervals
    train_steps: int | None = None  # where the training ends, if not at `total`
    seed_steps: int = 0  # steps before the first update
    evaluations: int | None = None  # how many the training makes; None: unknown
    metrics: Mapping[str, str] | None = None  # those of an evaluation, each with its mode; None: any

    @property
    def end(self) -> int:
        """The step at which the training ends."""
        return self.total if self.train_steps is None else self.train_steps

    @property
    def largest(self) -> float:
        """The largest rate allowed."""
        return LARGEST if self.max_rate is None else self.max_rate


_SHARE = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")
_RATE_RULE = "a rate is a number (1.0e-4) or a multiple of the base rate (0.5x)"
_POINTS_RULE = "must be a list of points [time, rate], such as [[0, 1x], [40%, 0.5x]]"
_MOST_CYCLES = 1000
_TIME_RULE = "a time is a number of steps (1000000, 1.0e6, 250k, 1M) or a share of training (40%, 2/5)"


def _measured(value: object, rule: str, units: str) -> tuple[Fraction, str]:
    """Return a number that is not negative, exactly, so that 0.7 times 1e-4 is 7e-05, and its unit."""
    number, unit = finite(value, rule, units)
    if number < 0:
        raise ValueError("must not be negative")
    return number, unit


def _exact(value: object, rule: str) -> Fraction:
    return _measured(value, rule, "")[0]


def parse_rate(value: object, context: Context) -> float:
    """Return a rate: a number, or a multiple of the base rate such as 0.5x."""
    rate, unit = _measured(value, _RATE_RULE, "x")
    if unit:
        rate *= Fraction(repr(context.base))
    if rate > context.largest:
        becomes = f", here {float(min(rate, Fraction(LARGEST))):g}," if unit else ""
        raise ValueError(f"a rate{becomes} must not be greater than {context.largest:g}")
    return float(rate)


def parse_time(value: object, context: Context) -> Fraction:
    """Return a time in steps, exactly; a share of training may fall between two of them."""
    if share := _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None:
        if int(share[2]) == 0:
            raise ValueError("the denominator of a share must not be 0")
        steps = Fraction(int(share[1]), int(share[2])) * context.total
    else:
        steps, unit = _measured(value, _TIME_RULE, "%kKM")
        steps *= Fraction(context.total, 100) if unit == "%" else FACTORS[unit]
        if unit != "%" and steps.denominator != 1:
            raise ValueError("steps are whole numbers; a share of training is written 50% or 1/2")
    if steps < 0:
        raise ValueError("must not be negative")
    if steps > LONGEST_RUN:
        raise ValueError("must not be more than 1e15 steps")
    return steps


def parse_positive_time(value: object, context: Context) -> Fraction:
    if not (steps := parse_time(value, context)):
        raise ValueError("must be greater than 0")
    return steps


def parse_positive(value: object, context: Context) -> float:
    if not (number := float(_exact(value, "must be a number"))):
        raise ValueError("must be greater than 0")
    return number


def parse_non_negative(value: object, context: Context) -> float:
    return float(_exact(value, "must be a number"))


def parse_number(value: object, context: Context) -> float:
    return float(finite(value, "must be a number")[0])


def parse_repeat(value: object, context: Context) -> int:
    number = _exact(value, f"must be a whole number from 1 to {_MOST_CYCLES}")
    if number.denominator != 1 or not 1 <= number <= _MOST_CYCLES:
        raise ValueError(f"must be a whole number from 1 to {_MOST_CYCLES}")
    return int(number)


def parse_points(value: object, context: Context) -> list[tuple[Fraction, float]]:
    """Return the points of a curve, each a time in steps and a rate."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(_POINTS_RULE)
    points: list[tuple[Fraction, float]] = []
    for place, point in enumerate(value):
        if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
            raise ValueError(f"{_POINTS_RULE}, not {typed(point)}")
        try:
            points.append((parse_time(point[0], context), parse_rate(point[1], context)))
        except ValueError as problem:
            raise ValueError(f"point {place}, {typed(point)}: {problem}") from problem
        if place == 0 and points[0][0]:
            raise ValueError("the first point must be at 0, the start of the interval")
        if place and points[place][0] <= points[place - 1][0]:
            raise ValueError(f"point {place}, {typed(point)}: must be later than the point before it")
    return points


def parse_factor(value: object, context: Context) -> float:
    if (factor := parse_positive(value, context)) >= 1:
        raise ValueError("must be less than 1, so that it reduces the rate")
    return factor


def parse_count(value: object, context: Context) -> int:
    rule = "must be a whole number of evaluations"
    if (number := _exact(value, rule)).denominator != 1:
        raise ValueError(rule)
    return int(number)


def parse_flag(value: object, context: Context) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def parse_stage(value: object, context: Context) -> int:
    """Return the index of a stage, given by name or number; numbers beyond the curriculum are allowed."""
    if isinstance(value, str) and value in context.stage_names:
        return context.stage_names.index(value)
    if isinstance(value, str) and not re.fullmatch(r"[+-]?\d+", value):
        raise ValueError(f"an unknown stage; {choices(value, context.stage_names, 'stages')}")
    number = _exact(value, "a stage is named, or numbered from 0")
    if number.denominator != 1:
        raise ValueError("a stage is named, or numbered from 0")
    return int(number)


class Report:
    """Collects the faults, to be raised together, and the notes."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []

    def fault(self, key: str, rule: str, value: object = UNSET) -> None:
        self.faults.append(Fault(key, value, rule))

    def note(self, key: str, rule: str, value: object = UNSET) -> None:
        self.notes.append(Fault(key, value, rule))


def choices(name: object, options: Iterable[str], plural: str, synonyms: Mapping[str, str] | None = None) -> str:
    """Return which of the options was meant, where one is near or `name` a synonym of it, and all of them."""
    names = list(options)
    near = nearest(name, names, synonyms)
    meant = f"did you mean {near}? " if near else ""
    return f"{meant}the {plural} are {', '.join(names)}" if names else f"there are no {plural}"
