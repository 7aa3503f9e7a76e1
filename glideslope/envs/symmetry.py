"""The task's mirror symmetries: what a landing looks like in a mirror is a landing too, as likely as the first.

The mirrors are upright planes of the heading frame, one facing x, one facing y. A vector changes its sign along the
axis that the mirror faces, a rotation's quaternion along the two others. Walking is taught so, too: Abdolhosseini,
Ling, Xie, Peng & van de Panne 2019, "On Learning Symmetric Locomotion". Of the pads' markings, quarters become quarters
turned by a right angle; all others stay what they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.layout import privileged_dim, state_dim
from glideslope.settings import TaskSettings

# x, y, z of a vector; w, x, y, z of a quaternion; pitch and yaw of the gimbal, which turn about y and x.
_SIGNS = (
    {"vector": [-1, 1, 1], "quaternion": [1, 1, -1, -1], "gimbal": [-1, 1]},
    {"vector": [1, -1, 1], "quaternion": [1, -1, 1, -1], "gimbal": [1, -1]},
)
_IMAGE_DIMS = (-2, -1)  # rows run against x, columns against y

Signs = NDArray[np.float32]


class MirrorSigns(NamedTuple):
    """What a mirror does: the dimension of (…, H, W) images that it reverses, and the signs of all other values."""

    image_dim: int
    state: Signs  # (K * S,)
    privileged: Signs  # (P,)
    action: Signs  # (A,)


def mirrors(task: TaskSettings, frame_stack: int, *, privileged: bool, oracle_gimbal: bool) -> list[MirrorSigns]:
    """Return what the mirrors across x and y do, to a state of ``frame_stack`` frames.

    The privileged values are those of :meth:`LandingTask.privileged`, if at all, and with ``oracle_gimbal`` behind them
    the angles that look at the pad.
    """
    return [_mirror(task, frame_stack, privileged, oracle_gimbal, axis) for axis in range(len(_SIGNS))]


def _mirror(task: TaskSettings, frame_stack: int, privileged: bool, oracle_gimbal: bool, axis: int) -> MirrorSigns:
    signs = _SIGNS[axis]
    vector, gimbal = signs["vector"], signs["gimbal"]
    motion = [*vector, *signs["quaternion"], *signs["quaternion"]]
    state = [*motion, *[1] * (state_dim(task) - len(motion))]
    seen = [*vector, *vector, *vector, *motion]
    rates = gimbal[: privileged_dim(task) - len(seen)]
    known = [*(seen + rates if privileged else []), *(gimbal if oracle_gimbal else [])]
    return MirrorSigns(
        image_dim=_IMAGE_DIMS[axis],
        state=np.tile(np.array(state, np.float32), frame_stack),
        privileged=np.array(known, np.float32),
        action=np.array([*vector, *gimbal], np.float32),
    )
