"""Actors and twin critics: what every pair is built of, DrQ-v2's pair (arXiv:2107.09645), the autoregressive actor.

Shapes: B batch, F encoder features, S state values, A action axes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Sizes(NamedTuple):
    """What a pair reads and gives, and how wide its layers are."""

    feature_size: int  # F
    state_dim: int  # S
    action_dim: int  # A
    feature_dim: int  # the trunk's features
    hidden_dim: int  # the hidden layers behind the trunk
    critic_layer_norm: bool = False  # whether the critic's hidden layers are normalised
    value_bins: int = 1  # V, the outputs of a Q function


class ActionParts(NamedTuple):
    """The action axes that fly the drone and those that turn its gimbal; together, each axis once."""

    drone: tuple[int, ...]
    gimbal: tuple[int, ...]


class OutputLayer(NamedTuple):
    """A last layer of an actor: its row i gives the action axis `axes[i]`."""

    layer: nn.Linear
    axes: tuple[int, ...]


class Actor(nn.Module):
    """Features (B, F) and state (B, S) to the policy's pre-tanh output (B, A); the mean action is its tanh."""

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        raise NotImplementedError

    def output_layers(self) -> list[OutputLayer]:
        """Return the layers that the output comes from; together they give each axis once."""
        raise NotImplementedError


class Critic(nn.Module):
    """Two Q functions: `code` gives what both read of an observation, `forward` their outputs (2, B, V).

    An output is the value itself, or the logits of its distribution: see `glideslope.agent.values`.
    """

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """(B, ...), what the two Q functions read beside the action."""
        raise NotImplementedError

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        raise NotImplementedError


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


