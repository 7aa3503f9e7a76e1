"""An environment that is played for a while, and a digest of everything that it returned."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glideslope.envs.gym import LandingVectorEnv
from glideslope.settings import RandomizationSettings, StageSettings
from tests.support.tasks import pinned_task

# Low starts and three seconds: episodes end often, in every way.
SHORT = pinned_task(image_size=32, episode_seconds=3.0, start_height=(0.6, 1.4))
STAGES = (
    StageSettings(name="locked", lock_down=True, include_viz_reward=False, start_offset=0.3, pad_speed=(0, 0)),
    StageSettings(name="yaw", scale=(0.0, 0.0, 0.3), viz_weight=0.2, smooth_penalty=0.5, start_offset=0.8),
    StageSettings(name="full", not_visible_penalty=0.7, start_offset=1.2, pad_speed=(0.1, 0.5)),
)
RANDOMIZATION = RandomizationSettings(
    mass=(0.9, 1.1), thrust=(0.9, 1.1), motor_lag=(0.0, 0.06), latency=(0.2, 0.6), exposure=(0.7, 1.3), blur=(0.0, 1.5)
)
NUM, STEPS, SEED = 3, 45, 5
SCENARIOS = list(range(40, 52))
BUILDS: dict[str, dict[str, Any]] = {
    "state": {"pixels": False},
    "privileged": {"pixels": False, "privileged": True, "frame_stack": 1},
    "pixels": {},
    "repeated": {"pixels": False, "action_repeat": 2},
    "rigid gimbal": {"task": SHORT.model_copy(update={"gimbal_stabilized": False})},
    "gimbal velocity": {"pixels": False, "task": SHORT.model_copy(update={"gimbal_control": "velocity"})},
    "gimbal acceleration": {
        "pixels": False,
        "task": SHORT.model_copy(update={"gimbal_control": "acceleration"}),
    },
    "randomised": {"task": SHORT.model_copy(update={"randomization": RANDOMIZATION})},
    "randomised, repeated": {
        "pixels": False,
        "action_repeat": 2,
        "task": SHORT.model_copy(update={"randomization": RANDOMIZATION}),
    },
}


def build(kind: str, threads: int = 1, num: int = NUM) -> LandingVectorEnv:
    return LandingVectorEnv(num, **{"task": SHORT, "stage": STAGES[2], "num_threads": threads} | BUILDS[kind])


def begin(kind: str, threads: int = 1, queue: bool = False) -> LandingVectorEnv:
    """An environment of the last stage, mixed with the earlier ones, after its reset."""
    env = build(kind, threads)
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=0.4)
    env.reset(seed=SEED, options={"scenario_seeds": SCENARIOS} if queue else None)
    return env


def actions(step: int, num: int = NUM) -> NDArray[np.float32]:
    """Mostly downwards, so that episodes end by contact too."""
    drawn = np.random.default_rng([99, step]).uniform(-1, 1, (num, 5)).astype(np.float32)
    drawn[:, 2] -= 0.4
    return np.clip(drawn, -1, 1)


def play(env: LandingVectorEnv, start: int, stop: int) -> list[str]:
    """A digest of everything that each step from ``start`` on returned."""
    return [digest(env.step(actions(step))) for step in range(start, stop)]


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, dictionaries in the order of their keys."""
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from leaves(tree[key], f"{path}.{key}")
    elif isinstance(tree, tuple | list) or (isinstance(tree, np.ndarray) and tree.dtype == object):
        yield f"{path}:{len(tree)}", None
        for i, part in enumerate(tree):
            yield from leaves(part, f"{path}[{i}]")
    else:
        yield path, tree


def digest(tree: Any) -> str:
    """Equal for trees that are equal bit for bit, in types and shapes too."""
    text = hashlib.sha256()
    for path, leaf in leaves(tree):
        array = np.asarray(leaf)
        value = array.tobytes() if array.dtype != object else repr(leaf).encode()
        text.update(f"{path} {type(leaf)} {array.dtype} {array.shape} ".encode() + value)
    return text.hexdigest()


def as_tensors(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: as_tensors(value) for key, value in tree.items()}
    return torch.from_numpy(tree) if isinstance(tree, np.ndarray) else tree


def through_file(state: dict[str, Any]) -> Any:
    """What a snapshot makes of it: written as tensors, read without running code."""
    file = io.BytesIO()
    torch.save(as_tensors(state), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def restored(kind: str, state: Any, threads: int = 1) -> LandingVectorEnv:
    env = build(kind, threads)
    env.load_state_dict(state, STAGES)
    return env


@cache
def straight(kind: str, queue: bool = False) -> list[str]:
    """The run that was never saved: a digest per step."""
    env = begin(kind, queue=queue)
    try:
        return play(env, 0, STEPS)
    finally:
        env.close()


def future_of(file: str, kind: str, start: int) -> str:
    """What a fresh process makes of a saved environment."""
    env = restored(kind, torch.load(file, weights_only=True), threads=2)
    return digest(play(env, start, STEPS))
