"""An evaluation: what is played, under which conditions, by whom, and where the results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from glideslope.errors import SettingsError, listed
from glideslope.settings.checks import (
    Broken,
    CheckedSettings,
    Count,
    Device,
    EnvCount,
    Flag,
    NonNegative,
    Seed,
    Share,
    StageChoice,
    Text,
    Threads,
)
from glideslope.settings.curriculum import CurriculumSettings, StageSettings, select_stages
from glideslope.settings.task import Blur, Exposure, Factor, Lag, TaskSettings

Point: TypeAlias = tuple[tuple[str, float], ...]
"""A point of a sweep: (key, value) of each that is swept."""

NO_MOVING_PATHS = "the task's pad_paths are static only: its pad never moves"
_MOST_POINTS = 1_000
_MOST_FILMED_POINTS = 20

_Played: TypeAlias = tuple[StageSettings, TaskSettings]


def _pad_speed(key: str, value: float, stage: StageSettings, task: TaskSettings) -> _Played:
    # Without the path on which the pad stands still.
    moving = task.model_copy(update={"pad_paths": task.moving_paths})
    return stage.model_copy(update={key: (value, value)}), moving


def _of_stage(key: str, value: float, stage: StageSettings, task: TaskSettings) -> _Played:
    return stage.model_copy(update={key: value}), task


def _randomized(key: str, value: float, stage: StageSettings, task: TaskSettings) -> _Played:
    randomization = task.randomization.model_copy(update={key: (value, value)})
    return stage, task.model_copy(update={"randomization": randomization})


@dataclass(frozen=True)
class Swept:
    """What a key of a sweep is called, and where its value goes."""

    label: str  # with a place for the value
    axis: str  # its name along a plot's axis, with the unit
    applied: Callable[[str, float, StageSettings, TaskSettings], _Played]  # returns them with the key's value in place


_SOME = Field(min_length=1, max_length=_MOST_POINTS)
_Speeds: TypeAlias = Annotated[tuple[NonNegative, ...], _SOME]
_Factors: TypeAlias = Annotated[tuple[Factor, ...], _SOME]
_Lags: TypeAlias = Annotated[tuple[Lag, ...], _SOME]
_Shares: TypeAlias = Annotated[tuple[Share, ...], _SOME]
_Exposures: TypeAlias = Annotated[tuple[Exposure, ...], _SOME]
_Blurs: TypeAlias = Annotated[tuple[Blur, ...], _SOME]


class SweepSettings(CheckedSettings):
    """Conditions that are played one after the other in place of the policy's own; of lists, every combination.

    Each field is a condition that can be swept: labels, files, tables and plots follow from it.
    """

    pad_speed: Annotated[_Speeds | None, Swept("pad {:g} m/s", "pad speed (m/s)", _pad_speed)] = None
    """Speeds of a moving pad in m/s, such as [0,0.5,1,2], the largest on a sinusoidal path; null for the stage's."""
    wind: Annotated[_Speeds | None, Swept("wind {:g} m/s", "largest wind (m/s)", _of_stage)] = None
    """Largest wind speeds in m/s, such as [0,1,2]; null for the stage's."""
    mass: Annotated[_Factors | None, Swept("mass × {:g}", "mass (factor)", _randomized)] = None
    """Masses as shares of that which the controller reckons with, such as [0.9,1,1.1]; null for the task's."""
    thrust: Annotated[_Factors | None, Swept("thrust × {:g}", "thrust (factor)", _randomized)] = None
    """Thrusts of the rotors as shares of that which the controller reckons with; null for the task's."""
    motor_lag: Annotated[_Lags | None, Swept("motor lag {:g} s", "motor lag (s)", _randomized)] = None
    """Time constants of the rotors' thrust in seconds, such as [0,0.05]; null for the task's."""
    latency: Annotated[_Shares | None, Swept("latency {:g}", "latency (probability)", _randomized)] = None
    """Probabilities that an action takes effect a decision late, such as [0,0.5,1]; null for the task's."""
    exposure: Annotated[_Exposures | None, Swept("exposure × {:g}", "exposure (factor)", _randomized)] = None
    """Factors on the brightness of the images, such as [0.5,1,2]; null for the task's."""
    blur: Annotated[_Blurs | None, Swept("blur {:g} px", "blur (pixels)", _randomized)] = None
    """Standard deviations of a Gaussian blur of the images in pixels, such as [0,1]; null for the task's."""

    @property
    def values(self) -> Mapping[str, tuple[float, ...]]:
        """The values of each key that is swept."""
        return {key: values for key in SWEPT if (values := getattr(self, key)) is not None}

    @property
    def points(self) -> tuple[Point, ...]:
        """The conditions in order, the first key outermost; without a sweep the policy's own, once."""
        return tuple(tuple(zip(self.values, point, strict=True)) for point in product(*self.values.values()))

    def broken_rules(self) -> Iterator[Broken]:
        for key, values in self.values.items():
            if len(set(values)) < len(values):
                yield Broken(key, "must name each value once", values)
        counts = [len(values) for values in self.values.values()]
        if prod(counts) > _MOST_POINTS:
            *others, last = self.values
            told = " * ".join(map(str, counts))
            rule = f"must make at most {_MOST_POINTS} points with {listed(others, 'and')}, not {told}"
            yield Broken(last, rule, self.values[last], tuple(others))


