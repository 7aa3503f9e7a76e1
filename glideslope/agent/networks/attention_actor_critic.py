"""Actor and critics that attend to tokens of the code.

Shapes: B batch, F encoder features, S state values, A action axes, T tokens, D their width. A leading 2 stands for
the two Q functions, 2B for the batch of the first one followed by that of the second.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glideslope.agent.networks.actor_critic import (
    ActionParts,
    Actor,
    Critic,
    Head,
    InAxisOrder,
    OutputLayer,
    Sizes,
    Trunk,
    TwinHead,
    TwinLinear,
    TwinReLU,
)
from glideslope.agent.networks.attention import Attention, Block, embedding
from glideslope.settings import AttentionActorCriticSettings

_MLP_RATIO = 4  # width of a block's hidden layer over that of its tokens


class CodeTokens(nn.Module):
    """Features (B, F) and state (B, S) through a trunk to normalised tokens (B, T, D), each its own projection."""

    def __init__(self, sizes: Sizes, settings: AttentionActorCriticSettings) -> None:
        super().__init__()
        self.trunk = Trunk(sizes.feature_size, sizes.feature_dim, sizes.state_dim)
        self.project = nn.Linear(self.trunk.output_size, settings.tokens * settings.d_model)
        self.norm = nn.LayerNorm(settings.d_model, elementwise_affine=False)
        self._shape = (settings.tokens, settings.d_model)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        tokens: Tensor = self.norm(self.project(self.trunk(features, state)).view(-1, *self._shape))
        return tokens


class AttentionActor(Actor):
    """Two learned queries, the drone's and the gimbal's, attend to the code's tokens; each feeds its own head."""

    def __init__(self, sizes: Sizes, parts: ActionParts, settings: AttentionActorCriticSettings) -> None:
        super().__init__()
        width = settings.d_model
        self.tokens = CodeTokens(sizes, settings)
        self.queries = embedding(2, width)
        self.blocks = nn.ModuleList(
            Block(width, settings.nhead, _MLP_RATIO, dropout=0.0) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.drone = Head(width, sizes.hidden_dim, parts.drone)
        self.gimbal = Head(width, sizes.hidden_dim, parts.gimbal)
        self.arrange = InAxisOrder(parts.drone, parts.gimbal)

    def forward(self, features: Tensor, state: Tensor | None) -> Tensor:
        tokens = self.tokens(features, state)
        x = self.queries.expand(len(tokens), -1, -1)
        for block in self.blocks:
            x = block(x, tokens)
        drone, gimbal = self.norm(x).unbind(1)
        pretanh: Tensor = self.arrange(self.drone(drone), self.gimbal(gimbal))
        return pretanh

    def output_layers(self) -> list[OutputLayer]:
        return [OutputLayer(head.output, head.axes) for head in (self.drone, self.gimbal)]


class TwinSequenceLinear(TwinLinear):
    """Two Linear layers in one product, on sequences: (2B, T, inputs) to (2B, T, outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        rows = super().forward(x.reshape(2, -1, x.shape[2]))
        return rows.view(*x.shape[:2], -1)


class TwinBlock(nn.Module):
    """One query for each Q function attends to tokens, then two layers with ReLU, both residual, norms first.

    The norms have no weights of their own: each is followed by a Linear, which has them. The branches start at
    their full size: what a query begins with is the action alone, and it is the tokens that know the state.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads, TwinSequenceLinear)
        self.mlp = nn.Sequential(
            TwinLinear(width, _MLP_RATIO * width), TwinReLU(), TwinLinear(_MLP_RATIO * width, width)
        )

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """query (2, B, D), tokens (2B, T, D) to (2, B, D)."""
        attended = self.attention(self.norm(query).flatten(0, 1).unsqueeze(1), tokens)
        query = query + attended.view_as(query)
        mixed: Tensor = query + self.mlp(self.norm(query))
        return mixed


class ActionValues(nn.Module):
    """Two Q functions of tokens (B, T, D) and some axes of the action (B, A): outputs (2, B, V).

    Each has the action as a token, a learned query plus a projection of the axes. It attends to the code's
    tokens and to itself, and feeds a head.
    """

    axes: Tensor

    def __init__(self, sizes: Sizes, axes: Sequence[int], settings: AttentionActorCriticSettings) -> None:
        super().__init__()
        width = settings.d_model
        self.register_buffer("axes", torch.tensor(axes), persistent=False)
        # As large as the projection, so that the token's norm hardly turns on a small action.
        self.query = nn.Parameter(torch.randn(2, 1, width))
        self.embed = TwinLinear(len(axes), width, bias=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.blocks = nn.ModuleList(TwinBlock(width, settings.nhead) for _ in range(settings.depth))
        self.head = TwinHead(width, sizes)

    def forward(self, tokens: Tensor, action: Tensor) -> Tensor:
        x = self.query + self.embed(action.index_select(1, self.axes))
        own = self.norm(x).unsqueeze(2)
        context = torch.cat((tokens.expand(2, -1, -1, -1), own), dim=2).flatten(0, 1)
        for block in self.blocks:
            x = block(x, context)
        values: Tensor = self.head(self.norm(x))
        return values


class AttentionCritic(Critic):
    """Two Q functions that attend to the code's tokens with the action as a token."""

    def __init__(self, sizes: Sizes, settings: AttentionActorCriticSettings) -> None:
        super().__init__()
        self.tokens = CodeTokens(sizes, settings)
        self.joint = ActionValues(sizes, range(sizes.action_dim), settings)

    def code(self, features: Tensor, state: Tensor | None) -> Tensor:
        """(B, T, D)."""
        tokens: Tensor = self.tokens(features, state)
        return tokens

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        values: Tensor = self.joint(code, action)
        return values


class FactoredAttentionCritic(AttentionCritic):
    """Q = Q_drone(s, a_drone) + Q_joint(s, a_drone, a_gimbal), twice, on the same tokens.

    What the drone's action alone is worth needs not be told apart from what the gimbal adds to it.
    """

    def __init__(self, sizes: Sizes, parts: ActionParts, settings: AttentionActorCriticSettings) -> None:
        super().__init__(sizes, settings)
        self.drone = ActionValues(sizes, parts.drone, settings)

    def forward(self, code: Tensor, action: Tensor) -> Tensor:
        values: Tensor = self.drone(code, action) + self.joint(code, action)
        return values
