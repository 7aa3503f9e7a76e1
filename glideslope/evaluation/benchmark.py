"""The benchmark: one protocol for every policy, so that figures can be compared. ``docs/benchmark.md`` states it.

What it fixes is written out here: it stays what it is when the defaults of a task are tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from glideslope.errors import typed
from glideslope.evaluation.report import Condition, points_in_stages
from glideslope.settings import (
    CurriculumSettings,
    EvaluateSettings,
    RandomizationSettings,
    StageSettings,
    SweepSettings,
    TaskSettings,
)

FIXED = {"stage": "all", "episodes": 500, "seed": 12345, "sweep": SweepSettings()}
"""Settings of an evaluation, and their values in the benchmark."""

TASK: dict[str, Any] = {
    "episode_seconds": 18.0,
    "max_touchdown_speed": 0.6,
    "pad_size": 1.4,
    "start_height": (3.0, 5.0),
    "pad_paths": ("static", "straight", "sinusoidal", "circular"),
    "arena_radius": 8.0,
    "arena_height": 8.0,
    "randomize_visuals": True,
    "randomization": RandomizationSettings(),
}
"""Settings of the task, and their values in the benchmark; the others are the policy's own: how it sees and flies."""

STAGE = StageSettings(name="S4_full", pad_speed=(0.0, 0.5), start_offset=2.5, wind=0.5)
"""The stage that is swept: the gimbal over its full range."""

SWEEPS = (
    SweepSettings(pad_speed=(0.0, 0.5, 1.0, 2.0, 4.0)),
    SweepSettings(wind=(0.0, 1.0, 2.0, 3.0)),
    SweepSettings(latency=(0.0, 0.5, 1.0)),
)
"""Played one after the other: what is swept by one is as the stage and the task have it in the others."""


def fixed(settings: EvaluateSettings) -> EvaluateSettings:
    """Return the settings with those that the benchmark fixes."""
    return settings.model_copy(update=FIXED)


def fixed_task(task: TaskSettings) -> TaskSettings:
    """Return the task with what the benchmark fixes; how the policy sees and flies is its own."""
    return task.model_copy(update=TASK)


def notes(task: TaskSettings) -> Iterator[str]:
    """Yield a sentence where the benchmark's task differs from the policy's own."""
    others = ", ".join(_differences(fixed_task(task).to_plain(), task.to_plain()))
    if others:
        yield f"The benchmark's task, with the policy's own in brackets: {others}."


def _differences(played: Mapping[str, Any], own: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in played.items():
        if isinstance(value, Mapping):
            yield from _differences(value, own[key], f"{above}{key}.")
        elif value != own[key]:
            yield f"{above}{key}={typed(value)} ({typed(own[key])})"


def benchmark_conditions(curriculum: CurriculumSettings, task: TaskSettings) -> Iterator[Condition]:
    """Yield every stage of the curriculum as it is, then the sweeps."""
    yield from points_in_stages(curriculum.stages, range(curriculum.last_stage + 1), task, SweepSettings())
    names = curriculum.stage_names
    index = names.index(STAGE.name) if STAGE.name in names else curriculum.last_stage
    for sweep in SWEEPS:
        yield from (Condition.at(STAGE, index, task, point) for point in sweep.points)
