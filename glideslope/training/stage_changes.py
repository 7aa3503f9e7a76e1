"""Moves a training through the stages of its curriculum: what happens to environments, policy and snapshots."""

from __future__ import annotations

import numpy as np

from glideslope.agent import DrQV2Agent
from glideslope.curriculum.stages import Curriculum
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.landing import GIMBAL_AXES, gimbal_scale
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.snapshots import RunSnapshots


class StageChanges:
    """Keeps the environments in the curriculum's stage.

    Args:
        clock: the run's.
        curriculum: says when the stage changes.
        env: training's environments.
        agent: the policy.
        snapshots: keep the policy that mastered a stage.
        display: tells of changes.
        replayed: share of new episodes that are of earlier stages (`curriculum.replay_earlier_stages`).
    """

    def __init__(
        self,
        clock: Clock,
        curriculum: Curriculum,
        env: LandingVectorEnv,
        agent: DrQV2Agent,
        snapshots: RunSnapshots,
        display: TrainingDisplay,
        replayed: float,
    ) -> None:
        self._clock, self._curriculum, self._env, self._agent = clock, curriculum, env, agent
        self._snapshots, self._display, self._replayed = snapshots, display, replayed

    def play(self) -> None:
        """Draw new episodes from the curriculum's stage, and a share of them from those before it."""
        curriculum = self._curriculum
        self._env.set_stage(
            curriculum.stage_settings,
            curriculum.stage,
            earlier=curriculum.earlier_stages,
            share=self._replayed,
        )

    def episode_ended(self, stage: int, success: bool) -> bool:
        """Take an episode of a stage; return whether it changed the curriculum's stage.

        Raises:
            TrainingError: as :meth:`glideslope.training.snapshots.RunSnapshots.save`.
        """
        left = self._curriculum.stage
        if not self._curriculum.record(stage, success, self._clock.step):
            return False
        self._enter(left)
        return True

    def _enter(self, left: int) -> None:
        """Enter the curriculum's stage from ``left``; the policy that mastered that one is kept."""
        stages, index = self._curriculum.stages, self._curriculum.stage
        if index > left:
            self._snapshots.save_stage(left)
            change = f"{left} {stages[left].name} mastered, on to {index} {stages[index].name}"
        else:
            change = f"{left} {stages[left].name} is too hard yet, back to {index} {stages[index].name}"
        self._display.note(f"stage {change}")
        self.play()
        entered = self._curriculum.history[:-1]
        before = np.max([gimbal_scale(stages[stage]) for _, stage in entered], axis=0)
        freed = (before == 0.0) & (gimbal_scale(stages[index]) > 0.0)
        axes = [axis for axis, free in zip(GIMBAL_AXES, freed, strict=True) if free]
        if axes:
            # While an axis was locked its output meant nothing: start it where it was held.
            self._agent.zero_action_outputs(axes)
