"""A run as a new command line resumes it: its stored configuration, not the files of today, with what was typed now.

Where the command line has overrides that the run's own did not have, the run's command line is composed with and
without them; what differs then, and what they set, is what the run is asked to change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glideslope.cli.composition import Composer
from glideslope.cli.differences import Route, differing, put, value_at
from glideslope.cli.merging import is_below, is_choice, may_set_anything, merged, sets, subjects
from glideslope.cli.overrides import ACCEPT, Overrides, Word, read_overrides
from glideslope.cli.resume_rules import Change, refusals, summary
from glideslope.cli.run_to_resume import Run
from glideslope.errors import UNSET, Fault, SettingsError, UserError
from glideslope.settings import Settings

_LENGTH = "schedule_frames"


@dataclass(frozen=True)
class Resumed:
    """A run as a new command line resumes it.

    Attributes:
        settings: the run's settings with the changes.
        overrides: all that was typed for the run so far and counts still.
        changes: the changes, a line each.
    """

    settings: Settings
    overrides: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def given(self) -> frozenset[str]:
        """The dotted keys that `overrides` set."""
        return frozenset(word.key for word in map(Word, self.overrides) if not is_choice(word))


def resumed(
    run: Run,
    typed: Sequence[str],
    composer: Composer,
    check: Callable[[Mapping[str, Any]], Settings],
    *,
    schedules: str | None = None,
) -> Resumed:
    """Return what overrides make of a run. Writes nothing.

    Args:
        run: the run.
        typed: the overrides, without those of the command line and of Hydra.
        composer: composes overrides with the files of today.
        check: makes settings of a configuration, or raises SettingsError.
        schedules: what is done with other learning rates and exploration noise: None refuses them, `config` takes
            them, `hold` has shares in schedules refer to the length that the run has had.

    Raises:
        SettingsError: with everything that can't change in a resume, or with the faults of the overrides.
    """
    held: list[str] = []
    if schedules == "hold" and run.config.get(_LENGTH) is None:
        frames = run.config["num_train_frames"]
        run = replace(run, config={**run.config, _LENGTH: frames})
        held = [f"{_LENGTH}: null -> {frames}"]
    new, both = merged(run.overrides, typed)
    if not new:
        return Resumed(check(run.config), run.overrides, tuple(held))
    words = [Word(text) for text in new]
    overrides, faults = read_overrides(new, composer.groups)
    config = copy.deepcopy(dict(run.config))
    wanted = _wanted(run, words, both, composer, overrides, faults)
    for path, value in wanted.items():
        try:
            put(config, path, value)
        except SettingsError as error:
            faults += error.faults
    try:
        settings = check(config)
    except SettingsError as error:
        faults += error.faults
        # The report is to name what may not change too; what is at fault is in it already.
        repaired = error.repaired
        settings = repaired if isinstance(repaired, Settings) else Settings.from_config(run.config)
    changes = _changes(run.config, settings.to_plain(), words)
    if faults:
        at_fault = {Word(fault.key).key.partition(".")[0] for fault in faults}
        # A repair has put defaults in the place of other values, which nobody asked for.
        changes = [
            change
            for change in changes
            if change.path[0] not in at_fault and value_at(config, change.path) != value_at(run.config, change.path)
        ]
    refused = [change for change in changes if not change.is_allowed(schedules == "config")]
    if not faults and (by_rates := list(_told_by_rates(run.folder, refused, settings))):
        faults += by_rates
        refused = [change for change in refused if not change.of_schedules]
    faults += refusals(refused)
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return Resumed(settings, tuple(Word(text).stored for text in both), (*held, *summary(changes)))


def _wanted(
    run: Run,
    words: Sequence[Word],
    both: Sequence[str],
    composer: Composer,
    overrides: Overrides,
    faults: list[Fault],
) -> dict[Route, Any]:
    """Return the values that new overrides set or make another, by path; add to `faults`.

    Raises:
        SettingsError: what they make another can't be known.
    """
    before, gone = None, None
    try:
        before = composer.compose(run.overrides).named
    except SettingsError as error:
        gone = error  # a file that the run's own overrides choose
    try:
        now = composer.compose(both)
    except SettingsError as error:
        if gone is None:
            raise
        reason = f"needs the files of the run's own overrides: {gone.faults[0]}"
        for word in words:
            if is_choice(word) or word.key == "decay_rate" or "${" in word.text:
                raise SettingsError([*faults, Fault(word.typed, UNSET, reason)]) from error
        return overrides.assignments
    if gone is not None and any(word.key == "profile" for word in words):
        raise gone
    faults += [fault for fault in now.faults if fault not in faults]
    found = overrides.assignments.keys() | {tuple(key.split(".")) for word in words for key in subjects(word)}
    if before is not None:
        found |= set(differing(before, now.named))
    topmost = [path for path in found if not any(path[:length] in found for length in range(1, len(path)))]
    return {path: value_at(now.named, path) for path in sorted(topmost)}


def _changes(had: Mapping[str, Any], has: Mapping[str, Any], words: Sequence[Word]) -> list[Change]:
    """Return where two configurations differ, each with the new override behind it."""
    return [
        Change(path, value_at(had, path), value_at(has, path), *_behind(".".join(path), words))
        for path in differing(had, has)
    ]


def _behind(key: str, words: Sequence[Word]) -> tuple[str, bool]:
    """Return the override that changes what is at `key`, all where it may be any, and whether it names the key."""
    for word in reversed(words):
        if sets(word, key):
            return word.typed, True
    # The file that is about the key, the rate that schedules read, files that may set anything, or else all words.
    about = [word for word in words if any(is_below(key, root) for root in subjects(word))]
    rates = [word for word in words if word.key == "decay_rate" and is_below(key, "lr_schedule")]
    files = [word for word in words if is_choice(word)]
    found = about[-1:] or rates or [word for word in files if may_set_anything(word)] or files or words
    return " ".join(word.typed for word in found), False


def _told_by_rates(folder: Path, refused: Sequence[Change], settings: Settings) -> Iterator[Fault]:
    """Yield the refusal of other schedules by the rates before and after; nothing where there is no good snapshot."""
    words = dict.fromkeys(change.word for change in refused if change.of_schedules)
    if not words:
        return
    # Imported here: snapshots are read by torch, which takes seconds to load.
    from glideslope.runs.schedule_changes import live_schedules, rate_changes
    from glideslope.runs.snapshots import load_resumable, resume_candidates

    for path in resume_candidates(folder):
        try:
            content = load_resumable(path)
            lines = rate_changes(content, live_schedules(settings), settings.total_steps)
        except (UserError, KeyError, TypeError, ValueError):
            continue  # damaged, or of another version: the training's own start says so
        rule = f"{ACCEPT}=config takes the new rates"
        yield from (Fault(" ".join(words), UNSET, f"{line}; {rule}") for line in lines)
        return
