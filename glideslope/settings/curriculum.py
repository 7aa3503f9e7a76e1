"""Settings of the curriculum: its stages, and the thresholds at which it advances or goes back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field

from glideslope.errors import Fault, SettingsError, listed, meant
from glideslope.settings.checks import (
    Broken,
    CheckedSettings,
    Count,
    Flag,
    NonNegative,
    PositiveShare,
    Share,
    StageName,
    Whole,
)


class StageSettings(CheckedSettings):
    """A stage of the curriculum: what the gimbal may do and is rewarded for, and how hard episodes are."""

    name: StageName
    """Name of the stage, unique in its curriculum."""
    gimbal_enabled: Flag = True
    """Whether the policy moves the gimbal."""
    lock_down: Flag = False
    """Whether the camera is locked looking straight down."""
    scale: tuple[Share, Share, Share] = (1.0, 0.0, 1.0)
    """Share of the angle range [pitch, roll, yaw]; the gimbal has no roll axis."""
    include_viz_reward: Flag = True
    """Whether looking at the pad is rewarded and losing it penalised."""
    viz_weight: NonNegative = 0.05
    """Reward per decision for looking straight at the pad."""
    not_visible_penalty: NonNegative = 0.1
    """Penalty per decision with the pad out of view."""
    smooth_penalty: NonNegative = 0.05
    """Penalty per rad² that the gimbal turns in a decision."""
    yaw_only: Flag = False
    """Whether pitch is locked."""
    pitch_only: Flag = False
    """Whether yaw is locked."""
    pad_speed: tuple[NonNegative, NonNegative] = (0.0, 0.5)
    """Lowest and highest speed of a moving pad in m/s."""
    start_offset: NonNegative = 2.5
    """Largest horizontal distance to the pad at the start in metres."""
    wind: NonNegative = 0.5
    """Largest wind speed in m/s."""

    def broken_rules(self) -> Iterator[Broken]:
        if self.yaw_only and self.pitch_only:
            yield Broken("pitch_only", "yaw_only and pitch_only can't be combined", True, ("yaw_only",))
        if self.pad_speed[0] > self.pad_speed[1]:
            yield Broken("pad_speed", "the lowest speed must not be above the highest", self.pad_speed)


FULL_TASK = StageSettings(name="S4_full")
"""The whole task: the gimbal over its full range. Its values are the defaults of a stage."""


class CurriculumSettings(CheckedSettings):
    """When the curriculum advances or goes back, and its stages; those after `last_stage` are not used."""

    window: Count = 100
    """Episodes that the success rate is taken over."""
    min_episodes: Count = 80
    """Episodes that the window must hold."""
    success_rate: PositiveShare = 0.85
    """Success rate over the window to be reached."""
    criterion: Literal["success_rate", "wilson_lower_bound"] = "success_rate"
    """What must reach success_rate, the rate itself or the lower bound of its 95% Wilson score interval."""
    require_consecutive_windows: Count = 5
    """Episodes in a row at which all conditions hold."""
    min_stage_episodes: Whole = 0
    """Episodes to be played in a stage, those of the cooldown included."""
    cooldown_episodes: Whole = 0
    """Episodes after a change of stage that the window leaves out."""
    demotion_rate: Share | None = None
    """Success rate over the window at or below which a stage is given up for the one before; null for never."""
    replay_earlier_stages: Annotated[NonNegative, Field(lt=1)] = 0.0
    """Share of the episodes that are of an earlier stage."""
    last_stage: Whole = 0
    """Index of the last stage to be played."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1)]
    """The stages in order."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages that are played."""
        return tuple(stage.name for stage in self.stages[: self.last_stage + 1])

    def broken_rules(self) -> Iterator[Broken]:
        if self.min_episodes > self.window:
            rule = f"must not be greater than window ({self.window})"
            yield Broken("min_episodes", rule, self.min_episodes, ("window",))
        highest = _lower_bound(self.window)
        if self.criterion == "wilson_lower_bound" and highest < self.success_rate:
            yield Broken("success_rate", self._out_of_reach(highest), self.success_rate, ("criterion", "window"))
        if self.demotion_rate is not None and self.demotion_rate >= self.success_rate:
            rule = f"must be less than success_rate ({self.success_rate:.15g})"
            yield Broken("demotion_rate", rule, self.demotion_rate, ("success_rate",))
        if self.last_stage >= len(self.stages):
            rule = f"must be at most {len(self.stages) - 1}, the index of the last of the stages"
            yield Broken("last_stage", rule, self.last_stage)
        names = [stage.name for stage in self.stages]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield Broken(f"stages.{i}.name", f"stage {names.index(name)} has this name already", name)

    def _out_of_reach(self, highest: float) -> str:
        """Return the rule where even a window full of landings has a lower bound below `success_rate`."""
        floor = math.floor(highest * 1000) / 1000
        told = f"the lower bound of {self.window} landings in {self.window} is only {floor:.3f}"
        window = _Z_95**2 * self.success_rate / max(1 - self.success_rate, 1e-12)
        if window > 1e9:
            return f"{told}, and no window's reaches this; a rate of {floor:.3f} or less can be reached"
        smallest = max(math.floor(window) - 1, 1)
        while _lower_bound(smallest) < self.success_rate:
            smallest += 1
        return f"{told}; the smallest window that can reach this is {smallest}"


_Z_95 = NormalDist().inv_cdf(0.975)  # standard deviations either side of the mean that hold 95%


def _lower_bound(landings: int) -> float:
    """Return the lower bound of the 95% Wilson score interval of `landings` landings in as many episodes."""
    return landings / (landings + _Z_95**2)


def select_stages(stage: int | str | None, curriculum: CurriculumSettings) -> tuple[int, ...]:
    """Return the indices of the stages that `stage` means: an index, a name, `all`, or None for the last one.

    Raises:
        SettingsError: the curriculum plays no such stage.
    """
    names = curriculum.stage_names
    if stage == "all":
        return tuple(range(len(names)))
    if stage is None:
        return (len(names) - 1,)
    if stage in names:
        return (names.index(str(stage)),)
    if isinstance(stage, int) and stage < len(names):
        return (stage,)
    numbered = listed([f"{i} {name}" for i, name in enumerate(names)], "and")
    rule = f"unknown stage; there are {numbered}, or all{meant(stage, [*names, 'all'])}"
    raise SettingsError([Fault("stage", stage, rule)])
