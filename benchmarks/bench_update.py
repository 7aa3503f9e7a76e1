"""Gradient updates per second of the whole agent, sampling included. ``python -m benchmarks.bench_update``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.timing import rate
from glideslope.build import make_agent, make_replay, resolve_device, use_threads
from glideslope.envs.layout import PRIVILEGED_DIM, state_dim
from glideslope.replay.buffer import ReplayBuffer
from glideslope.settings import CurriculumSettings, Settings, StageSettings, TaskSettings

CASES = [
    ("48×48, 16 channels, hidden 256", {"channels": 16, "strides": [2, 2, 1, 1]}, 48, 256, 64),
    ("84×84, 32 channels, hidden 1024", {"channels": 32, "strides": [2, 1, 1, 1]}, 84, 1024, 64),
    ("84×84, 32 channels, hidden 1024", {"channels": 32, "strides": [2, 1, 1, 1]}, 84, 1024, 256),
]


def measure(seconds: float = 5.0) -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit of each case."""
    use_threads(0)
    device = resolve_device("auto")
    for label, encoder, size, hidden, batch in CASES:
        settings = Settings.from_config(
            {
                "batch_size": batch,
                "hidden_dim": hidden,
                "replay_buffer_size": 4000,
                "agent": {"encoder": {"name": "original", **encoder}},
                "task": {"image_size": size},
                "curriculum": CurriculumSettings(stages=(StageSettings(name="only"),)).to_plain(),
            }
        )
        agent, replay = make_agent(settings, device), make_replay(settings, device)
        fill(replay, settings.num_envs, size)

        def update(agent=agent, replay=replay, batch=batch) -> None:
            agent.update(replay.sample(batch), 0.2)
            if device != "cpu":
                torch.cuda.synchronize()

        yield f"update, encoder original, {label}, batch {batch}", rate(update, seconds, 3), "updates/s"


def fill(replay: ReplayBuffer, num_envs: int, size: int, pixels: bool = True) -> None:
    """Put 100 steps of random numbers into a replay buffer: images, or the privileged vector in their place."""
    rng = np.random.default_rng(0)

    def observation() -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        return (
            rng.integers(0, 256, (num_envs, size, size), dtype=np.uint8) if pixels else None,
            rng.normal(size=(num_envs, state_dim(TaskSettings()))).astype(np.float32),
            None if pixels else rng.normal(size=(num_envs, PRIVILEGED_DIM)).astype(np.float32),
        )

    replay.add_first(np.arange(num_envs), *observation())
    never = np.zeros(num_envs, bool)
    for _ in range(100):
        actions = rng.uniform(-1, 1, (num_envs, 5)).astype(np.float32)
        replay.add(actions, rng.normal(size=num_envs), never, never, *observation())


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:75} {figure:8.2f} {unit}")
