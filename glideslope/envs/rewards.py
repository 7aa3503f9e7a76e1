"""The terms of the reward, each (N,); `LandingTask` weights them by the settings and adds them up.

The two shaping terms are differences of a potential (Ng, Harada & Russell 1999), so that no loop through the
state space can earn anything from them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DESCENT_CEILING = 5.0  # m above the pad, where the descent potential begins


def approach_potential(distance: Array) -> Array:
    """Return minus the horizontal distance (m) to the pad's centre."""
    return -distance


def descent_potential(distance: Array, height: Array, pad_size: float) -> Array:
    """Return the height lost below the ceiling (m, in [0, 5]), counted as far as the drone is over the pad's middle."""
    centred = np.exp(-np.square(distance / (0.5 * pad_size)))
    return np.clip(DESCENT_CEILING - height, 0.0, DESCENT_CEILING) * centred


def precision(distance: Array, pad_size: float) -> Array:
    """Return the share of the landing bonus in [0.5, 1]: all at the pad's centre, half at its edge and corners."""
    return 1.0 - 0.5 * np.minimum(distance / (0.5 * pad_size), 1.0)


def excess_sink_rate(sink_rate: Array, height: Array, max_touchdown_speed: float) -> Array:
    """Return how much faster (m/s, at least 0) the drone sinks than is safe at ``height`` (m) above the pad."""
    # Near the pad the camera sees little but its middle: the shorter the last metre takes, the less the drone drifts.
    safe = 0.7 * max_touchdown_speed + 0.7 * np.maximum(height, 0.0)
    return np.maximum(sink_rate - safe, 0.0)


def crash_severity(sink_rate: Array, on_pad: NDArray[np.bool_], max_touchdown_speed: float) -> Array:
    """Return the share of the crash penalty in [0, 1]: all of it, but on the pad only as the sink rate is too high.

    There it is the excess over the limit as a share of the limit. A cliff at the limit teaches to hover.
    """
    excess = (sink_rate - max_touchdown_speed) / max_touchdown_speed
    return np.where(on_pad, np.clip(excess, 0.0, 1.0), 1.0)


def alignment(cosine: Array) -> Array:
    """Return the cos⁵ of the angle between the view axis and the pad, in [0, 1]; 0 behind the camera."""
    return np.maximum(cosine, 0.0) ** 5


def jerkiness(angle_change: Array) -> Array:
    """Return ‖Δangles‖² (rad²) of the gimbal's motion (N, 2) in one decision."""
    return np.einsum("ij,ij->i", angle_change, angle_change)
