"""Which runs are alike: grouped by the settings that differ, and named by what was typed for them."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glideslope.errors import Fault, SettingsError, typed, unknown
from glideslope.evaluation.comparison.runs import RecordedRun
from glideslope.settings.catalogue import preset_folders
from glideslope.settings.yaml_files import YamlError, decode_text, parse_yaml

_LONGEST_LABEL = 40

# Settings that never count as a difference: the seed, and where and how the run is watched and stored. What
# decay_rate does is in lr_schedule.
UNCOUNTED = (
    *("seed", "device", "replay_device", "num_threads", "log_every_frames", "snapshot_every_frames"),
    *("save_video", "track", "on_write_error", "keep_replay", "final_eval_episodes", "decay_rate"),
)
# These count only where evaluations decide on rates.
_OF_EVALUATIONS = ("eval_every_frames", "num_eval_episodes")
_SCHEDULES = ("lr_schedule", "stddev_schedule", "schedules")
# Mappings that differ as a whole.
_WHOLE = (*_SCHEDULES, "agent.encoder", "agent.actor_critic", "curriculum.stages")
# Choices of a file that stand for the settings below a key.
_CHOICES = {
    "curriculum_preset": "curriculum",
    "encoder_bundle": "agent.encoder",
    "actor_critic_bundle": "agent.actor_critic",
    "task": "task",
}


@dataclass(frozen=True)
class Group:
    """Runs that are alike but for settings that don't count."""

    values: Mapping[str, str]  # what tells the group from the others, by key, as it would be typed
    runs: tuple[RecordedRun, ...]  # the runs, in order

    @property
    def label(self) -> str:
        """The group's name, such as `gentle_decay`; with keys where there are several."""
        if len(self.values) == 1:
            return next(iter(self.values.values()))
        return ", ".join(f"{key}={value}" for key, value in self.values.items()) or "all runs"


@dataclass(frozen=True)
class Grouping:
    """Groups of runs."""

    groups: tuple[Group, ...]  # the groups, in order of their first runs
    differing: tuple[str, ...]  # every setting in which the groups differ
    pooled: tuple[str, ...]  # settings in which runs of one group differ, as `by` leaves them out

    @property
    def heading(self) -> str:
        """What the groups' labels are values of."""
        keys = list(self.groups[0].values) if self.groups else []
        return keys[0] if len(keys) == 1 else "group"


def group_runs(runs: Sequence[RecordedRun], by: Sequence[str] | None = None) -> Grouping:
    """Group runs by the settings that differ, or by the keys `by` alone.

    Raises:
        SettingsError: a key that the runs don't have.
    """
    columns = _columns(runs)
    counted = [key for key, values in columns.items() if len(set(values)) > 1 and _counts(key, runs)]
    if by is None:
        shown = _shortest(_candidates(runs, columns, counted), counted, columns)
        groups = _parts(runs, [columns[key] for key in counted])
        return Grouping(_named(groups, shown), tuple(counted), ())
    _check(runs, by)
    keyed = {key: [_frozen(_value(run.settings, _CHOICES.get(key, key))) for run in runs] for key in by}
    groups = _parts(runs, list(keyed.values()))
    within = [key for key in counted if any(len({_frozen_at(run, key) for run in group}) > 1 for group in groups)]
    return Grouping(_named(groups, by), tuple(by), tuple(within))


def _counts(key: str, runs: Sequence[RecordedRun]) -> bool:
    if key in _OF_EVALUATIONS:
        schedules = [run.settings.get(name) for run in runs for name in _SCHEDULES]
        return "reduce_on_plateau" in repr(schedules)
    return key not in UNCOUNTED


def _check(runs: Sequence[RecordedRun], by: Sequence[str]) -> None:
    options = list(dict.fromkeys([*_CHOICES, *(key for run in runs for key in _paths(run.settings))]))
    faults = [Fault("by", key, unknown(key, "setting of these runs", options)) for key in by if key not in options]
    if faults:
        raise SettingsError(faults)


# --- Settings as columns --------------------------------------------------------------------------


