"""Environment steps per second: physics alone and with rendered views. ``python -m benchmarks.bench_env``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.timing import rate
from glideslope.envs.gym import LandingVectorEnv
from glideslope.settings import FULL_TASK, TaskSettings

CASES = [(size, count) for size in (None, 48, 84) for count in (1, 16, 64)]


def measure(seconds: float = 4.0) -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit of each case; random actions, episodes reset as they end."""
    for size, count in CASES:
        task = TaskSettings() if size is None else TaskSettings(image_size=size)
        env = LandingVectorEnv(count, task=task, stage=FULL_TASK, pixels=size is not None)
        env.reset(seed=0)
        actions = np.random.default_rng(0).uniform(-1.0, 1.0, (count, 5))
        steps = count * rate(lambda env=env, actions=actions: env.step(actions), seconds)
        env.close()
        seen = "physics alone" if size is None else f"with {size}×{size} views"
        yield f"environment, {seen}, {count} environments", steps, "steps/s"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:60} {figure:10,.0f} {unit}")
