"""Actor and twin critic of DrQ-v2 (arXiv:2107.09645), each with its own trunk.

Shapes: B batch, F encoder features, S state values, A action axes.
"""

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Linear-LayerNorm-Tanh from (B, F) to (B, feature_dim), then the state: (B, feature_dim + S)."""

    def __init__(self, feature_size: int, feature_dim: int, state_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_size, feature_dim)
        self.norm = nn.LayerNorm(feature_dim)
        self.output_size = feature_dim + state_dim

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        code = torch.tanh(self.norm(self.linear(features)))
        return code if state is None else torch.cat((code, state), dim=1)


class Actor(nn.Module):
    """Features and state to the policy's pre-tanh output (B, A); the mean action is its tanh."""

    def __init__(
        self, feature_size: int, state_dim: int, action_dim: int, feature_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.trunk = Trunk(feature_size, feature_dim, state_dim)
        self.hidden = nn.Sequential(
            nn.Linear(self.trunk.output_size, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(inplace=True),
        )
        self.output = nn.Linear(hidden_dim, action_dim)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        pretanh: Tensor = self.output(self.hidden(self.trunk(features, state)))
        return pretanh


class TwinCritic(nn.Module):
    """Two Q functions on one trunk: `code` gives what both read, `forward` their values (B, 2)."""

    def __init__(
        self, feature_size: int, state_dim: int, action_dim: int, feature_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.trunk = Trunk(feature_size, feature_dim, state_dim)
        inputs = self.trunk.output_size + action_dim
        self.q1 = _q_function(inputs, hidden_dim)
        self.q2 = _q_function(inputs, hidden_dim)

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """(B, feature_dim + S), what the two Q functions read beside the action."""
        code: Tensor = self.trunk(features, state)
        return code

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        x = torch.cat((code, action), dim=1)
        return torch.cat((self.q1(x), self.q2(x)), dim=1)


def initialize(module: nn.Module) -> None:
    """DrQ-v2's initial weights: orthogonal, with the ReLU gain for convolutions; biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            gain = nn.init.calculate_gain("relu") if isinstance(part, nn.Conv2d) else 1.0
            nn.init.orthogonal_(part.weight, gain)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _q_function(inputs: int, hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, 1),
    )
