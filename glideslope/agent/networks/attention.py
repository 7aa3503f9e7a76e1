"""Attention blocks (Vaswani et al. 2017, arXiv:1706.03762) and their dropout.

Shapes: N sequences, T tokens, S tokens of the context, D width.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

# What a residual branch starts with: nearly the identity, so that a deep stack begins as a shallow one.
_BRANCH_SCALE = 0.1


class Attention(nn.Module):
    """Multi-head attention, (N, T, D) to (N, T, D): tokens ask, a context (N, S, D) or they themselves answer.

    Keys have no bias: it would add the same to all of a query's scores, and the softmax takes that out again.

    linear: what makes its layers, from their inputs, outputs and whether there is a bias.

    Raises ValueError unless heads divides width.
    """

    def __init__(self, width: int, heads: int, linear: Callable[..., nn.Module] = nn.Linear) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads can't share a width of {width} evenly")
        self._heads = heads
        self.query = linear(width, width)
        self.key = linear(width, width, bias=False)
        self.value = linear(width, width)
        self.output = linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        context = tokens if context is None else context
        query, key, value = (
            part.unflatten(2, (self._heads, -1)).transpose(1, 2)
            for part in (self.query(tokens), self.key(context), self.value(context))
        )
        answer: Tensor = self.output(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return answer


class Dropout(nn.Module):
    """Dropout where something is learnt: in training mode, in a pass that gradients are taken through.

    So acting and targets, which take none, are free of it. It draws from a stream of its own, whose seed and
    position are part of the state: a resumed run drops what it would have dropped.

    rate: share of the values that are dropped, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate
        self._seed = int(torch.randint(2**62, ()))
        self._draws = 0

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return x
        generator = torch.Generator(x.device).manual_seed(self._seed + self._draws)
        self._draws += 1
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self._rate
        return x * kept / (1.0 - self._rate)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self._seed, self._draws])

    def set_extra_state(self, state: object) -> None:
        self._seed, self._draws = map(int, cast("Tensor", state))


class Residual(nn.Module):
    """x + scale * drop(branch(norm(x), *context)), with a learnt scale for each of the D units.

    The norm comes first and the branch starts small: without both, attention in reinforcement learning is
    unstable (Parisotto et al. 2020, arXiv:1910.06764). The scale is LayerScale's (Touvron et al. 2021,
    arXiv:2103.17239, equation 3), which leaves the branch its own initial weights.
    """

    def __init__(self, width: int, branch: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.branch = branch
        self.scale = nn.Parameter(torch.full((width,), _BRANCH_SCALE))
        self.drop = Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return torch.addcmul(x, self.scale, self.drop(self.branch(self.norm(x), *context)))


class Block(nn.Module):
    """Attention, then two layers with GELU on each token by itself, both residual: (N, T, D) to (N, T, D)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        hidden = mlp_ratio * width
        mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.attention = Residual(width, Attention(width, heads), dropout)
        self.mlp = Residual(width, mlp, dropout)

    def forward(self, tokens: Tensor, *context: Tensor) -> Tensor:
        """context: (N, S, D), or nothing for self-attention."""
        mixed: Tensor = self.mlp(self.attention(tokens, *context))
        return mixed


def embedding(count: int, width: int) -> nn.Parameter:
    """Return what tells `count` places apart, (count, width); drawn as in the vision transformer."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(count, width), std=0.02))
