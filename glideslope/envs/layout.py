"""What observations and actions of the landing task consist of, for whoever needs no simulator."""

from __future__ import annotations

from glideslope.settings import TaskSettings

ACTION_DIM = 5  # vx, vy, vz, gimbal pitch, gimbal yaw
GIMBAL_AXES = (3, 4)
MOTION_DIM = 11  # velocity / limit (3), attitude quaternion (4), gimbal quaternion (4)
PRIVILEGED_DIM = 20  # see LandingTask.privileged and privileged_dim
VELOCITY_BOUND = 5.0  # the observed velocity, in units of its limit, is clipped here


def velocity_limits(task: TaskSettings) -> tuple[float, float, float]:
    """Return the largest commands of the velocity in the heading frame, forward, left and up, m/s."""
    return task.max_horizontal_speed, task.max_horizontal_speed, task.max_vertical_speed


def state_dim(task: TaskSettings) -> int:
    """Return the length of a frame of :meth:`LandingTask.state`."""
    return MOTION_DIM + task.range_finder


def privileged_dim(task: TaskSettings) -> int:
    """Return the length of :meth:`LandingTask.privileged`."""
    return PRIVILEGED_DIM + (len(GIMBAL_AXES) if task.gimbal_control == "acceleration" else 0)
