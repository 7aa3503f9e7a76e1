"""Going on with a run: what its folder holds, and what a new command line changes of it.

The run goes on with its stored configuration, not with the files of today. Where the command line has
overrides that the run's own did not have, the run's command line is composed with and without them; what
differs then, and what they set, is what the run is asked to change.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from glideslope.composition import Composer, Composition
from glideslope.overrides import ABSENT, normalised
from glideslope.run_folder import CONFIG, read_config, typed_overrides
from glideslope.settings import Settings, SettingsError
from glideslope.validation import fault, meant, typed

# Keys of the command line that say how to go on; a run's configuration does not have them.
RESUME, ACCEPT = "resume", "resume_lr_schedule"
KEYS = (RESUME, ACCEPT)

# What may be another in a resume, and what may be with `resume_lr_schedule=config`; nothing else.
MAY_CHANGE = frozenset(
    (
        *("num_train_frames", "device", "replay_device", "num_threads", "log_every_frames"),
        *("eval_every_frames", "num_eval_episodes", "final_eval_episodes", "snapshot_every_frames"),
        *("save_video", "on_write_error", "keep_replay"),
    )
)
SCHEDULES = frozenset(
    (
        *("lr", "lr_encoder", "lr_actor", "lr_critic", "lr_schedule", "decay_rate"),
        *("stddev", "stddev_schedule"),
    )
)

# The keys that belong to the file of a group.
_SET_BY: Mapping[str, tuple[str, ...]] = {
    "lr_schedule": ("lr_schedule", "decay_rate"),
    "curriculum_preset": ("curriculum",),
    "encoder_bundle@agent": ("agent.encoder",),
    "actor_critic_bundle@agent": ("agent.actor_critic",),
    "task": ("task",),
    "profile": ("profile",),
}
_SHOWN = 3  # settings of one override that are written out
_LONGEST_VALUE = 40

_Path = tuple[str, ...]


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
        raise SettingsError([fault(RESUME, "must be a run folder", value)])
    path = Path(os.path.expanduser(value))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SettingsError([fault(RESUME, f"no such run folder{_nearest(path)}", value)]) from error
    except OSError as error:
        raise SettingsError([fault(RESUME, f"can't be read: {error.strerror}", value)]) from error
    if not path.is_dir():
        near = f"; give the run folder, resume={path.parent}" if holds_run(path.parent) else ""
        raise SettingsError([fault(RESUME, f"is a file, not a run folder{near}", value)])
    if not holds_run(path):
        runs = sorted(entry.parent.name for entry in path.glob(f"*/{CONFIG}"))
        near = f"; there are runs in it: {_some(runs)}" if runs else ""
        raise SettingsError([fault(RESUME, f"is not a run folder: it has no {CONFIG}{near}", value)])
    return path


def _nearest(path: Path) -> str:
    """What there is in place of the first part of `path` that isn't there."""
    missing = next((part for part in (*reversed(path.parents), path) if not os.path.lexists(part)), path)
    try:
        names = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        return f"; {missing.parent} is no folder" if missing.parent.is_file() else ""
    close = get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f"; did you mean {missing.parent / close[0]}?" if close else ""


def _accepts_schedule(value: object) -> bool:
    """What `resume_lr_schedule=value` says.

    Raises:
        SettingsError: it says nothing.
    """
    if value not in (None, "config"):
        rule = f"must be null or config{meant(value, ('config', 'null'))}"
        raise SettingsError([fault(ACCEPT, rule, value)])
    return value == "config"


@dataclass(frozen=True)
class Place:
    """Where a training takes place.

    Attributes:
        folder: the run's folder.
        goes_on: whether it holds a run, which is to go on.
        accept_schedule: whether that run's learning rates and exploration noise may change.
    """

    folder: Path
    goes_on: bool
    accept_schedule: bool


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
    faults: list[str] = []
    folder, accept = run_dir, False
    try:
        accept = _accepts_schedule(mapping.get(ACCEPT))
    except SettingsError as error:
        faults += error.faults
    try:
        folder = run_dir if resume is None else run_folder_of(resume)
    except SettingsError as error:
        faults += error.faults
    else:
        if typed_run_dir and os.path.realpath(folder) != os.path.realpath(run_dir):
            rule = f"is another folder than {RESUME}={resume}, the run to go on with; leave one of them out"
            faults.append(fault("hydra.run.dir", rule, run_dir))
        goes_on = resume is not None or holds_run(run_dir)
        if accept and not goes_on:
            rule = f"there is no run to go on with; it goes with {RESUME}=<run folder>"
            faults.append(fault(ACCEPT, rule, "config"))
    if faults:
        raise SettingsError(faults)
    return Place(folder, goes_on, accept)


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
        raise SettingsError([f"{where}: {line}" for line in error.faults]) from error
    return Run(folder, config, typed_overrides(folder))


