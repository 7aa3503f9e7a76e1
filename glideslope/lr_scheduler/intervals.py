"""Reads one network's list of intervals, places them in time or by stage, and reports every fault.

It notes, too, what a training never gets to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from glideslope.lr_scheduler.curves import (
    Curve,
    cosine,
    exponential,
    flat,
    geometric,
    linear,
    one_minus_sqrt,
    polynomial,
)
from glideslope.lr_scheduler.faults import UNSET
from glideslope.lr_scheduler.plateau import METRICS, Plateau
from glideslope.lr_scheduler.schedule import Interval, Schedule
from glideslope.lr_scheduler.shapes import KEYS, SHAPE_KEYS, SHAPES, Entry, parse_type, plateau_of
from glideslope.lr_scheduler.values import Context, Report, choices

_ARRIVING = (linear, cosine, polynomial, geometric, one_minus_sqrt)
_SYNONYMS = {"value": "lr", "init_value": "init_lr", "final_value": "final_lr"}
_NOTED_SHARE = Fraction(1, 4)  # seed frames take a little of every interval and warm-up that begins at 0


def _read_entry(raw: object, key: str, default_type: str | None, context: Context, report: Report) -> Entry | None:
    if not isinstance(raw, Mapping):
        report.fault(key, "an interval is a mapping, such as {start: 0, end: 1M, lr: 1.0e-4}", raw)
        return None
    faults = len(report.faults)
    given = {str(name): value for name, value in raw.items() if value is not None}
    values = {}
    for name, value in given.items():
        if name not in KEYS:
            report.fault(f"{key}.{name}", f"an unknown key; {choices(name, KEYS, 'keys', _SYNONYMS)}", value)
            continue
        try:
            values[name] = KEYS[name](value, context)
        except ValueError as problem:
            report.fault(f"{key}.{name}", str(problem), value)
    chosen = values.get("type") if "type" in given else default_type
    if "lr" in given and "init_lr" in given:
        report.fault(f"{key}.init_lr", "lr and init_lr mean the same; give only one", given["init_lr"])
    elif not ("lr" in given or "init_lr" in given):
        if chosen != "piecewise_linear":
            report.fault(f"{key}.lr", "is missing; an interval starts from lr (or init_lr)")
        elif "points" not in given:
            report.fault(f"{key}.points", "is missing: each a time and a rate, [[0, 1x], [40%, 0.5x]], say")
    _check_metric(key, chosen, values, context, report)
    return Entry(key, given, values, chosen, sound=chosen is not None and len(report.faults) == faults)


def _check_metric(key: str, chosen: object, values: Mapping[str, Any], context: Context, report: Report) -> None:
    """Refuse a metric that might be to rise or to fall."""
    metric = values.get("metric")
    if chosen == "reduce_on_plateau" and metric and "mode" not in values and metric not in modes_of(context):
        report.fault(f"{key}.mode", f"is missing; say whether {metric} is to rise or to fall: max or min")


def modes_of(context: Context) -> Mapping[str, str]:
    """Return the metrics whose mode is known."""
    return METRICS if context.metrics is None else context.metrics


def _place_in_time(entries: Sequence[Entry], context: Context, report: Report) -> list[Entry]:
    """Fill in the missing starts and ends; refuse what is out of order or overlaps."""
    placed: list[Entry] = []
    for i, entry in enumerate(entries):
        before, after = entries[i - 1] if i else None, entries[i + 1] if i + 1 < len(entries) else None
        start, end = entry.values.get("start"), entry.values.get("end")
        if "start" not in entry.raw:
            start = before.values.get("end") if before else Fraction(0)
            if before and "end" not in before.raw:
                entry.fault(report, "start", f"is missing, and so is {before.key}.end; give one of them")
        if "end" not in entry.raw:
            end = after.values.get("start") if after else Fraction(context.total)
        if "duration" in entry.raw:
            entry.fault(report, "duration", "belongs to an interval with a stage; give its end")
        length = end - start if start is not None and end is not None and end > start else None
        if start is not None and start >= context.end:
            entry.note(report, "start", f"never reached: training ends at step {context.end}")
        if start is not None and "end" in entry.values and length is None:
            shown = entry.raw.get("start", _steps(start))
            entry.fault(report, "end", f"must be greater than the start, {shown}")
        if length is not None and entry.values.get("warmup", 0) > length:
            entry.fault(report, "warmup", f"longer than its interval, which has {_steps(length)} steps")
        placed.append(replace(entry, start=start, length=length))
    for i, later in enumerate(placed):
        # One overlap for each interval: the nearest.
        any(_refuse_overlap(earlier, later, placed, report) for earlier in reversed(placed[:i]))
    return placed


def _refuse_overlap(earlier: Entry, later: Entry, placed: Sequence[Entry], report: Report) -> bool:
    """Report two intervals that cannot be in this order in one list; return whether there was one."""
    if earlier.start is None or later.start is None:
        return False
    end, other = earlier.values.get("end"), f"interval {earlier.key.rsplit('.', 1)[1]}"
    if later.start < earlier.start:
        rule = f"intervals are listed in order, but {other} starts later, at step {_steps(earlier.start)}"
    elif later.start == earlier.start:
        mend = f"; to fix it, set {later.key}.start={earlier.raw['end']}" if end is not None else ""
        rule = f"{other} starts there too{mend}"
    elif end is not None and later.start < end:
        own = _steps(later.start) + (f" to {_steps(later.start + later.length)}" if later.length else " on")
        after = {e.start: e for e in placed if e.start is not None and e.start > earlier.start}
        start = min(after)
        mend = f"{earlier.key}.end={after[start].raw.get('start', _steps(start))}"
        rule = f"steps {own} overlap {other}, {_steps(earlier.start)} to {_steps(end)}; to fix it, set {mend}"
    else:
        return False
    later.fault(report, "start", rule)
    return True


def _steps(time: Fraction) -> str:
    return f"{float(time):.15g}"


def _place_in_stages(entries: Sequence[Entry], context: Context, report: Report) -> list[Entry]:
    previous = -1
    for entry in entries:
        clash = [name for name in ("start", "end") if name in entry.raw]
        for name in clash:
            entry.fault(report, name, "times and stages do not mix in one list of intervals")
        if "stage" not in entry.raw and not clash:
            entry.fault(report, "stage", "is missing; the other intervals of this list have one")
        stage = entry.values.get("stage", previous + 1)
        if stage <= previous:
            entry.fault(report, "stage", f"listed after stage {previous}; stages are in order, once each")
        if "stage" in entry.values and stage >= len(context.stage_names):
            last = f"the last stage is {len(context.stage_names) - 1}" if context.stage_names else "no stages"
            entry.note(report, "stage", f"never reached: {last}")
        if "duration" in entry.values and entry.values.get("warmup", 0) > entry.values["duration"]:
            entry.fault(report, "warmup", f"longer than the duration, {entry.raw['duration']}")
        previous = max(stage, previous)
    return [replace(entry, length=entry.values.get("duration")) for entry in entries]


def _make_interval(entry: Entry, after: Entry | None, context: Context, report: Report) -> Interval | None:
    """Return the interval of an entry that has its place; None for one at fault."""
    following, until = (None, None) if after is None else (after.init, after.start)
    if not entry.sound or entry.type is None or entry.init is None:
        return None
    shape = SHAPES[entry.type]
    for name in entry.raw:
        if name in SHAPE_KEYS and name not in shape.keys:
            users = ", ".join(other for other in SHAPES if name in SHAPES[other].keys)
            entry.note(report, name, f"not used by {entry.type}, only by {users}")
    if entry.repeat > 1 and not _can_repeat(entry, context, report):
        return None
    curve = shape.make(entry, entry.init, following, report)
    warmup = entry.values.get("warmup", Fraction(0))
    span = max(Fraction(context.total) if entry.length is None else entry.length, warmup)
    start, stage = entry.start or Fraction(0), entry.values.get("stage", 0)
    plateau = plateau_of(entry, modes_of(context))
    interval = Interval(curve, span, warmup, start, stage, plateau, entry.repeat, _restart_factor(entry))
    peak = max(entry.init, interval.last, *(rate for _, rate in entry.points))
    if peak > context.largest:
        rule = f"the rate grows to {peak:g}; it must not be greater than {context.largest:g}"
        entry.fault(report, "decay_rate", rule)
    elif context.max_rate is not None and 0 < 10 * context.base <= peak * (1 + 1e-12):
        name = "lr" if "lr" in entry.raw else "init_lr"
        entry.note(report, name, f"the rate reaches {peak:g}, {peak / context.base:.4g} times the base rate")
    _note_reach(entry, curve, plateau, until, context, report)
    return interval


def _restart_factor(entry: Entry) -> float:
    """Return what each restart of an interval's curve multiplies its initial rate by."""
    used = entry.repeat > 1 and entry.type is not None and "restart_factor" in SHAPES[entry.type].keys
    factor: float = entry.values.get("restart_factor", 1.0) if used else 1.0
    return factor


