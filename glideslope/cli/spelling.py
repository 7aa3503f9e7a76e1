"""Words of a command line that are not of the form key=value, and what was probably meant."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from glideslope.errors import UNSET, Fault, UserError, listed, nearest

_DASHED = re.compile(r"--?([A-Za-z][\w.@/-]*)(?:[=:]\s*(.*))?", re.DOTALL)
_COLON = re.compile(r"([A-Za-z][\w.@/]*):\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"-\.?\d.*")
_DELETION = re.compile(r"~[A-Za-z].*")  # takes a setting away; it needs no value


@dataclass(frozen=True)
class Vocabulary:
    """What the words of a program's command line can be.

    Attributes:
        keys: its keys and its groups of files.
        options: the groups that an option belongs to, such as {"smoke": ["profile"]}.
        path_keys: the keys whose values are run folders or snapshots.
        parser: knows the flags; raises UserError where it refuses one.
    """

    keys: Collection[str]
    options: Mapping[str, Sequence[str]]
    path_keys: Sequence[str]
    parser: ArgumentParser

    def has(self, key: str) -> bool:
        """Return whether `key`, or what it is a part of, is known."""
        return key in self.keys or key.partition(".")[0] in self.keys

    def flag_length(self, words: Sequence[str]) -> int:
        """Return how many of one or two words are a flag and its value; 0 where there is no such flag."""
        alone = True
        try:
            if self.parser.parse_known_args(words[:1])[1]:
                return 0
        except UserError:
            alone = False  # its value is missing
        try:
            flags, others = self.parser.parse_known_args(list(words))
        except UserError:
            return 1 if alone else len(words)
        return 1 if alone and (flags.overrides or others) else len(words)


def misspelt(words: Sequence[str], known: Vocabulary) -> Iterator[Fault]:
    """Yield a fault for each word that is not of the form key=value and has a right spelling, which it names.

    Args:
        words: the command line.
        known: what can be in it.
    """
    at = 0
    while at < len(words):
        word, rest = words[at], list(words[at + 1 :])
        fault, taken = None, 0
        if _DELETION.fullmatch(word):
            pass
        elif word.startswith("-") and not _NUMBER.fullmatch(word):
            fault, taken = _dashed(word, rest, known)
        elif "=" not in word.strip("=") or _COLON.fullmatch(word.partition("=")[0]):
            fault, taken = _bare(word, rest, known)
        if fault is not None:
            yield fault
        at += 1 + taken


def _dashed(word: str, rest: list[str], known: Vocabulary) -> tuple[Fault | None, int]:
    """Return the fault of a word with dashes, and how many of the next words belong to it."""
    match, length = _DASHED.fullmatch(word), known.flag_length([word, *rest[:1]])
    if match is None:
        return (None, length - 1) if length else (Fault(word, UNSET, "unknown flag"), 0)
    key, value = match[1], match[2]
    key = key if known.has(key) else key.replace("-", "_")
    taken = 0
    if value is None and rest and _is_value(rest[0]):
        value, taken = rest[0], 1
    # --run is a flag as well as a key; -profile=x would be the flag -p.
    means_key = known.has(key) and (value is not None or not word.startswith("--"))
    if length and not means_key:
        return None, length - 1
    typed = " ".join([word, *rest[:taken]])
    rule = "settings are written key=value, without dashes"
    if known.has(key):
        named = f"{key}={'...' if value is None else value}"
        return Fault(typed, UNSET, f"{rule}; did you mean {named}?"), taken
    near = nearest(key, sorted(known.keys))
    hint = f"; did you mean {near}=...?" if near else ""
    return Fault(typed, UNSET, f"unknown flag; {rule}{hint}"), taken


def _bare(word: str, rest: list[str], known: Vocabulary) -> tuple[Fault | None, int]:
    """Return the fault of a word without dashes and without an equals sign inside it, as of `_dashed`."""
    key, value, taken = word, None, 0
    colon = _COLON.fullmatch(word)
    if colon and known.has(colon[1]):
        key, value = colon[1], colon[2] or None
    elif word.endswith("=") and known.has(word[:-1]):
        key = word[:-1]
        if not (rest and _is_value(rest[0])):
            return None, 0
    if value is None and rest:
        if rest[0] == "=" and len(rest) > 1:
            value, taken = rest[1], 2
        elif rest[0].startswith("=") and rest[0] != "=":
            value, taken = rest[0][1:], 1
        elif _is_value(rest[0]):
            value, taken = rest[0], 1
    if value is not None:
        name = key if known.has(key) else nearest(key, sorted(known.keys))
        if name:
            typed = " ".join([word, *rest[:taken]])
            return _unlike(typed, f"{name}={value}"), taken
    is_path = os.path.exists(os.path.expanduser(word))
    keys = (is_path and known.path_keys) or known.options.get(word, ())
    return (_unlike(word, listed([f"{key}={word}" for key in keys])) if keys else None), 0


def _unlike(typed: str, meant: str) -> Fault:
    return Fault(typed, UNSET, f"is not of the form key=value; did you mean {meant}?")


def _is_value(word: str) -> bool:
    """Return whether a word can only be the value of the one before it."""
    if "=" in word or _DELETION.fullmatch(word):
        return False
    return not word.startswith("-") or bool(_NUMBER.fullmatch(word))
