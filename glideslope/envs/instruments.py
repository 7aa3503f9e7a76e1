"""What the instruments tell of a flight: the columns of a frame of the state. Needs no simulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gimbal import view_quaternion
from glideslope.envs.layout import VELOCITY_BOUND

Array = NDArray[np.float64]


def motion(velocity: Array, attitude: Array, angles: Array, limits: Array) -> NDArray[np.float32]:
    """Return the state without the range finder (N, 11): velocity / limit (3), quaternions of body (4) and gimbal (4).

    Args:
        velocity: (N, 3) m/s, in the heading frame.
        attitude: (N, 4) unit quaternion of the body in the heading frame, scalar first.
        angles: (N, 2) rad, the gimbal's pitch and yaw.
        limits: (3,) m/s; see `layout.velocity_limits`.
    """
    speed = np.clip(velocity / limits, -VELOCITY_BOUND, VELOCITY_BOUND)
    columns = [speed, _canonical(attitude), _canonical(view_quaternion(angles))]
    return np.concatenate(columns, axis=1).astype(np.float32)


def reading(distance: Array, noise: Array | float, limits: tuple[float, float]) -> Array:
    """Return what the range finder tells of ``distance`` (m), as a share of the longest that it measures.

    ``noise`` is the error as a share of the distance, ``limits`` the shortest and longest distance (m). A surface
    nearer than the shortest reads as the shortest; 1 means that nothing was measured.
    """
    shortest, longest = limits
    share = np.minimum(distance, longest) / longest * (1.0 + noise)
    return np.where(distance <= longest, np.clip(share, shortest / longest, 1.0), 1.0)


def _canonical(quat: Array) -> Array:
    """Return the one of q and -q, the same rotation, whose scalar part isn't negative."""
    return np.where(quat[:, :1] < 0.0, -quat, quat)
