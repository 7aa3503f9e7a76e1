"""Stores in the replay buffer what environments return: one frame of each stack, and the true end of each episode."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gym import Observation
from glideslope.replay.buffer import ReplayBuffer

VectorStep: TypeAlias = tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]
"""What a step of the environments returns: observations, rewards, terminated, truncated, infos."""


class Experience:
    """Writes the steps of environments into a replay buffer, their rewards times `reward_scale`."""

    def __init__(self, replay: ReplayBuffer, reward_scale: float) -> None:
        self._replay, self._reward_scale = replay, reward_scale

    def begin(self, observation: Observation) -> None:
        """Store the first observation of every environment's first episode."""
        self._replay.add_first(np.arange(len(observation["state"])), **newest(observation))

    def add(
        self,
        actions: NDArray[Any],
        following: Observation,
        reward: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: dict[str, Any],
    ) -> None:
        """Store a vector step: the actions, and what the environments returned for them."""
        ended = terminated | truncated
        first = newest(following)
        last = _with_final(first, infos["final_obs"], ended) if ended.any() else first
        reward = self._reward_scale * reward
        self._replay.add(actions, reward, terminated, truncated, last["frame"], last["state"], last["privileged"])
        if ended.any():
            ids = np.flatnonzero(ended)
            begun: dict[str, Any] = {key: None if v is None else v[ids] for key, v in first.items()}
            self._replay.add_first(ids, **begun)


def newest(observation: Observation) -> dict[str, Any]:
    """Return the latest frame of each stack, as the replay buffer stores it.

    The privileged values are those of the simulator's state, then the targets of the auxiliary task, as far as there
    are any.

    Returns:
        ``frame`` (N, H, W) or None, ``state`` (N, S), ``privileged`` (N, P) or None.
    """
    pixels = observation.get("pixels")
    learnt = [observation[key] for key in ("privileged", "oracle_gimbal") if key in observation]
    return {
        "frame": None if pixels is None else pixels[:, -1],
        "state": observation["state"][:, -1],
        "privileged": np.concatenate(learnt, axis=1) if learnt else None,
    }


def _with_final(first: dict[str, Any], final_obs: NDArray[Any], ended: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the true next observations: where an episode ended, its own last one, not the next one's first."""
    replaced = {key: None if value is None else value.copy() for key, value in first.items()}
    for env in np.flatnonzero(ended):
        row = newest({key: value[None] for key, value in final_obs[env].items()})
        for key, value in replaced.items():
            if value is not None:
                value[env] = row[key][0]
    return replaced