SWEPT: Mapping[str, Swept] = {
    key: next(part for part in field.metadata if isinstance(part, Swept))
    for key, field in SweepSettings.model_fields.items()
}
"""The conditions that can be swept, by key."""


def at_point(point: Point, stage: StageSettings, task: TaskSettings) -> tuple[StageSettings, TaskSettings]:
    """Return the stage and the task with the point's values in place of their own."""
    for key, value in point:
        stage, task = SWEPT[key].applied(key, value, stage, task)
    return stage, task


class EvaluateSettings(CheckedSettings):
    """An evaluation: of a run's policy, or of a scripted one on a task and a curriculum given here."""

    run: Text | None = None
    """Run folder or snapshot to be evaluated."""
    policy: Literal["expert", "random", "fixed_camera"] | None = None
    """Scripted policy to be evaluated."""
    inspect: Text | None = None
    """Snapshot whose contents are to be listed, or run folder whose snapshots and evaluations are; nothing is
    played."""
    stage: StageChoice | None = None
    """Stage to be played, by index or name, or all; null for the stage of the evaluated snapshot, or for the last
    one of a scripted policy."""
    episodes: Annotated[Count, Field(le=100_000)] = 100
    """Episodes of each stage, or of each point of a sweep in each stage."""
    sweep: SweepSettings = SweepSettings()
    """Conditions to be played in place of the stages' and the task's own."""
    benchmark: Flag = False
    """Whether the benchmark is played, whose stages, sweeps, episodes and seed are fixed."""
    compare: tuple[Literal["expert", "fixed_camera", "random"], ...] | None = None
    """Scripted policies that play a run's scenarios too; null for all of them."""
    video: Flag = False
    """Whether videos are recorded: of some episodes, and of the best and the worst side by side."""
    seed: Seed = 12345
    """Seed of the episodes' scenarios."""
    num_envs: EnvCount = 128
    """Environments side by side."""
    num_threads: Threads = 0
    """Threads for physics and networks; 0 for all cores."""
    device: Device = "auto"
    """Where networks run and images are rendered: auto, cpu, cuda or cuda:N."""
    out: Text | None = None
    """Folder for the results, without those of another evaluation; null for a new one in evaluations/, in the run's
    folder or, for a scripted policy, in the current one."""
    task: TaskSettings = TaskSettings()
    """The task that a scripted policy plays; a run plays the one it was trained on."""
    curriculum: CurriculumSettings
    """The curriculum whose stages a scripted policy plays; a run plays the one it was trained on."""

    def broken_rules(self) -> Iterator[Broken]:
        given = [key for key in ("run", "policy", "inspect") if getattr(self, key) is not None]
        if not given:
            rule = (
                "give run=<run folder or snapshot>, or policy=expert, random or fixed_camera;"
                " inspect=<run folder or snapshot> lists what is in it"
            )
            yield Broken("run", rule, None, ("policy", "inspect"))
        for key in given[1:]:
            yield Broken(key, f"{given[0]} and {key} can't be combined", getattr(self, key), (given[0],))
        if len(set(self.compare or ())) < len(self.compare or ()):
            yield Broken("compare", "must name each policy once", self.compare)
        if self.compare and self.policy is not None:
            rule = "goes with run=...; evaluate one scripted policy after the other instead"
            yield Broken("compare", rule, self.compare, ("policy",))
        if self.video and len(self.sweep.points) > _MOST_FILMED_POINTS:
            rule = f"a sweep of {len(self.sweep.points)} points can't be filmed, only {_MOST_FILMED_POINTS}"
            yield Broken("video", rule, self.video, ("sweep",))
        if self.policy is not None:
            if self.sweep.pad_speed is not None and not self.task.moving_paths:
                yield Broken("sweep.pad_speed", NO_MOVING_PATHS, self.sweep.pad_speed, ("policy", "task"))
            try:
                select_stages(self.stage, self.curriculum)
            except SettingsError as error:
                yield Broken("stage", error.faults[0].rule, self.stage, ("policy", "curriculum"))
