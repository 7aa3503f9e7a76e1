"""The encoder's auxiliary task: tell from what the policy sees where to look for the pad, or how the pad moves.

Shapes: B batch, F encoder features, S state values, P privileged values, T targets.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from glideslope.agent.networks.actor_critic import Trunk, hidden_layers

POSITION_UNIT, VELOCITY_UNIT = 5.0, 2.0  # m and m/s, of the first six privileged values


class GimbalPrediction(nn.Module):
    """A trunk and a Linear from features (B, F) to the gimbal angles that look at the pad, as shares of their limits.

    It is trained with the encoder. The targets are the last of a batch's privileged values.

    limits_deg: the limits in degrees. weight: of the mean squared error beside the loss that trains the encoder.
    """

    limits: Tensor
    size = 2

    def __init__(self, feature_size: int, feature_dim: int, limits_deg: Sequence[float], weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.trunk = Trunk(feature_size, feature_dim, 0)
        self.output = nn.Linear(feature_dim, len(limits_deg))
        self.register_buffer("limits", torch.tensor(limits_deg, dtype=torch.float32), persistent=False)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        angles: Tensor = self.output(self.trunk(features, None))
        return angles

    def loss(self, angles: Tensor, privileged: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error, and measures: the mean absolute error in degrees."""
        difference = angles - privileged[:, -len(self.limits) :]
        error = (difference.detach().abs() * self.limits).mean()
        return difference.square().mean(), {"auxiliary_error_deg": error}


class Instruments(NamedTuple):
    """How a frame of the state tells of motion: velocity / limit (3), attitude (4) and gimbal (4) as quaternions."""

    frame_size: int  # values of a frame
    velocity_limits: tuple[float, float, float]  # m/s
    gimbal_stabilized: bool  # whether the gimbal's rotation is one in the heading frame, else it is one in the body's


class PadPrediction(nn.Module):
    """A trunk, two hidden layers and a Linear from features (B, F) and state (B, S) to the pad's relative motion.

    It is trained with the encoder. The targets are the first six of a batch's privileged values: the pad's position and
    velocity relative to the drone, in the heading frame. With `instruments` the layers tell them in the camera's frame,
    and the velocity as that of the pad over the ground: what the newest frame tells of the gimbal and of the drone's
    own velocity makes the rest, so that what is learnt of one direction of view holds for all.
    """

    size = 6
    velocity_limits: Tensor

    def __init__(
        self,
        feature_size: int,
        state_dim: int,
        feature_dim: int,
        hidden_dim: int,
        weight: float,
        instruments: Instruments | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self._instruments = instruments if state_dim else None
        self.trunk = Trunk(feature_size, feature_dim, state_dim)
        self.hidden = hidden_layers(self.trunk.output_size, hidden_dim)
        self.output = nn.Linear(hidden_dim, self.size)
        limits = instruments.velocity_limits if instruments else (0.0,) * 3
        # Saved, so that weights that answered in the heading frame, which have none, are refused.
        self.register_buffer("velocity_limits", torch.tensor(limits, dtype=torch.float32))

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        motion: Tensor = self.output(self.hidden(self.trunk(features, state)))
        if self._instruments is None or state is None:
            return motion
        newest = state[:, -self._instruments.frame_size :]
        view = rotation_matrices(newest[:, 7:11])
        if not self._instruments.gimbal_stabilized:
            view = rotation_matrices(newest[:, 3:7]) @ view
        position, velocity = (view @ motion.view(-1, 2, 3).transpose(1, 2)).unbind(2)
        own_velocity = newest[:, :3] * (self.velocity_limits / VELOCITY_UNIT)
        return torch.cat((position, velocity - own_velocity), dim=1)

    def loss(self, motion: Tensor, privileged: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error, and measures: the mean distances to the position (m) and velocity (m/s)."""
        difference = motion - privileged[:, : self.size]
        position, velocity = difference.detach()[:, :3], difference.detach()[:, 3:]
        measures = {
            "auxiliary_error_m": POSITION_UNIT * position.norm(dim=1).mean(),
            "auxiliary_error_mps": VELOCITY_UNIT * velocity.norm(dim=1).mean(),
        }
        return difference.square().mean(), measures


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Return the rotation matrices (B, 3, 3) of unit quaternions (B, 4), scalar part first."""
    w, x, y, z = quaternions.unbind(1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, 1).view(-1, 3, 3)


Auxiliary: TypeAlias = GimbalPrediction | PadPrediction
"""The prediction of either task."""