# --- Overrides as text ----------------------------------------------------------------------------


def _key(text: str) -> str:
    return text.partition("=")[0].lstrip("~")


def _is_choice(text: str) -> bool:
    """Whether a normalised override chooses the file of a group, or none."""
    return _key(text) in _SET_BY and not text.partition("=")[2].startswith("{")


def _below(key: str, root: str) -> bool:
    return key == root or key.startswith(f"{root}.")


def _choice(texts: Iterable[str], group: str) -> str | None:
    """The last choice of a file of `group`."""
    return next((text for text in reversed(list(texts)) if _is_choice(text) and _key(text) == group), None)


def _about(texts: Iterable[str], key: str) -> list[str]:
    """Those that set `key`, something below it or something that it is a part of."""
    values = (text for text in texts if not _is_choice(text))
    return [text for text in values if _below(_key(text), key) or _below(key, _key(text))]


def merged(stored: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of a run with those of a new command line.

    A later choice of a file takes the place of the earlier one, and another learning-rate schedule that of
    what was set inside the earlier one. Returns the new overrides that the run doesn't have already, and all.
    """
    known = [normalised(word) for word in stored]
    texts = [normalised(word) for word in words]
    choices = [text for text in texts if _is_choice(text) and text != _choice(known, _key(text))]
    another_schedule = any(_key(text) == "lr_schedule" for text in choices)
    kept = [
        word
        for word, text in zip(stored, known, strict=True)
        if not (another_schedule and any(_below(_key(text), root) for root in _SET_BY["lr_schedule"]))
    ]
    known = [normalised(word) for word in kept]
    new = [
        word
        for word, text in zip(words, texts, strict=True)
        if (text in choices if _is_choice(text) else _about(known, _key(text)) != _about(texts, _key(text)))
    ]
    both = list(kept)
    for word in new:
        text = normalised(word)
        both = [*(other for other in both if not _replaces(text, normalised(other))), word]
    return new, both


def _replaces(text: str, earlier: str) -> bool:
    """Whether an override leaves nothing of an earlier one."""
    if _key(text) != _key(earlier):
        return False
    if text.startswith("~"):
        return earlier.startswith("~")  # twice, there would be nothing to delete
    # A mapping is merged into what is there.
    return _is_choice(text) or not text.partition("=")[2].startswith("{")


# --- Places in a configuration --------------------------------------------------------------------


def differing(one: Any, other: Any, path: _Path = ()) -> Iterator[_Path]:
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


def _at(config: Any, path: _Path) -> Any:
    for part in path:
        if isinstance(config, Mapping):
            config = config.get(part, ABSENT)
        elif isinstance(config, list) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return ABSENT
    return config


def _put(config: dict[str, Any], path: _Path, value: Any) -> None:
    """Sets the value at `path`, or removes it, in place.

    Raises:
        SettingsError: the path leads to an item that its list doesn't have.
    """
    node: Any = config
    for depth, part in enumerate(path):
        if isinstance(node, list) and not (part.isdecimal() and int(part) < len(node)):
            numbers = f"the run's items of {'.'.join(path[:depth])} are numbered from 0 to {len(node) - 1}"
            raise SettingsError([fault(".".join(path), numbers, *(() if value is ABSENT else (value,)))])
        place = int(part) if isinstance(node, list) else part
        if depth < len(path) - 1:
            if not isinstance(_at(node, (part,)), dict | list):
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
        return frozenset(_key(text) for text in texts if not _is_choice(text))


@dataclass(frozen=True)
class _Change:
    """A setting that the run has otherwise: `word` is the override behind it, `typed` whether it names it."""

    path: _Path
    old: Any
    new: Any
    word: str
    typed: bool

    @property
    def key(self) -> str:
        return ".".join(self.path)

    def told(self, rule: str) -> str:
        """The line of a report: key=value: rule."""
        if self.new is ABSENT:
            return fault(f"~{self.key}", rule)
        return fault(self.key, rule, self.new)


def continued(
    run: Run,
    words: Sequence[str],
    composer: Composer,
    check: Callable[[Mapping[str, Any]], Settings],
    *,
    accept_schedule: bool,
) -> Continued:
    """What the overrides `words` make of a run. Writes nothing.

    Args:
        run: the run.
        words: the overrides, without those of `KEYS` and of Hydra.
        composer: composes overrides with the files of today.
        check: makes settings of a configuration, or raises SettingsError.
        accept_schedule: whether learning rates and exploration noise may change.

    Raises:
        SettingsError: with everything that can't change in a resume, or with the faults of the overrides.
    """
    new, both = merged(run.overrides, words)
    if not new:
        return Continued(check(run.config), run.overrides, ())
    edit = _Edit(run, new, both, composer)
    config, faults = edit.applied()
    try:
        settings = check(config)
    except SettingsError as error:
        faults += error.faults
        # The report is to name what may not change too; what is at fault is in it already.
        repaired = error.repaired
        settings = repaired if isinstance(repaired, Settings) else Settings.from_config(run.config)
    at_fault = {re.split(r"[.=:]", line.lstrip("~"))[0] for line in faults}
    changes = [
        change for change in edit.changes(settings.to_plain()) if not faults or change.path[0] not in at_fault
    ]
    refused = [change for change in changes if not _allowed(change, accept_schedule)]
    faults += _refusals(refused)
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return Continued(settings, tuple(word.lstrip("+") for word in both), tuple(_summary(changes)))


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

    def applied(self) -> tuple[dict[str, Any], list[str]]:
        """The run's configuration with the overrides, and the faults of the overrides."""
        faults: list[str] = []
        if self._before is None:
            wanted = self._plain_values()
        else:
            now = self._composer.compose(self._both)
            faults += now.faults
            wanted = {path: _at(now.named, path) for path in self._affected(self._before, now)}
        config = copy.deepcopy(dict(self._run.config))
        for path, value in wanted.items():
            try:
                _put(config, path, value)
            except SettingsError as error:
                faults += error.faults
        return config, [*self._faults, *(line for line in faults if line not in self._faults)]

    def _affected(self, before: Mapping[str, Any], now: Composition) -> list[_Path]:
        """The paths that the overrides are about: what they set, and what they make another."""
        files = [root for word in self._new for root in _file_keys(word)]
        found = {*differing(before, now.named), *(tuple(root.split(".")) for root in files)}
        found |= self._overrides.assignments.keys()
        return sorted(
            path for path in found if not any(path[:length] in found for length in range(1, len(path)))
        )

    def _plain_values(self) -> dict[_Path, Any]:
        """What the overrides set, where the run's own overrides can't be composed any more."""
        reason = f"needs the files of the run's own overrides: {self._gone.faults[0]}"
        for word in self._new:
            text = normalised(word)
            if _is_choice(text) or _key(text) == "decay_rate" or "${" in text:
                raise SettingsError([*self._faults, f"{word}: {reason}"])
        return self._overrides.assignments

    def changes(self, config: Mapping[str, Any]) -> list[_Change]:
        """What `config`, checked, has otherwise than the run, each with the override behind it."""
        paths = list(differing(self._run.config, config))
        words = {path: self._word_naming(path) for path in paths}
        if len(self._new) == 1:
            behind = dict.fromkeys(paths, self._new[0])
        else:
            behind = self._words_behind([path for path in paths if words[path] is None])
        return [
            _Change(
                path,
                _at(self._run.config, path),
                _at(config, path),
                words[path] or behind.get(path, ""),
                words[path] is not None,
            )
            for path in paths
        ]

    def _word_naming(self, path: _Path) -> str | None:
        """The override that sets the value at `path` by its key."""
        for word in reversed(self._new):
            text = normalised(word)
            if not _is_choice(text) and (
                _below(".".join(path), _key(text)) or _below(_key(text), ".".join(path))
            ):
                return word
        return None

    def _words_behind(self, paths: list[_Path]) -> dict[_Path, str]:
        """The overrides that change values which none of them names."""
        found: dict[_Path, str] = {}
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
    return _SET_BY[_key(text)] if _is_choice(text) else ()


# --- What is told ---------------------------------------------------------------------------------


def _allowed(change: _Change, accept_schedule: bool) -> bool:
    root = change.path[0]
    return root in MAY_CHANGE or (accept_schedule and root in SCHEDULES)


def _refusals(changes: Sequence[_Change]) -> Iterator[str]:
    """The report of changes that can't be made: those that an override names, and a line for all others."""
    for of_schedules in (False, True):
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
            if [change.key for change in group] == [_key(normalised(word))]:
                yield f"{word}: the run has {_shown(group[0].old)}; {rule}"
                continue
            settings = [change.told("")[:-2] + f" (the run has {_shown(change.old)})" for change in group]
            yield f"{word}: means {_some(settings)}; {rules if len(group) > 1 else rule}"


def _summary(changes: Sequence[_Change]) -> Iterator[str]:
    """The changes that are made, a line each; of those behind one override the first few."""
    for word, group in _by_word(changes).items():
        lines = [f"{change.key}: {_shown(change.old)} -> {_shown(change.new)}" for change in group]
        yield from lines if len(lines) <= _SHOWN else (f"{word}: {_some(lines)}",)


def _by_word(changes: Sequence[_Change]) -> dict[str, list[_Change]]:
    groups: dict[str, list[_Change]] = {}
    for change in changes:
        groups.setdefault(change.word, []).append(change)
    return groups


def _shown(value: Any) -> str:
    text = "none" if value is ABSENT else typed(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