def _can_repeat(entry: Entry, context: Context, report: Report) -> bool:
    """Report what hinders an interval's curve from being run through several times; return whether nothing does."""
    if entry.cycle is None:
        entry.fault(report, "duration", "is missing; repeat divides it into cycles")
        return False
    if entry.values.get("warmup", 0) > entry.cycle:
        entry.fault(report, "warmup", f"longer than a cycle of its interval, which has {_steps(entry.cycle)} steps")
        return False
    try:
        peak = (entry.init or 0.0) * _restart_factor(entry) ** (entry.repeat - 1)
    except OverflowError:
        peak = math.inf
    if peak > context.largest:
        rule = f"the rate grows to {peak:g}; it must not be greater than {context.largest:g}"
        entry.fault(report, "restart_factor", rule)
    return peak <= context.largest


def read_network(raw: object, key: str, context: Context, report: Report) -> Schedule:
    """Return one network's schedule; a constant one where a fault has been reported."""
    constant = Schedule(context.base)
    if raw is None:
        return constant
    if not isinstance(raw, Mapping):
        report.fault(key, "must be a mapping with type and intervals", raw)
        return constant
    for name in raw:
        if name not in ("type", "intervals"):
            rule = f"an unknown key; {choices(name, ('type', 'intervals'), 'keys')}"
            if name in KEYS:
                rule = f"belongs to an interval, as {key}.intervals.0.{name}"
            report.fault(f"{key}.{name}", rule, raw[name])
    default_type = None
    if raw.get("type") is not None:
        try:
            default_type = parse_type(raw["type"], context)
        except ValueError as problem:
            report.fault(f"{key}.type", str(problem), raw["type"])
    items = raw.get("intervals")
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        found = "is missing" if items is None else "must be a list of one interval or more"
        report.fault(f"{key}.intervals", f"{found}{context.hint}", UNSET if items is None else items)
        return constant
    read = [_read_entry(item, f"{key}.intervals.{i}", default_type, context, report) for i, item in enumerate(items)]
    entries = [entry for entry in read if entry is not None]
    if raw.get("type") is None and any("type" not in entry.raw for entry in entries):
        report.fault(f"{key}.type", f"is missing; {choices('', SHAPES, 'types')}")
    return _assemble(entries, context, report) if len(entries) == len(items) else constant


