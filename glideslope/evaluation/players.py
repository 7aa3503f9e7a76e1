"""The policies that an evaluation plays: a trained agent, or a scripted one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.agent import DrQV2Agent
from glideslope.build import make_env
from glideslope.envs.baselines import make_policy
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.evaluation.scoring import Act
from glideslope.settings import CurriculumSettings, EvaluateSettings, Settings, TaskSettings

TRAINED = "trained"
SCRIPTED = ("expert", "fixed_camera", "random")
_BATCH = 16


@dataclass(frozen=True)
class Player:
    """A policy, and the task as it sees it."""

    name: str
    act: Act
    make_env: Callable[[int, bool], LandingVectorEnv]  # (number of environments, whether for a film)

    @contextmanager
    def environment(self, num_envs: int, *, film: bool = False) -> Iterator[LandingVectorEnv]:
        """Return the task; for a film with images, even where the policy doesn't need them."""
        env = self.make_env(num_envs, film)
        try:
            yield env
        finally:
            env.close()


def trained_player(agent: DrQV2Agent, settings: Settings, device: str) -> Player:
    """Return a trained agent, on the task that these settings give it."""

    def environment(num_envs: int, film: bool) -> LandingVectorEnv:
        return make_env(settings, num_envs, settings.curriculum.stages[0], device, film=film)

    return Player(TRAINED, _act_greedily(agent), environment)


def scripted_player(
    name: str,
    settings: EvaluateSettings,
    task: TaskSettings,
    curriculum: CurriculumSettings,
    device: str,
    action_repeat: int,
) -> Player:
    """Return the scripted policy of this name, on a task without images."""
    policy = make_policy(name, settings.seed)

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        return policy(env.task)

    def environment(num_envs: int, film: bool) -> LandingVectorEnv:
        return LandingVectorEnv(
            num_envs,
            task=task,
            stage=curriculum.stages[0],
            pixels=film,
            action_repeat=action_repeat,
            device=device,
            num_threads=settings.num_threads,
        )

    return Player(name, act, environment)


def _act_greedily(agent: DrQV2Agent) -> Act:
    """Return the agent without noise, asked in batches of one size.

    Batches of other sizes are rounded otherwise: an action, and so a landing, would depend on how many fly.
    """

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        parts = []
        for start in range(0, env.num_envs, _BATCH):
            rows = np.minimum(np.arange(start, start + _BATCH), env.num_envs - 1)
            actions = agent.act({name: values[rows] for name, values in observation.items()}, None)
            parts.append(actions.cpu().numpy()[: env.num_envs - start])
        return np.concatenate(parts)

    return act
