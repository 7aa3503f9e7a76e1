"""What a change of stage does to the policy, the environments and the snapshots, going back included."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from glideslope.curriculum.stages import Curriculum
from glideslope.settings import CurriculumSettings, OnStageSettings, StageSettings
from glideslope.training.stage_changes import StageChanges

# The gimbal is locked, then yaws, then pitches too. The action's axes: three of flight, 3 pitches and 4 yaws.
STAGES = (
    StageSettings(name="locked", lock_down=True),
    StageSettings(name="yaw", yaw_only=True),
    StageSettings(name="both"),
)
LANDED, CRASHED = True, False


class Recorder:
    """Takes the place of a training's parts and keeps what it is told."""

    def __init__(self, share: float) -> None:
        rules = {"window": 1, "min_episodes": 1, "success_rate": 1.0, "demotion_rate": 0.0}
        settings = CurriculumSettings(
            **rules, require_consecutive_windows=1, replay_earlier_stages=share, last_stage=2, stages=STAGES
        )
        self.curriculum = Curriculum(settings)
        self.settings = SimpleNamespace(curriculum=settings, on_stage=OnStageSettings())
        self.clock = SimpleNamespace(step=0)
        self.env = self.display = self
        self.learner = SimpleNamespace(agent=self)
        self.zeroed: list[list[int]] = []
        self.kept: list[int] = []
        self.played: list[tuple[str, int, list[str], float]] = []

    def zero_action_outputs(self, axes: list[int]) -> None:
        self.zeroed.append(axes)

    def save_stage(self, index: int) -> None:
        self.kept.append(index)

    def set_stage(self, stage: StageSettings, index: int, *, earlier: tuple[StageSettings, ...], share: float) -> None:
        self.played.append((stage.name, index, [one.name for one in earlier], share))

    def note(self, text: str) -> None:
        """What is said is for people."""


@pytest.fixture
def run() -> Any:
    return Recorder(share=0.25)


def fly(run: Recorder, *outcomes: bool) -> list[int]:
    """The stages after episodes of the current stage, each of which changes it."""
    changes, stages = StageChanges(run, run), []  # type: ignore[arg-type]
    for success in outcomes:
        run.clock.step += 1
        assert changes.episode_ended(run.curriculum.stage, success)
        stages.append(run.curriculum.stage)
    return stages


def test_an_axis_starts_from_where_it_was_held_at_its_first_release_alone(run: Recorder) -> None:
    """What the policy has learnt of an axis outlasts a return to a stage that locks it."""
    assert fly(run, LANDED, CRASHED) == [1, 0]
    assert run.zeroed == [[4]]
    assert fly(run, LANDED, LANDED) == [1, 2]
    assert run.zeroed == [[4], [3]]
    assert fly(run, CRASHED, CRASHED, LANDED, LANDED) == [1, 0, 1, 2]
    assert run.zeroed == [[4], [3]]


def test_a_mastered_stage_is_kept_and_one_given_up_is_not(run: Recorder) -> None:
    assert fly(run, LANDED, CRASHED, LANDED, LANDED, CRASHED) == [1, 0, 1, 2, 1]
    assert run.kept == [0, 0, 1]


def test_new_episodes_are_of_the_stage_entered_and_those_before_it(run: Recorder) -> None:
    fly(run, LANDED, LANDED, CRASHED)
    assert run.played == [
        ("yaw", 1, ["locked"], 0.25),
        ("both", 2, ["locked", "yaw"], 0.25),
        ("yaw", 1, ["locked"], 0.25),
    ]


def test_an_episode_that_changes_nothing_leaves_everything_as_it_is(run: Recorder) -> None:
    run.clock.step = 5
    assert not StageChanges(run, run).episode_ended(1, LANDED)  # type: ignore[arg-type]
    assert (run.played, run.kept, run.zeroed) == ([], [], [])
