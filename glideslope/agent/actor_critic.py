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
        self.activation = nn.Tanh()
        self.output_size = feature_dim + state_dim

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        code: Tensor = self.activation(self.norm(self.linear(features)))
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


class TwinLinear(nn.Module):
    """Two Linear layers in one product: (2, B, inputs), or (B, inputs) for both, to (2, B, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(2, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(2, -1, -1), self.weight)


class TwinReLU(nn.ReLU):
    """ReLU in place on (2, B, units), one layer of each of two networks."""

    def __init__(self) -> None:
        super().__init__(inplace=True)


class TwinCritic(nn.Module):
    """Two Q functions on one trunk: `code` gives what both read, `forward` their values (2, B, 1)."""

    def __init__(
        self, feature_size: int, state_dim: int, action_dim: int, feature_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.trunk = Trunk(feature_size, feature_dim, state_dim)
        self.first = TwinLinear(self.trunk.output_size + action_dim, hidden_dim)
        self.second = TwinLinear(hidden_dim, hidden_dim)
        self.output = TwinLinear(hidden_dim, 1)
        self.activation = TwinReLU()

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """(B, feature_dim + S), what the two Q functions read beside the action."""
        code: Tensor = self.trunk(features, state)
        return code

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        x = self.activation(self.first(torch.cat((code, action), dim=1)))
        x = self.activation(self.second(x))
        values: Tensor = self.output(x)
        return values


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """DrQ-v2's initial weights: orthogonal, with the ReLU gain for convolutions; biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.orthogonal_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d):
            nn.init.orthogonal_(part.weight, nn.init.calculate_gain("relu"))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, TwinLinear):
            for weight in part.weight:
                nn.init.orthogonal_(weight.T)
            nn.init.zeros_(part.bias)
