"""`Fault`, an error in user input as key, value and rule, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final


class _Unset:
    """Type of `UNSET`."""

    def __reduce__(self) -> str:
        return "UNSET"  # copies and pickles are the same object


UNSET: Final = _Unset()
"""In place of a value: there is none to show."""
_LONGEST_VALUE = 79


@dataclass(frozen=True)
class Fault:
    """A rule that a value breaks.

    >>> print(Fault("lr", -1, "must not be negative"))
    lr=-1: must not be negative
    """

    key: str  # the dotted key, or the word of a command line; empty where the rule says it all
    value: object  # the value; `UNSET` where there is none to show
    rule: str  # what the value must be, or what is wrong with it

    def __str__(self) -> str:
        shown = "" if self.value is UNSET else typed(self.value)
        if len(shown) > _LONGEST_VALUE:
            shown = f"{shown[: _LONGEST_VALUE - 3]}..."
        named = self.key if self.value is UNSET else f"{self.key}={shown}"
        return f"{named}: {self.rule}" if named else self.rule

    def about(self, key: str) -> str:
        """Return the rule for a report on `key`, with the own key where that is another."""
        return self.rule if self.key in ("", key) else str(self)

    def __hash__(self) -> int:
        return hash((self.key, self.rule))  # a value may be a list


def typed(value: object) -> str:
    """Return a value as it would be typed on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(typed, value)) + "]"
    return str(value) or "''"


def listed(options: Sequence[str], word: str = "or") -> str:
    """Return `a, b or c`."""
    return f" {word} ".join(filter(None, (", ".join(options[:-1]), *options[-1:])))


def nearest(name: object, options: Sequence[str], synonyms: Mapping[str, str] | None = None) -> str | None:
    """Return the option that `name` was probably meant to be; None where none is near.

    `synonyms` are other names of options, such as those of other programs.
    """
    text = str(name).lower()
    synonym = (synonyms or {}).get(text.replace("-", "_"))
    if synonym in options:
        return synonym
    by_lower = {option.lower(): option for option in options}
    near = get_close_matches(text, by_lower, n=1, cutoff=0.6)
    near = near or [option for option in by_lower if len(text) > 1 and option.startswith(text)]
    return by_lower[near[0]] if near else None
