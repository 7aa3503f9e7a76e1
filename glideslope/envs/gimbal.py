"""The two-axis gimbal: angles, rate limits, and the direction the camera looks in.

Pitch tilts the view fore and aft, yaw left and right; at (0, 0) the camera looks straight down. The view's
rotation in its base frame is Rx(yaw) · Ry(−pitch), regular over the whole range of ±47° and ±90°: the order with
a vertical first axis would be singular at the rest position. The base frame is the drone's heading frame when
the gimbal is stabilised (body tilt cancelled, as real ones do), else the body's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.rotation import quat_about, quat_multiply
from glideslope.envs.state import State

Array = NDArray[np.float64]

PITCH_LIMIT = 5.0 * np.pi / 19.0  # rad, about 47°
YAW_LIMIT = np.pi / 2.0
ANGLE_LIMITS = np.array([PITCH_LIMIT, YAW_LIMIT])


def view_quaternion(angles: Array) -> Array:
    """Rotation (N, 4) of the view in the gimbal's base frame for ``angles`` (N, 2) = (pitch, yaw), rad."""
    return quat_multiply(quat_about(0, angles[:, 1]), quat_about(1, -angles[:, 0]))


def angles_towards(direction: Array) -> Array:
    """The (pitch, yaw) (N, 2), rad, that look along ``direction`` (N, 3), given in the base frame; unclipped."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    pitch = np.arcsin(np.clip(unit[:, 0], -1.0, 1.0))
    return np.stack([pitch, np.arctan2(unit[:, 1], -unit[:, 2])], axis=1)


class PositionGimbal:
    """Position control: each angle runs to its target at no more than ``max_rate`` rad/s."""

    def __init__(self, num_envs: int, max_rate: float) -> None:
        self.angles = np.zeros((num_envs, 2))
        self._max_rate = max_rate

    def reset(self, ids: NDArray[np.intp]) -> None:
        """Bring the gimbals ``ids`` back to looking straight down."""
        self.angles[ids] = 0.0

    def state_dict(self) -> State:
        """The angles."""
        return {"angles": self.angles.copy()}

    def load_state_dict(self, state: State) -> None:
        """Go on from ``state``, of as many gimbals."""
        self.angles[...] = state["angles"]

    def advance(self, target: Array, dt: float, moving: NDArray[np.bool_]) -> None:
        """Follow ``target`` (N, 2), rad, for ``dt`` s where ``moving`` (N,); exact for any ``dt``."""
        limit = self._max_rate * dt
        step = np.clip(target - self.angles, -limit, limit)
        self.angles += np.where(moving[:, None], step, 0.0)
