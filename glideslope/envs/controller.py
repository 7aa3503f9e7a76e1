"""Velocity–attitude–rate controller: velocity commands to rotor thrusts, for N quadrotors at once.

A cascade: a PI loop on velocity gives the acceleration to fly, whose direction the thrust axis follows by a
proportional law on the rotation error (Lee, Leok & McClamroch 2010, eq. 10, with the rate loop in the place of
the derivative term); a proportional rate loop with gyroscopic compensation gives the torques, and a fixed mixing
matrix gives the four thrusts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.rotation import cross
from glideslope.envs.state import State

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Airframe:
    """What the controller must know of the drone, read from the model."""

    mass: float  # kg
    inertia: Array  # (3,) kg m²
    mixing: Array  # (4, 4): rotor thrusts (N) to total thrust (N) and body torques (N m)
    max_thrust: float  # N, per rotor
    gravity: float  # m/s²


@dataclass(frozen=True)
class Gains:
    """Tuned for a controller rate of 60 Hz: see the step-response tests."""

    velocity: float = 4.0  # 1/s
    velocity_integral: float = 1.5  # 1/s²
    attitude: float = 11.0  # 1/s
    heading: float = 3.0  # 1/s
    rate: float = 28.0  # 1/s
    max_tilt: float = np.deg2rad(32.0)
    max_climb_acceleration: float = 5.0  # m/s²
    integral_limit: float = 0.6  # m/s²


class VelocityController:
    """Flies ``num_envs`` quadrotors along velocity commands at a fixed rate of 1/``dt`` Hz."""

    def __init__(self, airframe: Airframe, num_envs: int, dt: float, gains: Gains | None = None) -> None:
        self._airframe = airframe
        self._gains = gains or Gains()
        self._dt = dt
        self._unmix = np.linalg.inv(airframe.mixing)
        self._integral = np.zeros((num_envs, 3))

    def reset(self, ids: NDArray[np.intp]) -> None:
        """Forget the velocity integral of the simulations ``ids``."""
        self._integral[ids] = 0.0

    def state_dict(self) -> State:
        """Return the velocity integrals."""
        return {"integral": self._integral.copy()}

    def load_state_dict(self, state: State) -> None:
        """Restore ``state``, of as many quadrotors."""
        self._integral[...] = state["integral"]

    def thrusts(self, rotation: Array, velocity: Array, body_rate: Array, command: Array, heading: Array) -> Array:
        """Return the rotor thrusts (N, 4) in newtons, each in [0, max_thrust].

        Args:
            rotation: (N, 3, 3) body to world.
            velocity: (N, 3) m/s, world.
            body_rate: (N, 3) rad/s, body.
            command: (N, 3) velocity to fly, m/s, world.
            heading: (N,) heading to hold, rad.
        """
        gains, airframe = self._gains, self._airframe
        error = command - velocity
        # Integrate only near the command: winding up during a large step would overshoot.
        near = np.linalg.norm(error, axis=1, keepdims=True) < 0.5
        self._integral += near * (gains.velocity_integral * self._dt) * error
        np.clip(self._integral, -gains.integral_limit, gains.integral_limit, out=self._integral)

        acceleration = gains.velocity * error + self._integral
        limit = gains.max_climb_acceleration
        vertical = airframe.gravity + np.clip(acceleration[:, 2], -limit, limit)
        horizontal = acceleration[:, :2]
        reach = np.tan(gains.max_tilt) * vertical
        length = np.sqrt(np.einsum("ij,ij->i", horizontal, horizontal)) + 1e-9
        horizontal = horizontal * np.minimum(1.0, reach / length)[:, None]

        # Desired thrust axis in the body frame; its x and y parts are the tilt still missing.
        desired = np.concatenate([horizontal, vertical[:, None]], axis=1)
        magnitude = np.sqrt(np.einsum("ij,ij->i", desired, desired))
        axis = np.einsum("nji,nj->ni", rotation, desired / magnitude[:, None])
        forward = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
        turn = np.arctan2(np.sin(heading - forward), np.cos(heading - forward))

        rate_error = np.empty_like(body_rate)
        rate_error[:, 0] = -gains.attitude * axis[:, 1] - body_rate[:, 0]
        rate_error[:, 1] = gains.attitude * axis[:, 0] - body_rate[:, 1]
        rate_error[:, 2] = gains.heading * turn - body_rate[:, 2]
        momentum = airframe.inertia * body_rate
        wrench = np.empty((len(command), 4))
        # Project on the present axis, so that a tilted drone neither climbs nor sinks.
        wrench[:, 0] = airframe.mass * magnitude * np.maximum(axis[:, 2], 0.2)
        wrench[:, 1:] = airframe.inertia * gains.rate * rate_error + cross(body_rate, momentum)
        # Not a matrix product: BLAS rounds a row differently by how many rows there are.
        return np.clip(np.einsum("nj,ij->ni", wrench, self._unmix), 0.0, airframe.max_thrust)
