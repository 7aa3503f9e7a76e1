"""Numbers as people write them, in files and on command lines, read exactly: 0.7 is 7/10, 250k is 250000."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from numbers import Rational, Real

LARGEST = sys.float_info.max
"""The largest finite float."""
LONGEST_RUN = 10**15
"""The most steps or frames of a training: keeps every boundary well inside an int64."""
FACTORS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
"""The unit behind a count, and what it multiplies the count by."""

_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d{1,3})?)\s*([kKMx%]?)")
_NOT_FINITE = ("nan", "inf", "infinity")


def read_number(value: object, units: str = "") -> tuple[Fraction, str] | None:
    """Return the number that a value is, or that a text spells, and the unit behind it; None for anything else.

    A float is the decimal that it is shown as. Infinities, NaN and booleans are no numbers here.

    Args:
        value: what was written.
        units: the units allowed, a letter each: of "kKMx%".

    >>> read_number("1.5k", "kM"), read_number("1.5k"), read_number(0.1)
    ((Fraction(3, 2), 'k'), None, (Fraction(1, 10), ''))
    """
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return None
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator)), ""
    text = value.strip() if isinstance(value, str) else repr(float(value))
    match = _NUMBER.fullmatch(text)
    return (Fraction(match[1].replace("_", "")), match[2]) if match and match[2] in units else None


def finite(value: object, rule: str, units: str = "") -> tuple[Fraction, str]:
    """Return what `read_number` does of a number that a float can hold.

    Raises:
        ValueError: with `rule` for what is no number, or because the number is not finite.
    """
    read = read_number(value, units)
    if read is None and str(value).strip().lower().lstrip("+-.") not in _NOT_FINITE:
        raise ValueError(rule)
    if read is None or abs(read[0]) > LARGEST:
        raise ValueError("must be a finite number")
    return read
