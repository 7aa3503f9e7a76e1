"""The two-axis gimbal: how actions move its angles, and the direction the camera looks in.

Pitch tilts the view fore and aft, yaw left and right; at (0, 0) the camera looks straight down. The view's
rotation in its base frame is Rx(yaw) · Ry(−pitch), regular over the whole range of ±47° and ±90°: the order with
a vertical first axis would be singular at the rest position. The base frame is the drone's heading frame when
the gimbal is stabilised (body tilt cancelled, as real ones do), else the body's.

An action in [−1, 1] per axis commands an angle, a rate or an acceleration. Its effect over a time step is written
down in closed form, limits that are met within the step included, so the motion is that of an arbitrarily fine
integration: neither the controller's rate nor the physics' changes where the gimbal is at a given time. (Taking one
physics step of the gimbal per decision makes it slower by the number of physics steps in a decision.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.rotation import quat_about, quat_multiply
from glideslope.envs.state import State, copies, restore
from glideslope.settings import TaskSettings

Array = NDArray[np.float64]

PITCH_LIMIT = 5.0 * np.pi / 19.0  # rad, about 47°
YAW_LIMIT = np.pi / 2.0
ANGLE_LIMITS = np.array([PITCH_LIMIT, YAW_LIMIT])


def view_quaternion(angles: Array) -> Array:
    """Return the rotation (N, 4) of the view in the gimbal's base frame for ``angles`` (N, 2) = (pitch, yaw), rad."""
    return quat_multiply(quat_about(0, angles[:, 1]), quat_about(1, -angles[:, 0]))


