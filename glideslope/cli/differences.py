"""Where a resume's configuration differs from the run's, what of that may be, and how it is told."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glideslope.cli.overrides import ABSENT, key_of
from glideslope.errors import UNSET, Fault, SettingsError, typed

ACCEPT = "resume_lr_schedule"
"""The key that lets schedules change."""

# What may be another in a resume, and what may be with `resume_lr_schedule=config`; nothing else.
MAY_CHANGE = frozenset(
    (
        *("num_train_frames", "device", "replay_device", "num_threads", "log_every_frames"),
        *("eval_every_frames", "num_eval_episodes", "final_eval_episodes", "snapshot_every_frames"),
        *("save_video", "track", "on_write_error", "keep_replay"),
    )
)
SCHEDULES = frozenset(
    (
        *("lr", "lr_encoder", "lr_actor", "lr_critic", "lr_schedule", "schedule_frames"),
        "decay_rate",
        *("stddev", "stddev_schedule"),
    )
)

_TOLD_BY_RATES = ("lr_schedule", "stddev_schedule")
_SHOWN = 3  # settings of one override that are written out
_LONGEST_VALUE = 32

Route = tuple[str, ...]
"""The keys and indices that lead to a value."""


# --- Places in a configuration --------------------------------------------------------------------


def differing(one: Any, other: Any, path: Route = ()) -> Iterator[Route]:
    """The paths at which two plain values differ; lists of unlike length, and of plain items, differ as one."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from differing(one.get(key, ABSENT), other.get(key, ABSENT), (*path, str(key)))
    elif _holds_items(one) and _holds_items(other) and len(one) == len(other):
        for i, (item, other_item) in enumerate(zip(one, other, strict=True)):
            yield from differing(item, other_item, (*path, str(i)))
    elif not _same(one, other):
        yield path


def _holds_items(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other or _number(one) == _number(other) is not None


def _number(value: Any) -> float | None:
    """The number that a value of a schedule is or spells."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def value_at(config: Any, path: Route) -> Any:
    for part in path:
        if isinstance(config, Mapping):
            config = config.get(part, ABSENT)
        elif isinstance(config, list) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return ABSENT
    return config


def put(config: dict[str, Any], path: Route, value: Any) -> None:
    """Sets the value at `path`, or removes it, in place.

    Raises:
        SettingsError: the path leads to an item that its list doesn't have.
    """
    node: Any = config
    for depth, part in enumerate(path):
        if isinstance(node, list) and not (part.isdecimal() and int(part) < len(node)):
            numbers = f"the run's items of {'.'.join(path[:depth])} are numbered from 0 to {len(node) - 1}"
            raise SettingsError([Fault(".".join(path), UNSET if value is ABSENT else value, numbers)])
        place = int(part) if isinstance(node, list) else part
        if depth < len(path) - 1:
            if not isinstance(value_at(node, (part,)), dict | list):
                if value is ABSENT:
                    return
                node[place] = {}
            node = node[place]
        elif value is not ABSENT:
            node[place] = copy.deepcopy(value)
        elif isinstance(node, list):
            del node[int(part)]
        else:
            node.pop(place, None)


# --- What changes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A setting that the run has otherwise: `word` is the override behind it, `typed` whether it names it."""

    path: Route
    old: Any
    new: Any
    word: str
    typed: bool

    @property
    def key(self) -> str:
        return ".".join(self.path)

    def told(self, rule: str) -> Fault:
        """Return the fault of a change that breaks `rule`."""
        if self.new is ABSENT:
            return Fault(f"~{self.key}", UNSET, rule)
        return Fault(self.key, self.new, rule)


# --- What is told ---------------------------------------------------------------------------------


def allowed(change: Change, accept_schedule: bool) -> bool:
    root = change.path[0]
    return root in MAY_CHANGE or (accept_schedule and root in SCHEDULES)


def refusals(changes: Sequence[Change], *, schedules: bool = True) -> Iterator[Fault]:
    """The report of changes that can't be made: those that an override names, and a line for all others.

    schedules: whether those of schedules are in it.
    """
    for of_schedules in (False, True) if schedules else (False,):
        kind = [change for change in changes if (change.path[0] in SCHEDULES) == of_schedules]
        rule = f"{ACCEPT}=config goes on with the new one" if of_schedules else "it can't change in a resume"
        rules = f"{ACCEPT}=config goes on with them" if of_schedules else "they can't change in a resume"
        for word, group in _by_word(kind).items():
            named = [change for change in group if change.typed]
            if (named and len(named) <= _SHOWN) or not word:
                yield from (
                    change.told(f"the run has {_shown(change.old)}; {rule}") for change in named or group
                )
                continue
            if [change.key for change in group] == [key_of(word)]:
                yield Fault(word, UNSET, f"the run has {_shown(group[0].old)}; {rule}")
                continue
            settings = [
                f"{change.key}={_shown(change.new)} (the run has {_shown(change.old)})" for change in group
            ]
            told = f"means {first_few(settings)}; {rules if len(group) > 1 else rule}"
            yield Fault(word, UNSET, told)


def summary(changes: Sequence[Change]) -> Iterator[str]:
    """The changes that are made, a line each; of those behind one override the first few.

    Of other schedules only the override is named: the start of the training tells them by their rates.
    """
    for word, group in _by_word(changes).items():
        schedules = [change for change in group if change.path[0] in _TOLD_BY_RATES]
        if schedules:
            yield f"{word or schedules[0].key}: other schedules than before"
        lines = [
            f"{change.key}: {_shown(change.old)} -> {_shown(change.new)}"
            for change in group
            if change not in schedules
        ]
        yield from lines if len(lines) <= _SHOWN else (f"{word}: {first_few(lines)}",)


def _by_word(changes: Sequence[Change]) -> dict[str, list[Change]]:
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.word, []).append(change)
    return groups


def _shown(value: Any) -> str:
    text = "none" if value is ABSENT else typed(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def first_few(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
