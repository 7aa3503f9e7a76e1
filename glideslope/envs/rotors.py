"""The rotors of N drones: how far the thrust that the controller asks for is there already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.controller import Airframe
from glideslope.envs.state import State

Array = NDArray[np.float64]


class Rotors:
    """Thrusts that follow the commanded ones with a first-order lag, at a controller's step of ``dt`` s."""

    def __init__(self, num_envs: int, airframe: Airframe, dt: float) -> None:
        self._hover = airframe.mass * airframe.gravity / 4
        self._dt = dt
        self._thrusts = np.full((num_envs, 4), self._hover)

    def reset(self, ids: NDArray[np.intp]) -> None:
        """Let the drones ``ids`` start with the thrust that holds the nominal mass."""
        self._thrusts[ids] = self._hover

    def state_dict(self) -> State:
        """Return the present thrusts."""
        return {"thrusts": self._thrusts.copy()}

    def load_state_dict(self, state: State) -> None:
        """Restore ``state``, of as many drones."""
        self._thrusts[...] = state["thrusts"]

    def follow(self, command: Array, lag: Array) -> Array:
        """Return the thrusts (N, 4), N, at the end of a step under a constant ``command`` (N, 4), N.

        ``lag`` (N,) is the time constant, s. The step is that of the differential equation's solution, whatever its
        length; without a lag the command is there at once.
        """
        remains = np.exp(-self._dt / np.where(lag > 0.0, lag, 1.0))[:, None]
        lagging = command + (self._thrusts - command) * remains
        self._thrusts[:] = np.where(lag[:, None] > 0.0, lagging, command)
        return self._thrusts
