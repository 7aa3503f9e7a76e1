"""Going on with a run: what its folder holds, and what a new command line changes of it.

The run goes on with its stored configuration, not with the files of today. Where the command line has
overrides that the run's own did not have, the run's command line is composed with and without them; what
differs then, and what they set, is what the run is asked to change.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from glideslope.cli.composition import Composer, Composition
from glideslope.cli.differences import (
    ACCEPT,
    SCHEDULES,
    Change,
    Route,
    allowed,
    differing,
    first_few,
    put,
    refusals,
    summary,
    value_at,
)
from glideslope.cli.overrides import as_stored, changes_length, has_index, key_of, normalised
from glideslope.errors import UNSET, Fault, SettingsError, UserError, meant, reason
from glideslope.runs.folder import CONFIG, read_config, runs_below, typed_overrides
from glideslope.settings import Settings

RESUME = "resume"
KEYS = (RESUME, ACCEPT)
"""Keys of the command line that say which run goes on and how; a run's configuration does not have them."""

CHOICES = ("config", "hold")  # values of the second: take the new schedules, or keep the old ones' length
LENGTH = "schedule_frames"

# The keys that belong to the file of a group.
_SET_BY: Mapping[str, tuple[str, ...]] = {
    "lr_schedule": ("lr_schedule", "decay_rate"),
    "curriculum_preset": ("curriculum",),
    "encoder_bundle@agent": ("agent.encoder",),
    "actor_critic_bundle@agent": ("agent.actor_critic",),
    "task": ("task",),
    "profile": ("profile",),
}


# --- The run that is meant ------------------------------------------------------------------------


def holds_run(folder: Path) -> bool:
    """Whether a run began in `folder`."""
    return os.path.exists(folder / CONFIG)


def run_folder_of(value: object) -> Path:
    """The run folder that `resume=value` means.

    Raises:
        SettingsError: it isn't one; with what is there instead.
    """
    if not isinstance(value, str) or not value:
        raise SettingsError([Fault(RESUME, value, "must be a run folder")])
    path = Path(os.path.expanduser(value))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SettingsError([Fault(RESUME, value, f"no such run folder{_nearest(path)}")]) from error
    except OSError as error:
        raise SettingsError([Fault(RESUME, value, f"can't be read: {reason(error)}")]) from error
    if not path.is_dir():
        near = f"; give the run folder, resume={path.parent}" if holds_run(path.parent) else ""
        raise SettingsError([Fault(RESUME, value, f"is a file, not a run folder{near}")])
    if not holds_run(path):
        runs = [str(run.relative_to(path)) for run in runs_below(path)]
        near = f"; there are runs in it: {first_few(runs)}" if runs else ""
        raise SettingsError([Fault(RESUME, value, f"is not a run folder: it has no {CONFIG}{near}")])
    return path


def _nearest(path: Path) -> str:
    """What there is in place of the first part of `path` that isn't there."""
    missing = next((part for part in (*reversed(path.parents), path) if not os.path.lexists(part)), path)
    try:
        names = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        return f"; {missing.parent} is no folder" if missing.parent.is_file() else ""
    if str(missing.parent) == missing.anchor:
        return ""  # folders of the system are never meant
    close = get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f"; did you mean {missing.parent / close[0]}?" if close else ""


def _schedule_choice(value: object) -> str | None:
    """Return what `resume_lr_schedule=value` says: None, config or hold.

    Raises:
        SettingsError: it says nothing.
    """
    if value is None or (isinstance(value, str) and value in CHOICES):
        return value
    rule = f"must be null, config or hold{meant(value, (*CHOICES, 'null'))}"
    raise SettingsError([Fault(ACCEPT, value, rule)])


@dataclass(frozen=True)
class Place:
    """Where a training takes place.

    Attributes:
        folder: the run's folder.
        goes_on: whether it holds a run, which is to go on.
        accept_schedule: whether that run's learning rates and exploration noise may change.
        hold_schedule: whether they keep their length when the training gets another.
    """

    folder: Path
    goes_on: bool
    accept_schedule: bool
    hold_schedule: bool = False


