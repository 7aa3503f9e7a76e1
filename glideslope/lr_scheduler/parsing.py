"""Builds schedules from settings: the networks' learning rates, or any other number's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, SupportsIndex

from glideslope.lr_scheduler.curves import Curve, flat, linear
from glideslope.lr_scheduler.decimals import LONGEST_RUN
from glideslope.lr_scheduler.faults import Fault
from glideslope.lr_scheduler.intervals import read_network
from glideslope.lr_scheduler.schedule import Interval, Schedule, Schedules
from glideslope.lr_scheduler.values import (
    Context,
    Report,
    ScheduleError,
    choices,
    parse_positive_time,
    parse_rate,
)


def build_schedules(
    config: Mapping[str, Any] | None,
    *,
    base: Mapping[str, float] | float,
    total_steps: float,
    stage_names: Sequence[str] = (),
    key: str = "lr_schedule",
    preset_key: str | None = None,
    max_rate: float | None = 1.0,
    given: Mapping[str, str] | None = None,
    train_steps: int | None = None,
    seed_steps: int = 0,
    evaluations: int | None = None,
    metrics: Mapping[str, str] | None = None,
) -> Schedules:
    """Return the schedule of each network of `base`, from settings as they are written in YAML.

    Args:
        config: {network: {type, intervals: [{start, end, lr, ...}]}}; a network left out keeps its base
            rate, and with None all do.
        base: each network's base rate, from 0 to `max_rate`; rates such as 0.5x are multiples of it. One number is
            for every network of `config`.
        total_steps: length of the training in global steps, 1 to 1e15, a whole number such as 1e6; times such as
            40% are shares of it.
        stage_names: the curriculum's stages in order, for intervals that name a stage.
        key: the name of these settings, for messages.
        preset_key: what a preset is chosen by on a command line, for messages; None where there is none.
        max_rate: no rate may be greater; None for no limit.
        given: for each network, the key that the user typed for its base rate ("lr", say), to note
            where it has no effect.
        train_steps: length of the training in global steps where that is not `total_steps`; this and what
            follows change no rate, only what is noted.
        seed_steps: global steps before the first update, whose rates are never used.
        evaluations: how many evaluations the training makes; None where that is not known.
        metrics: the metrics that its evaluations give, each with its mode, "max" or "min". None for any metric, whose
            mode is then to be given, but for `success_rate` and `episode_reward`.

    Raises:
        ScheduleError: with every fault of `config`.
        TypeError: `total_steps` is no number, or not a whole one.
        ValueError: a base rate or `total_steps` is out of range, or `base` is one number for no network.
    """
    preset, hint = 'load_preset("gentle_decay") is one, say', "; list the intervals, or take those of load_preset"
    if preset_key:
        preset = f"a preset is chosen with {preset_key}=gentle_decay, say"
        hint = f"; choose a preset first ({preset_key}=gentle_decay, say), or list the intervals"
    if not isinstance(base, Mapping):
        if not isinstance(config, Mapping):
            raise ValueError(f"base={base} is for the networks of {key}, which names none; give {{network: rate}}")
        base = dict.fromkeys(map(str, config), base)
    training = (train_steps, seed_steps, evaluations, metrics)
    contexts = {
        network: _context(rate, total_steps, stage_names, max_rate, hint, *training) for network, rate in base.items()
    }
    report = Report()
    networks = config if isinstance(config, Mapping) else {}
    if config is not None and not isinstance(config, Mapping):
        rule = f"must be {'null' if preset_key else 'None'} or a mapping of {', '.join(base)}; {preset}"
        report.fault(key, rule, config)
    if key in networks and key not in base:
        report.fault(f"{key}.{key}", "add `# @package _global_` as the first line of the preset file")
        networks = {}
    for name in networks:
        if name not in base:
            rule = f"an unknown network; {choices(name, base, 'networks')}"
            report.fault(f"{key}.{name}", rule, networks[name])
    schedules = {
        network: read_network(networks.get(network), f"{key}.{network}", context, report)
        for network, context in contexts.items()
    }
    if report.faults:
        raise ScheduleError(report.faults)
    for name in dict.fromkeys((given or {}).values()):
        users = [network for network, typed in (given or {}).items() if typed == name]
        if not any(schedules[network].depends_on_base for network in users):
            report.note(name, f"has no effect: every rate of {', '.join(users)} in {key} is absolute")
    return Schedules(schedules, _merged(report.notes, key, list(base)))


def _merged(notes: Sequence[Fault], key: str, networks: Sequence[str]) -> list[str]:
    """Return the notes as text, equal ones of several networks in one line, as `key.{encoder,actor}.rest`."""
    merged: dict[Fault, list[str]] = {}
    for note in notes:
        network, _, rest = note.key.removeprefix(f"{key}.").partition(".")
        if network in networks:
            merged.setdefault(replace(note, key=rest), []).append(network)
        else:
            merged[note] = []
    shown = {note: names[0] if len(names) == 1 else f"{{{','.join(names)}}}" for note, names in merged.items()}
    return [f"{key}.{shown[note]}.{note}" if names else str(note) for note, names in merged.items()]


def _context(
    base: float, total: float, stages: Sequence[str], max_rate: float | None, hint: str, *training: Any
) -> Context:
    if not (isinstance(total, SupportsIndex) or (isinstance(total, float) and total.is_integer())):
        raise TypeError(f"total_steps must be a whole number, not {total!r}")
    steps = int(total)
    context = Context(float(base), steps, tuple(stages), max_rate, hint, *training)
    if not 0 <= context.base <= context.largest:
        raise ValueError(f"a base rate must be from 0 to {context.largest:g}, not {base}")
    if not 1 <= steps <= LONGEST_RUN:
        raise ValueError(f"the total steps must be from 1 to 1e15, not {total}")
    return context


_CALLS = {
    "linear": ("init", "final", "duration"),
    "step_linear": ("init", "final1", "duration1", "final2", "duration2"),
}


def parse_schedule(
    value: Mapping[str, Any] | float | str | None,
    *,
    base: float = 1.0,
    total_steps: float,
    stage_names: Sequence[str] = (),
    key: str = "schedule",
    max_value: float | None = None,
    train_steps: int | None = None,
    seed_steps: int = 0,
    evaluations: int | None = None,
    metrics: Mapping[str, str] | None = None,
) -> Schedule:
    """Return the schedule of one number, such as the exploration noise or a weight decay; its `lr` is that number.

    Args:
        value: a number; {type, intervals} as for one network in `build_schedules`; or a string as in DrQ-v2
            (Yarats et al. 2021, `utils.schedule`), `linear(init,final,duration)` or
            `step_linear(init,final1,duration1,final2,duration2)`, in which numbers such as 0.5x and times such
            as 40% are understood too. None is `base`.
        base: what numbers such as 0.5x are multiples of; from 0 to `max_value`.
        max_value: no number may be greater; None for no limit.
        total_steps, stage_names, key, train_steps, seed_steps, evaluations, metrics: as in `build_schedules`.

    Raises:
        ScheduleError: with every fault of `value`.
        ValueError: `base` or `total_steps` is out of range.
    """
    training = (train_steps, seed_steps, evaluations, metrics)
    context, report = _context(base, total_steps, stage_names, max_value, "", *training), Report()
    if value is None or isinstance(value, Mapping):
        schedule = read_network(value, key, context, report)
    else:
        schedule = _read_call(value, key, context, report)
    if report.faults:
        raise ScheduleError(report.faults)
    schedule.notes = tuple(map(str, report.notes))
    return schedule


def _read_call(value: object, key: str, context: Context, report: Report) -> Schedule:
    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", value) if isinstance(value, str) else None
    names = _CALLS.get(call[1], ()) if call else ("number",)
    words = [word.strip() for word in call[2].split(",")] if call else [value]
    if len(words) != len(names):
        forms = ", ".join(f"{form}({','.join(arguments)})" for form, arguments in _CALLS.items())
        report.fault(key, f"must be a number, a mapping with type and intervals, or one of {forms}", value)
        return Schedule(context.base)
    numbers: list[Any] = []
    for name, word in zip(names, words, strict=True):
        parse: Callable[[object, Context], Any] = parse_rate
        if name.startswith("duration"):
            parse = parse_positive_time
        try:
            numbers.append(parse(word, context))
        except ValueError as problem:
            report.fault(key, f"{name} {word}: {problem}" if call else str(problem), value)
    if report.faults:
        return Schedule(context.base)
    if not call:
        intervals = [Interval(Curve(flat, (numbers[0],)), Fraction(context.total))]
    else:
        intervals = [Interval(Curve(linear, (numbers[0], numbers[1]), numbers[2]), numbers[2])]
    if len(numbers) == 5:
        curve = Curve(linear, (numbers[1], numbers[3]), numbers[4])
        intervals.append(Interval(curve, numbers[4], start=numbers[2]))
    return Schedule(context.base, intervals, any(str(word).endswith("x") for word in words))
