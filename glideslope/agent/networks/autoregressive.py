"""An actor that settles one part of the action first and the other part in the light of it.

Shapes: B batch, F encoder features, S state values, A action axes.
"""

import torch
from torch import Tensor, nn

from glideslope.agent.networks.actor_critic import Actor, Head, InAxisOrder, OutputLayer, Sizes, Trunk


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
