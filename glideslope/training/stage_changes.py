"""Moves a training through the stages of its curriculum: what happens to environments, policy and snapshots."""

from __future__ import annotations

import numpy as np

from glideslope.envs.landing import gimbal_scale
from glideslope.envs.layout import GIMBAL_AXES
from glideslope.training.run import TrainingRun
from glideslope.training.snapshot_state import RunSnapshots


class StageChanges:
    """Keeps the environments in the curriculum's stage."""

    def __init__(self, run: TrainingRun, snapshots: RunSnapshots) -> None:
        self._run, self._snapshots = run, snapshots

    def play(self) -> None:
        """Draw new episodes from the curriculum's stage, and a share of them from those before it."""
        curriculum, share = self._run.curriculum, self._run.settings.curriculum.replay_earlier_stages
        self._run.env.set_stage(
            curriculum.stage_settings, curriculum.stage, earlier=curriculum.earlier_stages, share=share
        )

    def episode_ended(self, stage: int, success: bool) -> bool:
        """Take an episode of a stage; return whether it changed the curriculum's stage.

        Raises:
            TrainingError: as :meth:`glideslope.training.snapshot_state.RunSnapshots.save`.
        """
        curriculum = self._run.curriculum
        stages, left = curriculum.stages, curriculum.stage
        if not curriculum.record(stage, success, self._run.clock.step):
            return False
        index = curriculum.stage
        if index > left:
            self._snapshots.save_stage(left)  # the policy that mastered it
            change = f"{left} {stages[left].name} mastered, on to {index} {stages[index].name}"
        else:
            change = f"{left} {stages[left].name} is still too hard, back to {index} {stages[index].name}"
        self._run.display.note(f"stage {change}")
        self.play()
        entered = curriculum.history[:-1]
        before = np.max([gimbal_scale(stages[earlier]) for _, earlier in entered], axis=0)
        freed = (before == 0.0) & (gimbal_scale(stages[index]) > 0.0)
        axes = [axis for axis, free in zip(GIMBAL_AXES, freed, strict=True) if free]
        if axes:
            # While an axis was locked its output meant nothing: start it where it was held.
            self._run.learner.agent.zero_action_outputs(axes)
        for network, change in self._run.settings.on_stage.to_plain().items():
            if change != "keep":
                self._run.learner.agent.reset_optimizer(network, moments=change == "reset_moments")
        return True