def _assemble(entries: Sequence[Entry], context: Context, report: Report) -> Schedule:
    """Return the schedule of a network's intervals; a constant one where a fault has been reported."""
    staged = any("stage" in entry.raw for entry in entries)
    placed = (_place_in_stages if staged else _place_in_time)(entries, context, report)
    made = [
        _make_interval(entry, after, context, report) for entry, after in zip(placed, [*placed[1:], None], strict=True)
    ]
    intervals = [interval for interval in made if interval is not None]
    if len(intervals) < len(placed):
        return Schedule(context.base)
    starts_late = intervals[0].stage > 0 if staged else intervals[0].start > 0
    return Schedule(context.base, intervals, starts_late or any(map(_is_relative, placed)), staged)


def _is_relative(entry: Entry) -> bool:
    """Return whether a rate that its curve uses is a multiple of the base rate."""
    keys = SHAPES[entry.type].keys if entry.type is not None else ()
    if entry.points:
        return any(str(rate).strip().endswith("x") for _, rate in entry.raw["points"])
    names = ["lr", "init_lr", *(name for name in ("final_lr", "min_lr") if name in keys)]
    return any(str(entry.raw.get(name)).strip().endswith("x") for name in names)


def _note_reach(
    entry: Entry, curve: Curve, plateau: Plateau | None, until: Fraction | None, context: Context, report: Report
) -> None:
    """Note what of an interval in its place its training never gets to: by its length, seed frames and evaluations.

    `until` is the start of the next interval; None for the last one and for stages.
    """
    start = entry.start or Fraction(0)  # a stage is entered there at the earliest
    left = context.end - start
    if left <= 0:
        return  # noted where the interval was placed
    warmup = entry.values.get("warmup", Fraction(0))
    if warmup > left:
        entry.note(report, "warmup", f"not over when training ends, at step {context.end}")
    elif curve.shape in _ARRIVING and "final_lr" in entry.raw and entry.cycle and entry.cycle > left:
        rule = f"never reached: training ends with {curve.at(left):g}, at step {context.end}"
        entry.note(report, "final_lr", rule)
    elif curve.shape is exponential and curve.stairs:
        if curve.unit >= left:
            entry.note(report, "decay_interval", f"never decays: training ends at step {context.end}")
        elif entry.cycle and curve.unit > entry.cycle:
            entry.note(report, "decay_interval", "never decays: longer than its interval")
    elif entry.points and entry.points[-1][0] > min(entry.cycle or left, left):
        entry.note(report, "points", f"the last one, after {_steps(entry.points[-1][0])} steps, is never reached")
    if plateau is not None and context.evaluations is not None:
        looked_at = max(min(entry.length or left, left) - plateau.start_after, Fraction(0))
        made = int(context.evaluations * looked_at / context.end)
        if plateau.patience + 2 > made:  # the first one sets the best value
            rule = f"never reduces: that takes {plateau.patience + 2} evaluations, and about {made} are made"
            entry.note(report, "patience", rule)
    holds_zero = curve.shape is flat and not any(curve.numbers)  # as long as there is no update, say
    if not entry.values.get("stage") and not holds_zero:
        _note_seed_steps(entry, start, warmup, until, context, report)


def _note_seed_steps(
    entry: Entry, start: Fraction, warmup: Fraction, until: Fraction | None, context: Context, report: Report
) -> None:
    """Note what falls into the steps before the first update."""
    skipped = context.seed_steps - start
    why = f"no update is made in the {context.seed_steps} steps of seed frames"
    if skipped <= 0:
        return
    if until is not None and until <= context.seed_steps + 1:
        report.note(entry.key, f"never used: {why}")
    elif warmup:
        share = min(skipped / warmup, Fraction(1))
        if share >= _NOTED_SHARE:
            entry.note(report, "warmup", f"{'' if share == 1 else f'{int(100 * share)}% '}skipped: {why}")
    elif entry.length is not None and skipped >= _NOTED_SHARE * entry.length and entry.length < context.end:
        share = min(skipped / entry.length, Fraction(1))
        report.note(entry.key, f"{int(100 * share)}% skipped: {why}")