def angles_towards(direction: Array) -> Array:
    """Return the (pitch, yaw) (N, 2), rad, that look along ``direction`` (N, 3), given in the base frame; unclipped."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    pitch = np.arcsin(np.clip(unit[:, 0], -1.0, 1.0))
    return np.stack([pitch, np.arctan2(unit[:, 1], -unit[:, 2])], axis=1)


class Gimbal(ABC):
    """N gimbals; the modes differ in what an action commands.

    ``share`` (N, 2) is the part of each axis's range that is open: an angle stays within ± share · limit, and an axis
    of share 0 stays at 0.
    """

    def __init__(self, num_envs: int, max_rate: float) -> None:
        self.angles = np.zeros((num_envs, 2))  # (pitch, yaw), rad
        self._max_rate = max_rate

    def _rows(self) -> dict[str, Array]:
        """Return all that the future depends on, by the name under which it is saved."""
        return {"angles": self.angles}

    def reset(self, ids: NDArray[np.intp]) -> None:
        """Bring the gimbals ``ids`` to rest, looking straight down."""
        for row in self._rows().values():
            row[ids] = 0.0

    def state_dict(self) -> State:
        """Return a copy of the angles and, where it has a state of its own, of the motion."""
        return copies(self._rows())

    def load_state_dict(self, state: State) -> None:
        """Restore ``state``, of as many gimbals."""
        restore(self._rows(), state)

    @abstractmethod
    def advance(self, action: Array, share: Array, dt: float, moving: NDArray[np.bool_]) -> None:
        """Follow ``action`` (N, 2) in [−1, 1] for ``dt`` s where ``moving`` (N,); exact for any ``dt``."""

    @abstractmethod
    def action_towards(self, target: Array, share: Array, hold: float) -> Array:
        """Return the action (N, 2) that, held for ``hold`` s, best brings the angles to ``target`` (N, 2), rad.

        It may be beyond [−1, 1] and is to be clipped; a target out of reach is approached as far as the range goes.
        """


class PositionGimbal(Gimbal):
    """The action is an angle's target as a share of its limit, run to at no more than ``max_rate`` rad/s.

    A target beyond the open range means its end, so that a range that opens does not change what an action means.
    """

    def advance(self, action: Array, share: Array, dt: float, moving: NDArray[np.bool_]) -> None:
        limit, reach = self._max_rate * dt, share * ANGLE_LIMITS
        step = np.clip(np.clip(action * ANGLE_LIMITS, -reach, reach) - self.angles, -limit, limit)
        self.angles += np.where(moving[:, None], step, 0.0)

    def action_towards(self, target: Array, share: Array, hold: float) -> Array:
        reach = share * ANGLE_LIMITS
        return np.clip(target, -reach, reach) / ANGLE_LIMITS


class VelocityGimbal(Gimbal):
    """The action is a rate as a share of ``max_rate`` rad/s, taken on at once; at the end of the range it stops."""

    def advance(self, action: Array, share: Array, dt: float, moving: NDArray[np.bool_]) -> None:
        reach = share * ANGLE_LIMITS
        angles = np.clip(self.angles + action * self._max_rate * dt, -reach, reach)
        np.copyto(self.angles, angles, where=moving[:, None])

    def action_towards(self, target: Array, share: Array, hold: float) -> Array:
        reach = share * ANGLE_LIMITS
        return (np.clip(target, -reach, reach) - self.angles) / (hold * self._max_rate)


class AccelerationGimbal(Gimbal):
    """The action is an acceleration as a share of ``max_acceleration`` rad/s².

    The rate stays within ± ``max_rate`` rad/s. At the end of the range the gimbal stops dead, without rebound.
    """

    def __init__(self, num_envs: int, max_rate: float, max_acceleration: float) -> None:
        super().__init__(num_envs, max_rate)
        self.rates = np.zeros((num_envs, 2))  # rad/s
        self._max_acceleration = max_acceleration

    def _rows(self) -> dict[str, Array]:
        return super()._rows() | {"rates": self.rates}

    def advance(self, action: Array, share: Array, dt: float, moving: NDArray[np.bool_]) -> None:
        acceleration = action * self._max_acceleration
        angles, rates = accelerate(self.angles, self.rates, acceleration, share * ANGLE_LIMITS, self._max_rate, dt)
        np.copyto(self.angles, angles, where=moving[:, None])
        np.copyto(self.rates, rates, where=moving[:, None])

    def action_towards(self, target: Array, share: Array, hold: float) -> Array:
        """Towards the target at a rate that leaves room to brake: a near one is reached at rest after two actions.

        The rate v wanted after this action, with e the angle still to go, a the largest acceleration and T ``hold``,
        leaves v²/2a to stop and v·T/2 because a stop takes whole actions, so that with the mean of both rates during
        this action v²/2a + v·T + rate·T/2 = e. Where e is small beside a·T², v²/2a vanishes: v is e/T, half of e is
        gone after the first action and the other half after the second, which stops (the dead-beat law).
        """
        reach = share * ANGLE_LIMITS
        left = np.clip(target, -reach, reach) - self.angles - 0.5 * hold * self.rates
        jump = self._max_acceleration * hold
        speed = np.sqrt(jump**2 + 2.0 * self._max_acceleration * np.abs(left)) - jump
        wanted = np.sign(left) * np.minimum(speed, self._max_rate)
        return (wanted - self.rates) / jump


def accelerate(
    angle: Array, rate: Array, acceleration: Array, reach: Array, max_rate: float, dt: float
) -> tuple[Array, Array]:
    """Angle and rate after ``dt`` s of constant acceleration, in closed form; arrays of one shape, rad and s.

    Seen in the acceleration's direction there are at most two phases. A motion against it is braked until it rests,
    or ends at −reach; then ω grows to ``max_rate`` and stays there until +reach ends the motion. Where the range
    ends the rate becomes 0.
    """
    # A mirrored start gives the mirrored end bit for bit. Without acceleration, look along the motion.
    sign = np.where(acceleration != 0.0, np.sign(acceleration), np.where(rate < 0.0, -1.0, 1.0))
    angle, rate, size = sign * angle, sign * rate, np.abs(acceleration)
    against, along = np.minimum(rate, 0.0), np.maximum(rate, 0.0)
    divisor = np.where(size > 0.0, size, 1.0)  # where there is no acceleration nothing runs against it
    room = angle + reach
    with np.errstate(over="ignore"):
        braking, braking_time = against**2 / (2.0 * divisor), -against / divisor
        until_top_rate = (max_rate - along) / divisor
    ends = braking > room
    impact_rate = np.sqrt(np.maximum(against**2 - 2.0 * size * room, 0.0))
    impact_time = 2.0 * room / np.where(ends, impact_rate - against, 1.0)
    first = np.where(ends, impact_time, braking_time)

    rest = np.where(ends, -reach, angle - np.where(ends, 0.0, braking))
    left = np.maximum(dt - first, 0.0)
    rising = np.minimum(left, until_top_rate)
    top = np.minimum(along + size * rising, max_rate)
    after = rest + rising * (along + 0.5 * size * rising) + top * (left - rising)
    stopped = after >= reach

    early = dt < first
    new_angle = np.where(early, angle + dt * (against + 0.5 * size * dt), after)
    new_rate = np.where(early, against + size * dt, np.where(stopped, 0.0, top))
    return sign * np.clip(new_angle, -reach, reach), sign * new_rate


def build_gimbal(num_envs: int, task: TaskSettings) -> Gimbal:
    """Return the gimbals of the mode that ``task`` names."""
    if task.gimbal_control == "velocity":
        return VelocityGimbal(num_envs, task.gimbal_max_rate)
    if task.gimbal_control == "acceleration":
        return AccelerationGimbal(num_envs, task.gimbal_max_rate, task.gimbal_max_acceleration)
    return PositionGimbal(num_envs, task.gimbal_max_rate)
