"""Agents of the shipped bundles with narrow layers, and their states compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glideslope.agent import DrQV2Agent
from glideslope.build import make_agent, make_replay, uses_pixels
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.layout import ACTION_DIM, PRIVILEGED_DIM
from glideslope.replay.buffer import Batch
from glideslope.settings import Settings
from tests.support.tasks import STATE_DIM


def make_with_batches(encoder: str, actor_critic: str = "original") -> tuple[DrQV2Agent, Callable[[], Batch]]:
    """An agent of these bundles with narrow layers, and where its batches come from."""
    bundles = [f"encoder_bundle@agent={encoder}", f"actor_critic_bundle@agent={actor_critic}"]
    sizes = ["hidden_dim=24", "batch_size=6", "task.image_size=36", "num_envs=2", "replay_buffer_size=1000"]
    settings = compose(TRAIN_CONFIG, [*bundles, *sizes], Settings).settings
    rng, replay = np.random.default_rng(0), make_replay(settings, "cpu")
    pixels, size = uses_pixels(settings), settings.task.image_size

    def observation() -> tuple[Any, ...]:
        return (
            rng.integers(0, 256, (2, size, size), dtype=np.uint8) if pixels else None,
            rng.normal(size=(2, STATE_DIM)).astype(np.float32),
            None if pixels else rng.normal(size=(2, PRIVILEGED_DIM)).astype(np.float32),
        )

    replay.add_first(np.arange(2), *observation())
    for _ in range(20):
        action = rng.uniform(-1, 1, (2, ACTION_DIM)).astype(np.float32)
        replay.add(action, rng.normal(size=2), np.zeros(2, bool), np.zeros(2, bool), *observation())
    return make_agent(settings, "cpu"), lambda: replay.sample(settings.batch_size)


def flat(state: Any) -> list[Any]:
    """The leaves of nested mappings and lists."""
    if isinstance(state, dict):
        return [leaf for key in sorted(state, key=str) for leaf in flat(state[key])]
    if isinstance(state, list | tuple):
        return [leaf for part in state for leaf in flat(part)]
    return [state]


def equal(first: Any, second: Any) -> bool:
    return torch.equal(first, second) if isinstance(first, Tensor) else bool(first == second)
