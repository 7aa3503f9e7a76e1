"""Notes on what a training never gets to: by its length, by its seed frames, by its number of evaluations."""

from __future__ import annotations

from fractions import Fraction

from glideslope.lr_scheduler.curves import Curve, cosine, exponential, flat, geometric, linear, polynomial
from glideslope.lr_scheduler.plateau import Plateau
from glideslope.lr_scheduler.shapes import Entry
from glideslope.lr_scheduler.values import Context, Report

_ARRIVING = (linear, cosine, polynomial, geometric)
_NOTED_SHARE = Fraction(1, 4)  # seed frames take a little of every interval and warm-up that begins at 0


def note_reach(
    entry: Entry,
    curve: Curve,
    plateau: Plateau | None,
    until: Fraction | None,
    context: Context,
    report: Report,
) -> None:
    """Note what of an interval has no effect in its training.

    Args:
        entry: the interval, in its place.
        curve: its curve.
        plateau: what evaluations do to its rate.
        until: the start of the next interval; None for the last one and for stages.
        context: with the training's end, its seed steps and its evaluations.
        report: takes the notes.
    """
    start = entry.start or Fraction(0)  # a stage is entered there at the earliest
    left = context.end - start
    if left <= 0:
        return  # noted where the interval was placed
    warmup = entry.values.get("warmup", Fraction(0))
    if warmup > left:
        entry.note(report, "warmup", f"not over when training ends, at step {context.end}")
    elif curve.shape in _ARRIVING and "final_lr" in entry.raw and entry.length and entry.length > left:
        rule = f"never reached: training ends with {curve.at(left):g}, at step {context.end}"
        entry.note(report, "final_lr", rule)
    elif curve.shape is exponential and curve.stairs:
        if curve.unit >= left:
            entry.note(report, "decay_interval", f"never decays: training ends at step {context.end}")
        elif entry.length and curve.unit > entry.length:
            entry.note(report, "decay_interval", "never decays: longer than its interval")
    if plateau is not None and context.evaluations is not None:
        made = int(context.evaluations * min(entry.length or left, left) / context.end)
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
