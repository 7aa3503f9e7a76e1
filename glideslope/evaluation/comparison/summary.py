"""The figures of a comparison: what its table, pictures and files show, computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from glideslope.evaluation.comparison.grouping import Group, Grouping, group_runs
from glideslope.evaluation.comparison.runs import Array, LeftOut, RecordedRun, read_runs
from glideslope.evaluation.comparison.statistics import MANY, Estimate, estimate, improvement, performance_profile
from glideslope.settings import NETWORKS

MILESTONES = (0.8, 0.9)
THRESHOLDS = np.linspace(0.0, 1.0, 101)
_MOST_POINTS = 1000  # of a curve; more can't be told apart

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Milestone:
    """When the runs of a group first landed this often on the last stage."""

    # median over all runs, where one that never did counts as infinitely late; infinite where half of the runs
    # or more never did
    frames: float
    reached: int  # how many did
    runs: int  # how many runs there are


@dataclass(frozen=True)
class Summary:
    """The figures of a group, over its finished runs."""

    group: Group  # the group
    finished: tuple[RecordedRun, ...]  # its finished runs
    landed: Estimate  # held-out success rate on the last stage
    all_stages: Estimate  # held-out success rate over all stages
    milestones: dict[float, Milestone]  # by success rate
    minutes: float  # mean length of a run in minutes
    frames: Array  # (T,) frames of the learning curve
    curve: Estimate  # success rate of the evaluations at these frames; of the unfinished runs where none is finished
    # (stage, its name, mean frame at which it was entered, runs that did) of each stage
    entries: tuple[tuple[int, str, float, int], ...]
    rates: dict[str, list[tuple[Array, Array]]]  # by network, the learning rates of each run, those that are alike once
    profile: Estimate | None  # performance profile over `THRESHOLDS`; None for few runs


@dataclass(frozen=True)
class Comparison:
    """Groups of runs side by side."""

    grouping: Grouping  # how the runs were grouped
    summaries: tuple[Summary, ...]  # the figures, by group
    # (label, label of another group, probability that a run of the first scores higher)
    improvements: tuple[tuple[str, str, Estimate], ...]
    left_out: tuple[LeftOut, ...]  # runs that the figures leave out

    @property
    def last_stages(self) -> list[str]:
        """Names of the stages that the runs end with; more than one can't well be compared."""
        runs = [run for summary in self.summaries for run in summary.group.runs]
        return list(dict.fromkeys(run.stage_names[-1] for run in runs))


def compare_runs(paths: Sequence[Path], by: Sequence[str] | None = None) -> Comparison:
    """Read the runs in these folders, group them and compute the figures.

    Raises:
        SettingsError: `by` names a setting that the runs don't have.
    """
    runs, left_out = read_runs(paths)
    grouping = group_runs(runs, by)
    summaries = tuple(_summarise(group) for group in grouping.groups)
    improvements = tuple(
        (one.group.label, other.group.label, found)
        for one, other in combinations(summaries, 2)
        if (found := _improvement(one.finished, other.finished)) is not None
    )
    return Comparison(grouping, summaries, improvements, tuple(left_out))


def _summarise(group: Group) -> Summary:
    finished = tuple(run for run in group.runs if run.finished)
    landed = [run.landed for run in finished]
    strata = [run.stratum for run in finished]
    drawn = [run for run in finished or group.runs if len(run.curve[0])]
    frames = _common_frames(drawn)
    curves = [np.interp(frames, *run.curve) for run in drawn]
    minutes = [run.minutes for run in finished if not math.isnan(run.minutes)]
    many = len(finished) >= MANY
    return Summary(
        group=group,
        finished=finished,
        landed=estimate(landed, strata),
        all_stages=_over_stages(finished),
        milestones={rate: _milestone(finished, rate) for rate in MILESTONES},
        minutes=sum(minutes) / len(minutes) if minutes else math.nan,
        frames=frames,
        curve=estimate(np.reshape(curves, (len(drawn), len(frames))), [run.stratum for run in drawn]),
        entries=_entries(drawn),
        rates={network: _distinct_rates(group.runs, network) for network in NETWORKS},
        profile=performance_profile(landed, THRESHOLDS, strata) if many else None,
    )


def _over_stages(runs: Sequence[RecordedRun]) -> Estimate:
    """Over all stages: the mean of each run's mean, or with many runs the stages as strata."""
    rates = [[float(score["success_rate"]) for score in run.scores.values()] for run in runs]
    if len(runs) < MANY:
        return estimate([sum(row) / len(row) for row in rates])
    strata = [(run.stratum, stage) for run in runs for stage in run.scores]
    found = estimate([rate for row in rates for rate in row], strata)
    return Estimate(found.value, found.low, found.high, len(runs), found.method)


def _milestone(runs: Sequence[RecordedRun], rate: float) -> Milestone:
    frames = [run.frames_to(rate) for run in runs]
    # Not np.median: between two infinite ones it finds no number.
    return Milestone(median(frames or [math.inf]), sum(map(math.isfinite, frames)), len(frames))


def _common_frames(runs: Sequence[RecordedRun]) -> Array:
    """Return the frames at which any of the runs was evaluated, as far as all of them were."""
    if not runs:
        return np.empty(0)
    frames = np.unique(np.concatenate([run.curve[0] for run in runs]))
    first, last = max(run.curve[0][0] for run in runs), min(run.curve[0][-1] for run in runs)
    return _thinned(frames[(frames >= first) & (frames <= last)])


def _thinned(values: NDArray[T]) -> NDArray[T]:
    if len(values) <= _MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST_POINTS).round().astype(int)]


def _entries(runs: Sequence[RecordedRun]) -> tuple[tuple[int, str, float, int], ...]:
    found = []
    for stage in sorted({stage for run in runs for stage in run.entries}):
        frames = [run.entries[stage] for run in runs if stage in run.entries]
        names = next(run.stage_names for run in runs if stage in run.entries)
        name = names[stage] if stage < len(names) else f"stage {stage}"
        found.append((stage, name, sum(frames) / len(frames), len(frames)))
    return tuple(found)


def _distinct_rates(runs: Sequence[RecordedRun], network: str) -> list[tuple[Array, Array]]:
    """Return where a rate begins, and the last frame; runs with the same rates share one curve."""
    found: dict[bytes, tuple[Array, Array]] = {}
    for run in runs:
        frame, rate = run.rates(network)
        if len(frame):
            begins = np.flatnonzero(np.diff(rate, prepend=np.nan) != 0)
            kept = np.union1d(_thinned(begins), [len(rate) - 1])
            found.setdefault(rate[kept].tobytes() + frame[kept].tobytes(), (frame[kept], rate[kept]))
    return list(found.values())


def _improvement(one: Sequence[RecordedRun], other: Sequence[RecordedRun]) -> Estimate | None:
    """Return the probability that a run of the first group scores higher; None for few runs, or other tasks."""
    if min(len(one), len(other)) < MANY:
        return None
    strata = [s for s in dict.fromkeys(run.stratum for run in one) if any(run.stratum == s for run in other)]
    samples = [
        [np.array([run.landed for run in runs if run.stratum == stratum]) for stratum in strata]
        for runs in (one, other)
    ]
    return improvement(*samples) if strata else None