def place_of(mapping: Mapping[str, Any], run_dir: Path, *, typed_run_dir: bool) -> Place:
    """Where the training of a composed command line takes place.

    Args:
        mapping: the composed configuration.
        run_dir: the folder that Hydra has for it.
        typed_run_dir: whether the user gave that one.

    Raises:
        SettingsError: there is no such run, or two are named.
    """
    resume = mapping.get(RESUME)
    faults: list[Fault] = []
    folder, choice = run_dir, None
    try:
        choice = _schedule_choice(mapping.get(ACCEPT))
    except SettingsError as error:
        faults += error.faults
    try:
        folder = run_dir if resume is None else run_folder_of(resume)
    except SettingsError as error:
        faults += error.faults
    else:
        if typed_run_dir and os.path.realpath(folder) != os.path.realpath(run_dir):
            rule = f"is another folder than {RESUME}={resume}, the run to go on with; leave one of them out"
            faults.append(Fault("hydra.run.dir", run_dir, rule))
        goes_on = resume is not None or holds_run(run_dir)
        if choice is not None and not goes_on:
            rule = f"there is no run to go on with; it goes with {RESUME}=<run folder>"
            faults.append(Fault(ACCEPT, choice, rule))
    if faults:
        raise SettingsError(faults)
    return Place(folder, goes_on, choice == "config", choice == "hold")


@dataclass(frozen=True)
class Run:
    """A run that is in a folder.

    Attributes:
        folder: the run's folder.
        config: its configuration as `Settings.to_plain` gives it.
        overrides: the overrides that led to it, as typed.
    """

    folder: Path
    config: Mapping[str, Any]
    overrides: tuple[str, ...]


def read_run(folder: Path, check: Callable[[Mapping[str, Any]], Settings]) -> Run:
    """The run in `folder`; `check` makes settings of its configuration.

    Raises:
        UserError: a file can't be read, is damaged, or holds a setting that this version doesn't know.
    """
    try:
        config = check(read_config(folder)).to_plain()
    except SettingsError as error:
        where = f"{folder / CONFIG} does not fit this version"
        faults = [replace(fault, key=f"{where}: {fault.key}") for fault in error.faults]
        raise SettingsError(faults) from error
    return Run(folder, config, typed_overrides(folder))


# --- Overrides as text ----------------------------------------------------------------------------


def _is_choice(text: str) -> bool:
    """Whether a normalised override chooses the file of a group, or none."""
    return key_of(text) in _SET_BY and not text.partition("=")[2].startswith("{")


def _below(key: str, root: str) -> bool:
    return key == root or key.startswith(f"{root}.")


def _choice(texts: Iterable[str], group: str) -> str | None:
    """The last choice of a file of `group`."""
    return next((text for text in reversed(list(texts)) if _is_choice(text) and key_of(text) == group), None)


def _about(texts: Iterable[str], key: str) -> list[str]:
    """Those that set `key`, something below it or something that it is a part of."""
    values = (text for text in texts if not _is_choice(text))
    return [text for text in values if _below(key_of(text), key) or _below(key, key_of(text))]


