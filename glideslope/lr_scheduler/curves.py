"""The shapes of intervals as pure functions of x, the time since the interval's start in the shape's own unit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy import ndarray

Number: TypeAlias = Any  # a float or an array of float64: the shapes serve both

_QUARTER = 0.5 * math.pi  # a quarter turn


def _each(function: Callable[[float], float], x: Number) -> Number:
    """Return function(x); for an array the same call for each element, so that both agree to the last bit."""
    if isinstance(x, ndarray):
        return np.fromiter(map(function, x.tolist()), float, x.size)
    return function(x)


def mix(a: Number, b: Number, x: Number) -> Number:
    """Return a + (b - a) x, so rounded that it is a at 0, b at 1, and in the range between them for x in [0, 1]."""
    if isinstance(x, ndarray):
        return np.where(x < 0.5, a + (b - a) * x, b - (b - a) * (1.0 - x))
    return a + (b - a) * x if x < 0.5 else b - (b - a) * (1.0 - x)


def flat(x: Number, lr: float) -> Number:
    return lr


def linear(x: Number, init: float, final: float) -> Number:
    return mix(init, final, x)


def cosine(x: Number, init: float, final: float) -> Number:
    if isinstance(x, ndarray):
        return _each(lambda x: cosine(x, init, final), x)
    # (1 - cos πx) / 2 or (1 + cos πx) / 2, whichever is small, without subtracting nearly equal numbers.
    if x < 0.5:
        return init + (final - init) * math.sin(_QUARTER * x) ** 2
    return final - (final - init) * math.sin(_QUARTER * (1.0 - x)) ** 2


def polynomial(x: Number, init: float, final: float, power: float) -> Number:
    if isinstance(x, ndarray):
        return _each(lambda x: polynomial(x, init, final, power), x)
    # What is left of a fall to 0 keeps its digits.
    rest = (1.0 - x) ** power
    return init + (final - init) * (1.0 - rest) if rest > 0.5 else final - (final - init) * rest


def geometric(x: Number, init: float, final: float) -> Number:
    """Return init (final / init)^x, through logarithms, since the ratio of two rates can overflow."""
    log_init, log_final = math.log(init), math.log(final)

    def at(x: float) -> float:
        if x in (0, 1):
            return final if x else init
        rate = math.exp(mix(log_init, log_final, x))
        # Rounded logarithms may lead a little too far.
        if init < final:
            return init if rate < init else final if rate > final else rate
        return final if rate < final else init if rate > init else rate

    return _each(at, x)


def exponential(x: Number, init: float, decay_rate: float) -> Number:
    return init * _each(lambda n: decay_rate**n, x)


def one_minus_sqrt(x: Number, init: float, final: float) -> Number:
    """Return the cooldown of Hägele et al. 2024 (arXiv 2405.18392), final + (init - final) (1 - √x)."""
    return mix(init, final, _each(math.sqrt, x))


def piecewise(x: Number, *points: float) -> Number:
    """Return straight lines through points x0, rate0, x1, rate1, ..., x0 being 0; the last rate holds."""
    if isinstance(x, ndarray):
        return _each(lambda x: piecewise(x, *points), x)
    places, rates = points[::2], points[1::2]
    after = bisect_right(places, x)
    if after == len(places):
        return rates[-1]
    before = places[after - 1]
    return mix(rates[after - 1], rates[after], (x - before) / (places[after] - before))


def inverse_sqrt(x: Number, init: float) -> Number:
    return init / _each(math.sqrt, 1.0 + x)


@dataclass(frozen=True)
class Curve:
    """A shape with its numbers: the rate as a function of t, the steps since the interval's start."""

    shape: Callable[..., Number]
    numbers: tuple[float, ...]
    unit: Fraction = Fraction(1)  # steps in one unit of the shape's x
    stairs: bool = False  # x is rounded down

    def at(self, t: Fraction) -> float:
        """Return the rate `t` steps after the interval's start; infinity where it is too large for a float."""
        x = t / self.unit
        try:
            return float(self.shape(math.floor(x) if self.stairs else float(x), *self.numbers))
        except OverflowError:
            return math.inf
