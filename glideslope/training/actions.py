"""Chooses the actions of a training: at random, by the policy with exploration noise, or by the policy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.layout import ACTION_DIM
from glideslope.settings.schedules import NOISE
from glideslope.training.run import StoppedError, TrainingRun, diverged


class Actions:
    """Actions (N, 5) float32 for the observations of N environments, those of this process."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._rng = np.random.default_rng([run.settings.seed, 1])

    def explore(self, observation: Observation) -> NDArray[Any]:
        """Return the actions to learn from: random ones in the seed frames, then the policy's with noise.

        Raises:
            TrainingError: a network has diverged.
        """
        run, step = self._run, self._run.clock.step
        if step < run.settings.seed_steps:
            drawn = self._rng.uniform(-1.0, 1.0, (run.settings.num_envs, ACTION_DIM)).astype(np.float32)
            return drawn[run.ranks.share.rows(len(drawn))]
        stddev = run.learner.schedules.rate(NOISE, step, run.curriculum.history)
        return self._policy(observation, stddev)

    def greedy(self, env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        """Return the policy's actions without noise, for an evaluation.

        Raises:
            StoppedError: a stop was requested; evaluations don't delay it.
            TrainingError: a network has diverged.
        """
        self._run.display.progress.tick()
        return self.greedy_beside(env, observation)

    def greedy_beside(self, env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        """Return what :meth:`greedy` does, on a thread beside it: the progress display counts its steps alone."""
        if self._run.stop.requested:
            raise StoppedError
        return self._policy(observation, None)

    def _policy(self, observation: Observation, stddev: float | None) -> NDArray[Any]:
        agent = self._run.learner.agent
        actions: NDArray[Any] = agent.act(observation, stddev).cpu().numpy()
        # A network may have diverged since its losses were last looked at.
        if not np.isfinite(actions).all():
            raise diverged("the policy's actions are not numbers", agent, self._run.clock.frame)
        return actions

    def state_dict(self) -> dict[str, Any]:
        """Return the random state."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._rng.bit_generator.state = state["rng"]
