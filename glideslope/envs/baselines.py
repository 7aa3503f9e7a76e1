"""Scripted policies that trained ones are compared with. They read the simulator's state.

``expert`` knows where the pad is; ``fixed_camera`` flies the same servo law but only knows it while the pad is in
the view of a camera that looks straight down; ``random`` draws every action uniformly.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gimbal import angles_towards
from glideslope.envs.landing import LandingTask
from glideslope.envs.layout import ACTION_DIM, velocity_limits
from glideslope.envs.rotation import quat_about, quat_multiply, quat_to_matrix, rotate_about_z

Array = NDArray[np.float64]

APPROACH_GAIN = 1.4  # 1/s, horizontal
DESCENT_CONE = 0.22  # m of offset allowed per m of height while descending, beyond the pad's own quarter
LEAD_TIME = 0.25  # s, about the velocity loop's lag


class Policy(Protocol):
    """Actions (N, 5) in [−1, 1] for the task's present state."""

    def __call__(self, task: LandingTask) -> Array: ...


def expert(task: LandingTask) -> Array:
    """Return the actions of a visual-servo law: match the pad's velocity, close in, descend inside a cone."""
    position, _ = task.pad_relative()
    return _servo(task, position, known=np.ones(task.num_envs, bool), point_gimbal=True)


def fixed_camera(task: LandingTask) -> Array:
    """Return the servo law's actions with the camera held straight down; out of the pad's view it climbs."""
    position, _ = task.pad_relative()
    _, visible = task.pad_in_view()
    return _servo(task, position, known=visible, point_gimbal=False)


class RandomPolicy:
    """Uniform actions, each a function of the seed, the episode and its decision: not of the other episodes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, task: LandingTask) -> Array:
        starts = np.ascontiguousarray(task.scenarios.start_position).view(np.uint64)
        return np.stack(
            [
                np.random.default_rng([self._seed, decision, *start]).uniform(-1.0, 1.0, ACTION_DIM)
                for decision, start in zip(task.decisions.tolist(), starts.tolist(), strict=True)
            ]
        )


def make_policy(name: str, seed: int = 0) -> Policy:
    """Return the baseline called ``expert``, ``fixed_camera`` or ``random``.

    Raises:
        KeyError: there is no such baseline.
    """
    policies: dict[str, Policy] = {"expert": expert, "fixed_camera": fixed_camera, "random": RandomPolicy(seed)}
    return policies[name]


def _servo(task: LandingTask, position: Array, known: NDArray[np.bool_], point_gimbal: bool) -> Array:
    settings = task.task
    pad_position, pad_velocity = _pad_ahead(task)
    command = np.zeros((task.num_envs, 3))
    command[:, :2] = APPROACH_GAIN * pad_position + pad_velocity
    distance = np.linalg.norm(position[:, :2], axis=1)
    height = np.maximum(-position[:, 2], 0.0)
    inside = distance < 0.18 * settings.pad_size + DESCENT_CONE * height
    sink = np.minimum(0.55 * settings.max_touchdown_speed + 0.35 * height, settings.max_vertical_speed)
    command[:, 2] = np.where(inside, -sink, 0.0)
    command[~known] = [0.0, 0.0, 0.5 * settings.max_vertical_speed]
    action = np.zeros((task.num_envs, ACTION_DIM))
    action[:, :3] = command / velocity_limits(settings)
    if point_gimbal:
        action[:, 3:] = _point(task, position)
    return np.clip(action, -1.0, 1.0)


def _pad_ahead(task: LandingTask) -> tuple[Array, Array]:
    """Return where the pad will be (N, 2), m, relative to the drone, and its velocity (N, 2), m/s, a lead time ahead.

    In the heading frame; the drone is taken to keep its velocity until then.
    """
    pad_position, pad_velocity, _ = task.scenarios.pad_motion(task.time + LEAD_TIME)
    drone = task.physics.position[:, :2] + LEAD_TIME * task.physics.velocity[:, :2]
    still = np.zeros((task.num_envs, 1))
    relative, moving = np.hstack([pad_position - drone, still]), np.hstack([pad_velocity, still])
    heading = task.scenarios.heading
    return rotate_about_z(relative, -heading)[:, :2], rotate_about_z(moving, -heading)[:, :2]


def _point(task: LandingTask, position: Array) -> Array:
    """Gimbal actions that look at the pad, as far as the stage's range goes."""
    direction = position.copy()
    if not task.task.gimbal_stabilized:
        level = quat_multiply(quat_about(2, -task.scenarios.heading), task.physics.attitude)
        direction = np.einsum("nji,nj->ni", quat_to_matrix(level), direction)
    return task.gimbal.action_towards(angles_towards(direction), task.gimbal_scale, task.action_seconds)
