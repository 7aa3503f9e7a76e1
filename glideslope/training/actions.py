"""Chooses the actions of a training: at random, by the policy with exploration noise, or by the policy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import ACTION_DIM
from glideslope.runs.resume import Learner
from glideslope.settings import Settings
from glideslope.settings.schedules import NOISE
from glideslope.training.clock import Clock
from glideslope.training.stopping import Stop, StoppedError, diverged


class Actions:
    """Actions (N, 5) float32 for the observations of N environments."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        stop: Stop,
        learner: Learner,
        curriculum: Curriculum,
        progress: Progress,
    ) -> None:
        self._seed_steps, self._num_envs = settings.seed_steps, settings.num_envs
        self._clock, self._stop, self._learner = clock, stop, learner
        self._curriculum, self._progress = curriculum, progress
        self._rng = np.random.default_rng([settings.seed, 1])

    def explore(self, observation: Observation) -> NDArray[Any]:
        """Return the actions to learn from: random ones in the seed frames, then the policy's with noise.

        Raises:
            TrainingError: a network has diverged.
        """
        step = self._clock.step
        if step < self._seed_steps:
            return self._rng.uniform(-1.0, 1.0, (self._num_envs, ACTION_DIM)).astype(np.float32)
        stddev = self._learner.schedules.rate(NOISE, step, self._curriculum.history)
        return self._policy(observation, stddev)

    def greedy(self, env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        """Return the policy's actions without noise, for an evaluation.

        Raises:
            StoppedError: a stop was requested; evaluations don't delay it.
            TrainingError: a network has diverged.
        """
        if self._stop.requested:
            raise StoppedError
        self._progress.tick()
        return self._policy(observation, None)

    def _policy(self, observation: Observation, stddev: float | None) -> NDArray[Any]:
        agent = self._learner.agent
        actions: NDArray[Any] = agent.act(observation, stddev).cpu().numpy()
        # A network may have diverged since its losses were last looked at.
        if not np.isfinite(actions).all():
            raise diverged("the policy's actions are not numbers", agent, self._clock.frame)
        return actions

    def state_dict(self) -> dict[str, Any]:
        """Return the random state."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._rng.bit_generator.state = state["rng"]
