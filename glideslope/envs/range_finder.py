"""The downward range finder: the distance from the hull's bottom to the surface below, along the body's own axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.physics import HULL_BOTTOM, PAD_TOP_HEIGHT
from glideslope.envs.rotation import rotate_about_z

Array = NDArray[np.float64]


def distance_below(position: Array, rotation: Array, pad_position: Array, pad_course: Array, pad_size: float) -> Array:
    """Return how far (N,), m, a beam down the body's axis runs to the pad's top or else the ground; inf for neither.

    A hull that contact has pressed a little into the pad's top is 0 m away from it.

    Args:
        position: (N, 3) m, the drone's centre.
        rotation: (N, 3, 3) body to world.
        pad_position: (N, 2) m.
        pad_course: (N,) rad, about the vertical.
        pad_size: edge of the square pad, m.
    """
    beam = -rotation[:, :, 2]
    start = position + HULL_BOTTOM * beam
    falls = beam[:, 2] < 0.0
    per_metre = 1.0 / np.where(falls, -beam[:, 2], 1.0)  # beam length per metre of height
    to_pad = (start[:, 2] - PAD_TOP_HEIGHT) * per_metre
    hit = start + to_pad[:, None] * beam
    hit[:, :2] -= pad_position
    on_pad = np.abs(rotate_about_z(hit, -pad_course)[:, :2]).max(axis=1) <= 0.5 * pad_size
    distance = np.where(on_pad, to_pad, start[:, 2] * per_metre)
    return np.where(falls, np.maximum(distance, 0.0), np.inf)