def _columns(runs: Sequence[RecordedRun]) -> dict[str, list[Hashable]]:
    """Return the value in each run, by key, of every setting that can differ by itself."""
    keys = dict.fromkeys(key for run in runs for key in _leaves(run.settings))
    return {key: [_frozen_at(run, key) for run in runs] for key in keys}


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and path not in _WHOLE:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Return every key of the settings, those of mappings and items too."""
    if path:
        yield path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, f"{path}.{key}" if path else str(key))


def _value(settings: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(settings, Mapping):
            settings = settings.get(part)
        elif isinstance(settings, list) and part.isdecimal() and int(part) < len(settings):
            settings = settings[int(part)]
        else:
            return None
    return settings


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _frozen_at(run: RecordedRun, key: str) -> str:
    return _frozen(_value(run.settings, key))


# --- Which keys name the groups -------------------------------------------------------------------


def _candidates(
    runs: Sequence[RecordedRun], columns: Mapping[str, Sequence[Hashable]], counted: Sequence[str]
) -> dict[str, Sequence[Hashable]]:
    """Return keys that may name the groups, with their values: what was typed first."""
    typed_keys = {_key_of(word) for run in runs for word in run.overrides}
    found: dict[str, Sequence[Hashable]] = {}
    for choice in typed_keys & _CHOICES.keys():
        below = [columns[key] for key in counted if _at_or_below(key, _CHOICES[choice])]
        labels, values = [label_of(run, choice) for run in runs], list(zip(*below, strict=True))
        # Only where the names tell apart exactly what the settings do.
        if values and len(set(labels)) == len(set(values)) == len(set(zip(labels, values, strict=True))):
            found[choice] = labels
    was_typed = [key for key in counted if any(_at_or_below(word, key) for word in typed_keys)]
    return found | {key: columns[key] for key in (*was_typed, *counted)}


def _shortest(
    candidates: Mapping[str, Sequence[Hashable]],
    counted: Sequence[str],
    columns: Mapping[str, Sequence[Hashable]],
) -> list[str]:
    """Of the candidates, in order, those that tell groups apart which the ones before don't."""
    wanted = len(set(zip(*(columns[key] for key in counted), strict=True)))
    chosen: list[str] = []
    count = 1
    for key in candidates:
        now = len(set(zip(*(candidates[name] for name in (*chosen, key)), strict=True)))
        if now > count:
            chosen, count = [*chosen, key], now
        if count == wanted:
            break
    return chosen


def _parts(runs: Sequence[RecordedRun], columns: Sequence[Sequence[Hashable]]) -> list[list[RecordedRun]]:
    parts: dict[Hashable, list[RecordedRun]] = {}
    for index, run in enumerate(runs):
        parts.setdefault(tuple(column[index] for column in columns), []).append(run)
    return list(parts.values())


def _at_or_below(key: str, root: str) -> bool:
    return key == root or key.startswith(f"{root}.")


# --- Names ----------------------------------------------------------------------------------------


def _named(groups: Sequence[Sequence[RecordedRun]], keys: Sequence[str]) -> tuple[Group, ...]:
    """Return groups with their values; a number tells apart those that would be named alike."""
    # A finished run names its group: unfinished ones are in no figure.
    first = [next((run for run in runs if not run.unfinished), runs[0]) for runs in groups]
    plain = [{key: label_of(run, key) for key in keys} for run in first]
    named: list[Group] = []
    for index, (runs, values) in enumerate(zip(groups, plain, strict=True)):
        alike = plain[:index].count(values)
        last = {keys[-1]: f"{values[keys[-1]]} ({alike + 1})"} if alike else {}
        named.append(Group(values | last, tuple(runs)))
    return tuple(named)


def label_of(run: RecordedRun, key: str) -> str:
    """Return a run's value of a key, as it would be typed: the name of a preset rather than what is in it."""
    value = _value(run.settings, _CHOICES.get(key, key))
    if key == "lr_schedule":
        return _schedule_name(run, value)
    if key in _CHOICES:
        chosen = [word.partition("=")[2] for word in run.overrides if _key_of(word) == key and "=" in word]
        name = value.get("name") if isinstance(value, Mapping) else None
        return chosen[-1] if chosen else str(name or "default")
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    text = f"{value:g}" if isinstance(value, float) else typed(value)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _key_of(word: str) -> str:
    """Return the key of an override; of a choice, the group without its place."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _schedule_name(run: RecordedRun, value: Any) -> str:
    """Return the schedule as typed: the preset, and what was changed in it."""
    words = [word for word in run.overrides if _at_or_below(_key_of(word), "lr_schedule")]
    chosen = [word for word in words if _key_of(word) == "lr_schedule" and "{" not in word]
    if chosen:
        after = words[words.index(chosen[-1]) + 1 :]
        changes = [word.replace("lr_schedule.", "", 1).lstrip("+") for word in after]
        name = chosen[-1].partition("=")[2]
        return " ".join([Path(name).stem if "/" in name else name, *changes])
    return _preset_name(run, value) or "of its own"


def _preset_name(run: RecordedRun, value: Any) -> str:
    """Return the preset whose schedule this is, if any."""
    if value is None:
        return "constant"
    for file in (file for folder in preset_folders() for file in sorted((folder / "lr_schedule").glob("*.yaml"))):
        try:
            text = decode_text(file.read_bytes())
            content = parse_yaml(text.replace("${decay_rate}", str(run.settings.get("decay_rate"))))
        except (OSError, YamlError):
            continue  # somebody's own, not finished yet
        if isinstance(content, Mapping) and content.get("lr_schedule") == value:
            return file.stem
    return ""
