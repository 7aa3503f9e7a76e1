"""A flight to look at: whose, where, and under which conditions it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from glideslope.settings.checks import Broken, CheckedSettings, Count, Device, NonNegative, Seed, StageChoice, Text
from glideslope.settings.curriculum import CurriculumSettings
from glideslope.settings.task import TaskSettings


class PlaySettings(CheckedSettings):
    """Flights of a policy, in a window where there is a screen, otherwise as a film."""

    run: Text | None = None
    """Run folder, whose best policy flies, or snapshot."""
    policy: Literal["expert", "random", "fixed_camera"] | None = None
    """Scripted policy that flies instead."""
    stage: StageChoice | None = None
    """Stage to begin with, by index or name; null for that of the snapshot, or the last one."""
    pad_speed: NonNegative | None = None
    """Speed of the pad in m/s to begin with; null for the stage's."""
    wind: NonNegative | None = None
    """Largest wind speed in m/s to begin with; null for the stage's."""
    seed: Seed = 12345
    """Seed of the episodes' scenarios."""
    show: Literal["auto", "window", "film"] = "auto"
    """Where flights are shown; auto for a window where there is a screen."""
    episodes: Annotated[Count, Field(le=1000)] = 5
    """Episodes of a film; a window stays open."""
    out: Text = "play.mp4"
    """The film, .mp4 or .gif."""
    device: Device = "auto"
    """Where networks run and images are rendered: auto, cpu, cuda or cuda:N."""
    task: TaskSettings = TaskSettings()
    """The task that a scripted policy plays; a run plays the one it was trained on."""
    curriculum: CurriculumSettings
    """The curriculum whose stages a scripted policy plays; a run plays the one it was trained on."""

    def broken_rules(self) -> Iterator[Broken]:
        if (self.run is None) == (self.policy is None):
            rule = "give run=<run folder or snapshot>, or policy=expert, random or fixed_camera"
            yield Broken("run", rule if self.run is None else "run and policy can't be combined", self.run, ("policy",))
        if not self.out.endswith((".mp4", ".gif")):
            yield Broken("out", "must end with .mp4 or .gif", self.out)
        if self.stage == "all":
            yield Broken("stage", "must be one stage", self.stage)