def hidden_layers(inputs: int, width: int, depth: int = 2, *, layer_norm: bool = False) -> nn.Sequential:
    """`depth` times Linear-ReLU, or Linear-LayerNorm-ReLU, from (B, inputs) to (B, width)."""
    layers: list[nn.Module] = []
    for size in [inputs, *[width] * (depth - 1)]:
        norm = [nn.LayerNorm(width, elementwise_affine=False)] if layer_norm else []
        layers += [nn.Linear(size, width), *norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Head(nn.Module):
    """Hidden layers and an output: (B, inputs) to the pre-tanh output of some axes (B, len(axes))."""

    def __init__(self, inputs: int, width: int, axes: Sequence[int], depth: int = 2) -> None:
        super().__init__()
        self.hidden = hidden_layers(inputs, width, depth)
        self.output = nn.Linear(width, len(axes))
        self.axes = tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        pretanh: Tensor = self.output(self.hidden(x))
        return pretanh


class InAxisOrder(nn.Module):
    """Outputs of several parts of the action, (B, parts) each, to (B, A) in the order of the action's axes."""

    places: Tensor

    def __init__(self, *parts: Sequence[int]) -> None:
        super().__init__()
        axes = torch.tensor([axis for part in parts for axis in part])
        self.register_buffer("places", axes.argsort(), persistent=False)

    def forward(self, *outputs: Tensor) -> Tensor:
        return torch.cat(outputs, dim=1).index_select(1, self.places)


class OriginalActor(Actor):
    """The actor of DrQ-v2: trunk, two hidden layers, and one output for all axes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.trunk = Trunk(sizes.feature_size, sizes.feature_dim, sizes.state_dim)
        self.hidden = hidden_layers(self.trunk.output_size, sizes.hidden_dim)
        self.output = nn.Linear(sizes.hidden_dim, sizes.action_dim)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        pretanh: Tensor = self.output(self.hidden(self.trunk(features, state)))
        return pretanh

    def output_layers(self) -> list[OutputLayer]:
        return [OutputLayer(self.output, tuple(range(self.output.out_features)))]


class AutoregressiveActor(Actor):
    """Drone and gimbal one after the other: the second head reads the first one's action beside the code.

    The policy is deterministic, so it is the mean action that the second head reads: the tanh of the first
    head's output, without the noise that is added to both afterwards. Gradients flow through it, so the first
    part learns what helps the second.

    first, second: the action axes of the two heads; together, each axis once. depth: hidden layers of a head.
    """

    def __init__(self, sizes: Sizes, first: tuple[int, ...], second: tuple[int, ...], depth: int) -> None:
        super().__init__()
        self.trunk = Trunk(sizes.feature_size, sizes.feature_dim, sizes.state_dim)
        code, width = self.trunk.output_size, sizes.hidden_dim
        self.first = Head(code, width, first, depth)
        self.activation = nn.Tanh()
        self.second = Head(code + len(first), width, second, depth)
        self.arrange = InAxisOrder(first, second)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        code = self.trunk(features, state)
        first = self.first(code)
        second = self.second(torch.cat((code, self.activation(first)), dim=1))
        pretanh: Tensor = self.arrange(first, second)
        return pretanh

    def output_layers(self) -> list[OutputLayer]:
        return [OutputLayer(head.output, head.axes) for head in (self.first, self.second)]


class TwinLinear(nn.Module):
    """Two Linear layers in one product: (2, B, inputs), or (B, inputs) for both, to (2, B, outputs).

    gain: factor on the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(2, 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(2, -1, -1)
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class TwinReLU(nn.ReLU):
    """ReLU in place on (2, B, units), one layer of each of two networks."""

    def __init__(self) -> None:
        super().__init__(inplace=True)


class TwinLayers(nn.Module):
    """Two hidden layers and an output, twice: (B, inputs), or (2, B, inputs), to (2, B, V)."""

    def add_layers(self, inputs: int, sizes: Sizes) -> None:
        """Register the layers, after those that the module has already."""
        width = sizes.hidden_dim
        self.first = TwinLinear(inputs, width)
        self.second = TwinLinear(width, width)
        # Normalised layers are so large that first values would be far off: it would take long to unlearn them.
        self.output = TwinLinear(width, sizes.value_bins, gain=0.01 if sizes.critic_layer_norm else 1.0)
        self.activation = TwinReLU()
        # No weights of its own: the Linear layers behind it have them.
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if sizes.critic_layer_norm else nn.Identity()

    def outputs(self, x: Tensor) -> Tensor:
        """Return (2, B, V)."""
        x = self.activation(self.norm(self.first(x)))
        x = self.activation(self.norm(self.second(x)))
        values: Tensor = self.output(x)
        return values


class TwinHead(TwinLayers):
    """`TwinLayers` as a module of its own."""

    def __init__(self, inputs: int, sizes: Sizes) -> None:
        super().__init__()
        self.add_layers(inputs, sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)


class TwinCritic(TwinLayers, Critic):
    """The critic of DrQ-v2: one trunk, whose output and the action both Q functions read."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.trunk = Trunk(sizes.feature_size, sizes.feature_dim, sizes.state_dim)
        self.add_layers(self.trunk.output_size + sizes.action_dim, sizes)

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """(B, feature_dim + S)."""
        code: Tensor = self.trunk(features, state)
        return code

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        return self.outputs(torch.cat((code, action), dim=1))


class PrivilegedCritic(Critic):
    """A critic that reads the simulator's state instead of an encoder's features (Pinto et al. 2017, arXiv:1710.06542).

    The P privileged values pass two layers with ReLU; behind them is a pair's own critic, whose features they become.
    """

    def __init__(self, privileged_dim: int, sizes: Sizes, build: Callable[[Sizes], Critic]) -> None:
        super().__init__()
        width = sizes.hidden_dim
        self.layers = hidden_layers(privileged_dim, width, layer_norm=sizes.critic_layer_norm)
        self.critic = build(sizes._replace(feature_size=width, state_dim=0))

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """Return what both Q functions read; `features` are the privileged values (B, P), `state` is not read."""
        return self.critic.code(self.layers(features), None)

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        values: Tensor = self.critic(code, action)
        return values


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """DrQ-v2's initial weights: orthogonal, with the ReLU gain for convolutions; biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.orthogonal_(part.weight)
        elif isinstance(part, nn.Conv2d):
            nn.init.orthogonal_(part.weight, nn.init.calculate_gain("relu"))
        elif isinstance(part, TwinLinear):
            for weight in part.weight:
                nn.init.orthogonal_(weight.T)
                weight.mul_(part.gain)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
