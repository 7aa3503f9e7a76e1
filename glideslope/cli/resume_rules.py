"""What a resume may change of a run, and how its changes and refusals are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from glideslope.cli.hydra_composition import Route
from glideslope.cli.overrides import ACCEPT, Word
from glideslope.errors import UNSET, Fault, typed

MAY_CHANGE = frozenset(
    (
        *("num_train_frames", "device", "replay_device", "num_threads", "parallel"),
        "log_every_frames",
        *("eval_every_frames", "num_eval_episodes", "final_eval_episodes", "snapshot_every_frames"),
        *("save_video", "track", "on_write_error", "keep_replay"),
    )
)
"""The settings that may change in every resume."""
SCHEDULES = frozenset(
    (
        *("lr", "lr_encoder", "lr_actor", "lr_critic", "lr_schedule", "schedules", "schedule_frames"),
        *("decay_rate", "stddev", "stddev_schedule"),
    )
)
"""The settings that may change with `resume_lr_schedule=config`."""

_TOLD_BY_RATES = ("lr_schedule", "stddev_schedule", "schedules")
_SHOWN = 3  # settings of one override that are written out
_LONGEST_VALUE = 32


@dataclass(frozen=True)
class Change:
    """A setting that a resume changes."""

    path: Route
    old: Any
    new: Any
    word: str  # the override behind it, as typed; several where it may be any of them
    named: bool  # whether that override has its key

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.path)

    @property
    def of_schedules(self) -> bool:
        """Whether it is one of `SCHEDULES`."""
        return self.path[0] in SCHEDULES

    def is_allowed(self, accept_schedule: bool) -> bool:
        """Return whether a resume may make the change."""
        return self.path[0] in MAY_CHANGE or (accept_schedule and self.of_schedules)

    def refused(self, rule: str) -> Fault:
        """Return the fault of a change that breaks `rule`."""
        key, value = (f"~{self.key}", UNSET) if self.new is UNSET else (self.key, self.new)
        return Fault(key, value, f"the run has {_shown(self.old)}; {rule}")


def refusals(changes: Sequence[Change]) -> Iterator[Fault]:
    """Yield a fault for each change that an override names, and one for all others behind an override."""
    for of_schedules in (False, True):
        kind = [change for change in changes if change.of_schedules == of_schedules]
        rule = f"{ACCEPT}=config resumes with the new one" if of_schedules else "it can't change in a resume"
        rules = f"{ACCEPT}=config resumes with them" if of_schedules else "they can't change in a resume"
        for word, group in _by_word(kind).items():
            named = [change for change in group if change.named]
            if 0 < len(named) <= _SHOWN:
                yield from (change.refused(rule) for change in named)
            elif [change.key for change in group] == [Word(word).key]:
                yield Fault(word, UNSET, f"the run has {_shown(group[0].old)}; {rule}")
            else:
                means = [f"{change.key}={_shown(change.new)} (the run has {_shown(change.old)})" for change in group]
                told = f"means {first_few(means)}; {rules if len(group) > 1 else rule}"
                yield Fault(word, UNSET, told)


def summary(changes: Sequence[Change]) -> Iterator[str]:
    """Yield a line for each change that is made; of many behind one override the first few.

    Of other schedules only the override is named: the start of the training tells them by their rates.
    """
    for word, group in _by_word(changes).items():
        others = [change for change in group if change.path[0] not in _TOLD_BY_RATES]
        if len(others) < len(group):
            yield f"{word}: other schedules than before"
        lines = [f"{change.key}: {_shown(change.old)} -> {_shown(change.new)}" for change in others]
        yield from lines if len(lines) <= _SHOWN else (f"{word}: {first_few(lines)}",)


def _by_word(changes: Sequence[Change]) -> dict[str, list[Change]]:
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.word, []).append(change)
    return groups


def _shown(value: Any) -> str:
    text = "none" if value is UNSET else typed(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def first_few(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
