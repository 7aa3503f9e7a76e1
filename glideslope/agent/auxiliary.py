"""The encoder's auxiliary task: tell from what the policy sees where to look for the pad, or how the pad moves.

Shapes: B batch, F encoder features, S state values, P privileged values, T targets.
"""

from collections.abc import Sequence
from typing import TypeAlias

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


class PadPrediction(nn.Module):
    """A trunk, two hidden layers and a Linear from features (B, F) and state (B, S) to the pad's relative motion.

    It is trained with the encoder. The targets are the first six of a batch's privileged values: the pad's position and
    velocity relative to the drone.
    """

    size = 6

    def __init__(self, feature_size: int, state_dim: int, feature_dim: int, hidden_dim: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.trunk = Trunk(feature_size, feature_dim, state_dim)
        self.hidden = hidden_layers(self.trunk.output_size, hidden_dim)
        self.output = nn.Linear(hidden_dim, self.size)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        motion: Tensor = self.output(self.hidden(self.trunk(features, state)))
        return motion

    def loss(self, motion: Tensor, privileged: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error, and measures: the mean distances to the position (m) and velocity (m/s)."""
        difference = motion - privileged[:, : self.size]
        position, velocity = difference.detach()[:, :3], difference.detach()[:, 3:]
        measures = {
            "auxiliary_error_m": POSITION_UNIT * position.norm(dim=1).mean(),
            "auxiliary_error_mps": VELOCITY_UNIT * velocity.norm(dim=1).mean(),
        }
        return difference.square().mean(), measures


Auxiliary: TypeAlias = GimbalPrediction | PadPrediction
"""The prediction of either task."""
