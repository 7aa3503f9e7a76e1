"""What a critic's outputs say of the value, and the loss that trains them: a number, or a distribution over bins.

Shapes: B batch, V outputs of a Q function; a leading 2 stands for the two Q functions.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_SIGMA_IN_BINS = 0.75  # as recommended by Farebrother et al. 2024


class Values(Protocol):
    """How outputs of a critic are read and trained."""

    bins: int

    def means(self, outputs: Tensor) -> Tensor:
        """Return the values (2, B, 1) that the outputs (2, B, V) stand for."""
        ...

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss, summed over the Q functions, of the outputs (2, B, V) for the returns (B, 1)."""
        ...


class ScalarValues:
    """An output is the value; the loss is the squared error (DrQ-v2)."""

    bins = 1

    def means(self, outputs: Tensor) -> Tensor:
        return outputs

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (outputs - target).square().mean(dim=(1, 2)).sum()


class HistogramValues:
    """The outputs are logits over bins of the value; the loss is a cross-entropy (HL-Gauss).

    The target is a normal distribution about the return, its mass in each bin (Farebrother et al. 2024,
    arXiv:2403.03950, section 3.1). Returns beyond the range count as its ends.

    low, high: the range of the bins' edges. bins: at least 2.
    """

    def __init__(self, low: float, high: float, bins: int, device: torch.device) -> None:
        self.bins = bins
        self._edges = torch.linspace(low, high, bins + 1, device=device)
        self._centres = 0.5 * (self._edges[1:] + self._edges[:-1])
        self._scale = math.sqrt(2.0) * _SIGMA_IN_BINS * (high - low) / bins

    def means(self, outputs: Tensor) -> Tensor:
        return (outputs.softmax(-1) * self._centres).sum(-1, keepdim=True)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        logs = F.log_softmax(outputs, -1)
        return -(self._probabilities(target) * logs).sum(-1).mean(dim=1).sum()

    def _probabilities(self, target: Tensor) -> Tensor:
        """(B, V), of returns (B, 1)."""
        within = target.clamp(self._centres[0], self._centres[-1])
        below = torch.special.erf((self._edges - within) / self._scale)
        return below.diff(dim=-1) / (below[:, -1:] - below[:, :1])