def merged(stored: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of a run with those of a new command line.

    A later choice of a file takes the place of the earlier one, and another learning-rate schedule that of
    what was set inside the earlier one. Returns the new overrides that the run doesn't have already, and all.
    """
    known = [normalised(word) for word in stored]
    texts = [normalised(word) for word in words]
    choices = [text for text in texts if _is_choice(text) and text != _choice(known, key_of(text))]
    another_schedule = any(key_of(text) == "lr_schedule" for text in choices)
    kept = [
        word
        for word, text in zip(stored, known, strict=True)
        if not (another_schedule and any(_below(key_of(text), root) for root in _SET_BY["lr_schedule"]))
    ]
    known = [normalised(word) for word in kept]
    new = []
    unseen = list(known)
    for word, text in zip(words, texts, strict=True):
        if _is_choice(text):
            is_new = text in choices
        elif changes_length(text):
            is_new = text not in unseen  # each changes its list once more
        else:
            is_new = _about(known, key_of(text)) != _about(texts, key_of(text))
        if text in unseen:
            unseen.remove(text)
        if is_new:
            new.append(word)
    # An index means another item before and after a list changes its length: all that lead into lists stay in order.
    shifted = any(changes_length(normalised(word)) for word in (*kept, *new))
    both = list(kept)
    for word in new:
        text = normalised(word)
        if not (shifted and has_index(key_of(text))):
            both = [other for other in both if not _replaces(text, normalised(other))]
        both.append(word)
    return new, both


def _replaces(text: str, earlier: str) -> bool:
    """Whether an override leaves nothing of an earlier one."""
    if key_of(text) != key_of(earlier):
        return False
    if text.startswith("~"):
        return earlier.startswith("~")  # twice, there would be nothing to delete
    # A mapping is merged into what is there.
    return _is_choice(text) or not text.partition("=")[2].startswith("{")


# --- What changes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Continued:
    """A run as a new command line goes on with it.

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
        texts = [normalised(word) for word in self.overrides]
        return frozenset(key_of(text) for text in texts if not _is_choice(text))


def continued(
    run: Run,
    words: Sequence[str],
    composer: Composer,
    check: Callable[[Mapping[str, Any]], Settings],
    *,
    accept_schedule: bool,
    hold_schedule: bool = False,
) -> Continued:
    """What the overrides `words` make of a run. Writes nothing.

    Args:
        run: the run.
        words: the overrides, without those of `KEYS` and of Hydra.
        composer: composes overrides with the files of today.
        check: makes settings of a configuration, or raises SettingsError.
        accept_schedule: whether learning rates and exploration noise may change.
        hold_schedule: whether shares in schedules keep referring to the length that the run has had.

    Raises:
        SettingsError: with everything that can't change in a resume, or with the faults of the overrides.
    """
    held: list[str] = []
    if hold_schedule and run.config.get(LENGTH) is None:
        frames = run.config["num_train_frames"]
        run = replace(run, config={**run.config, LENGTH: frames})
        held = [f"{LENGTH}: null -> {frames}"]
    new, both = merged(run.overrides, words)
    if not new:
        return Continued(check(run.config), run.overrides, tuple(held))
    edit = _Edit(run, new, both, composer)
    config, faults = edit.applied()
    try:
        settings = check(config)
    except SettingsError as error:
        faults += error.faults
        # The report is to name what may not change too; what is at fault is in it already.
        repaired = error.repaired
        settings = repaired if isinstance(repaired, Settings) else Settings.from_config(run.config)
    at_fault = {key_of(fault.key.lstrip("~")).split(".")[0] for fault in faults}
    changes = [
        change
        for change in edit.changes(settings.to_plain())
        if not faults or (change.path[0] not in at_fault and _is_asked_for(change.path, config, run.config))
    ]
    refused = [change for change in changes if not allowed(change, accept_schedule)]
    by_rates = list(_told_by_rates(run.folder, refused, settings)) if not faults else []
    faults += [*by_rates, *refusals(refused, schedules=not by_rates)]
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return Continued(settings, tuple(as_stored(word) for word in both), (*held, *summary(changes)))


def _is_asked_for(path: Route, config: Mapping[str, Any], had: Mapping[str, Any]) -> bool:
    """Whether a configuration changes the value at `path`; a repair has put defaults in the place of others."""
    return bool(value_at(config, path) != value_at(had, path))


def _told_by_rates(folder: Path, refused: Sequence[Change], settings: Settings) -> Iterator[Fault]:
    """The refusal of other schedules by the rates before and after; nothing where the run has no good snapshot."""
    words = dict.fromkeys(change.word or change.key for change in refused if change.path[0] in SCHEDULES)
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


class _Edit:
    """The overrides of a command line, applied to the configuration of a run."""

    def __init__(self, run: Run, new: list[str], both: list[str], composer: Composer) -> None:
        self._run, self._new, self._both, self._composer = run, new, both, composer
        self._overrides, self._faults = composer.read(new)
        self._before: Mapping[str, Any] | None
        try:
            self._before = composer.compose(run.overrides).named
        except SettingsError as error:
            self._before, self._gone = None, error

    def applied(self) -> tuple[dict[str, Any], list[Fault]]:
        """The run's configuration with the overrides, and the faults of the overrides."""
        faults: list[Fault] = []
        try:
            now = self._composer.compose(self._both)
        except SettingsError:
            if self._before is not None:
                raise
            wanted = self._plain_values()
        else:
            faults += now.faults
            wanted = {path: value_at(now.named, path) for path in self._affected(now)}
        config = copy.deepcopy(dict(self._run.config))
        for path, value in wanted.items():
            try:
                put(config, path, value)
            except SettingsError as error:
                faults += error.faults
        return config, [*self._faults, *(fault for fault in faults if fault not in self._faults)]

    def _affected(self, now: Composition) -> list[Route]:
        """The paths that the overrides are about: what they set, and what they make another."""
        if self._before is None and any(key_of(word) == "profile" for word in self._new):
            raise self._gone  # what a profile makes another can't be known
        files = [root for word in self._new for root in _file_keys(word)]
        found = {tuple(root.split(".")) for root in files} | self._overrides.assignments.keys()
        if self._before is not None:
            found |= set(differing(self._before, now.named))
        return sorted(
            path for path in found if not any(path[:length] in found for length in range(1, len(path)))
        )

    def _plain_values(self) -> dict[Route, Any]:
        """What the overrides set, where the run's own overrides can't be composed any more."""
        reason = f"needs the files of the run's own overrides: {self._gone.faults[0]}"
        for word in self._new:
            text = normalised(word)
            if _is_choice(text) or key_of(text) == "decay_rate" or "${" in text:
                raise SettingsError([*self._faults, Fault(word, UNSET, reason)])
        return self._overrides.assignments

    def changes(self, config: Mapping[str, Any]) -> list[Change]:
        """What `config`, checked, has otherwise than the run, each with the override behind it."""
        paths = list(differing(self._run.config, config))
        words = {path: self._word_naming(path) for path in paths}
        if len(self._new) == 1:
            behind = dict.fromkeys(paths, self._new[0])
        else:
            behind = self._words_behind([path for path in paths if words[path] is None])
        return [
            Change(
                path,
                value_at(self._run.config, path),
                value_at(config, path),
                words[path] or behind.get(path, ""),
                words[path] is not None,
            )
            for path in paths
        ]

    def _word_naming(self, path: Route) -> str | None:
        """The override that sets the value at `path` by its key."""
        for word in reversed(self._new):
            text = normalised(word)
            if not _is_choice(text) and (
                _below(".".join(path), key_of(text)) or _below(key_of(text), ".".join(path))
            ):
                return word
        return None

    def _words_behind(self, paths: list[Route]) -> dict[Route, str]:
        """The overrides that change values which none of them names."""
        found: dict[Route, str] = {}
        for word in self._new:
            roots = _file_keys(word)
            found.update(
                {p: word for p in paths if p not in found and any(_below(".".join(p), r) for r in roots)}
            )
        for word in self._new:
            if len(found) == len(paths) or self._before is None:
                break
            try:
                alone = self._composer.compose(merged(self._run.overrides, [word])[1]).named
            except SettingsError:
                continue
            touched = set(differing(self._before, alone))
            found.update({p: word for p in paths if p not in found and p in touched})
        return found


def _file_keys(word: str) -> tuple[str, ...]:
    """The keys that belong to the file that an override chooses."""
    text = normalised(word)
    return _SET_BY[key_of(text)] if _is_choice(text) else ()
