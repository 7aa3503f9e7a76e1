"""Merges the stored configuration of a run with new overrides, and finds what they change.

Where the command line has overrides that the run's own did not have, the run's command line is composed with and
without them; what differs then, and what they set, is what the run is asked to change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glideslope.cli.hydra_composition import Composer, Route, value_at
from glideslope.cli.overrides import ACCEPT, Overrides, Word, read_overrides
from glideslope.cli.resume_rules import Change, refusals, summary
from glideslope.cli.resume_target import Run
from glideslope.errors import UNSET, Fault, SettingsError, UserError
from glideslope.settings import Settings
from glideslope.settings.catalogue import CONFIG_DIR, preset_folders

_LENGTH = "schedule_frames"
# The keys that the file chosen in a group is about.
_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "lr_schedule": ("lr_schedule", "decay_rate"),
    "curriculum_preset": ("curriculum",),
    "encoder_bundle@agent": ("agent.encoder",),
    "actor_critic_bundle@agent": ("agent.actor_critic",),
    "task": ("task",),
    "profile": ("profile",),
}


@dataclass(frozen=True)
class Resumed:
    """A run as a new command line resumes it."""

    settings: Settings
    overrides: tuple[str, ...]  # all that was typed for the run so far and counts still
    changes: tuple[str, ...]  # a line each

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
    run: Run, words: Sequence[Word], both: Sequence[str], composer: Composer, overrides: Overrides, faults: list[Fault]
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


# --- The overrides of a run and those of a new command line, made one list ---


def is_choice(word: Word) -> bool:
    """Return whether an override chooses the file of a group, or none."""
    return word.key in _SUBJECTS and not word.sets_mapping


def subjects(word: Word) -> tuple[str, ...]:
    """Return the keys that the file which an override chooses is about."""
    return _SUBJECTS[word.key] if is_choice(word) else ()


def may_set_anything(word: Word) -> bool:
    """Return whether the file that an override chooses may set any key: a profile, or a file of the user's."""
    group, _, name = word.text.partition("=")
    file = Path(group.partition("@")[0], f"{name}.yaml")
    shipped = next((folder for folder in preset_folders() if (folder / file).is_file()), None) == CONFIG_DIR
    return group == "profile" or not (shipped or word.deletes)


def is_below(key: str, root: str) -> bool:
    """Return whether a dotted key is `root` or a part of it."""
    return f"{key}.".startswith(f"{root}.")


def sets(word: Word, key: str) -> bool:
    """Return whether an override sets `key`, something below it or something that it is a part of."""
    return not is_choice(word) and (is_below(word.key, key) or is_below(key, word.key))


def merged(stored: Sequence[str], typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Merge the overrides of a run with those of a new command line.

    A later choice of a file takes the place of the earlier one, and another learning-rate schedule that of what was
    set inside the earlier one.

    Returns:
        The new overrides that the run doesn't have already, and all that count.
    """
    had, words = [Word(text) for text in stored], [Word(text) for text in typed]
    chosen = {word.key: word.text for word in had if is_choice(word)}
    if any(is_choice(word) and word.key == "lr_schedule" and word.text != chosen.get(word.key) for word in words):
        inside = _SUBJECTS["lr_schedule"]
        had = [word for word in had if not any(is_below(word.key, root) for root in inside)]
    new: list[Word] = []
    unseen = [word.text for word in had]
    for word in words:
        if is_choice(word):
            is_new = word.text != chosen.get(word.key)
        elif word.changes_length:
            is_new = word.text not in unseen  # each changes its list once more
        else:
            is_new = _setting(had, word.key) != _setting(words, word.key)
        if word.text in unseen:
            unseen.remove(word.text)
        if is_new:
            new.append(word)
    # An index means another item before and after a list changes its length: all that lead into lists stay in order.
    shifted = any(word.changes_length for word in (*had, *new))
    both = had
    for word in new:
        if not (shifted and word.has_index):
            both = [other for other in both if not _replaces(word, other)]
        both = [*both, word]
    return [word.typed for word in new], [word.typed for word in both]


def _setting(words: Sequence[Word], key: str) -> list[str]:
    """Return the overrides that set `key`, as Hydra is to get them."""
    return [word.text for word in words if sets(word, key)]


def _replaces(word: Word, earlier: Word) -> bool:
    """Return whether an override leaves nothing of an earlier one."""
    if word.key != earlier.key:
        return False
    if word.deletes:
        return earlier.deletes  # twice, there would be nothing to delete
    return not word.sets_mapping  # one is merged into what is there


# --- Where configurations differ ---


def differing(one: Any, other: Any, path: Route = ()) -> Iterator[Route]:
    """Yield the paths at which two values differ; lists of unlike length, and of plain items, differ as one."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from differing(one.get(key, UNSET), other.get(key, UNSET), (*path, str(key)))
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
    """Return the number that a value of a schedule is or spells."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def put(config: dict[str, Any], path: Route, value: Any) -> None:
    """Set the value at `path` in place; `UNSET` removes it.

    Raises:
        SettingsError: the path leads to an item that its list doesn't have.
    """
    node: Any = config
    for depth, part in enumerate(path):
        if isinstance(node, list) and not (part.isdecimal() and int(part) < len(node)):
            numbers = f"the run's items of {'.'.join(path[:depth])} are numbered from 0 to {len(node) - 1}"
            raise SettingsError([Fault(".".join(path), value, numbers)])
        place = int(part) if isinstance(node, list) else part
        if depth < len(path) - 1:
            if not isinstance(value_at(node, (part,)), dict | list):
                if value is UNSET:
                    return
                node[place] = {}
            node = node[place]
        elif value is not UNSET:
            node[place] = copy.deepcopy(value)
        elif isinstance(node, list):
            del node[int(part)]
        else:
            node.pop(place, None)
