"""The encoder's auxiliary task: tell from the features which gimbal angles look straight at the pad.

Shapes: B batch, F encoder features, G gimbal axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glideslope.agent.networks.actor_critic import Trunk


class GimbalPrediction(nn.Module):
    """A trunk and a Linear from features (B, F) to angles (B, G), each as a share of its limit.

    It is trained with the encoder and serves nothing else: the policy reads the features, not the angles.

    limits_deg: the G limits in degrees. weight: of the mean squared error beside the critic's loss.
    """

    limits: Tensor

    def __init__(self, feature_size: int, feature_dim: int, limits_deg: Sequence[float], weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.trunk = Trunk(feature_size, feature_dim, 0)
        self.output = nn.Linear(feature_dim, len(limits_deg))
        self.register_buffer("limits", torch.tensor(limits_deg, dtype=torch.float32), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        angles: Tensor = self.output(self.trunk(features, None))
        return angles

    def loss(self, features: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error, and the mean absolute one in degrees; angles: (B, G) in [-1, 1]."""
        difference = self(features) - angles
        return difference.square().mean(), (difference.detach().abs() * self.limits).mean()
