"""Mirrors sampled transitions, in tasks to which a mirror makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from glideslope.replay.buffer import Batch

Signs = NDArray[np.float32]


@dataclass(frozen=True)
class Mirror:
    """A symmetry: the dimension of (B, K, H, W) images that it reverses, and the signs of all other values, ±1.

    state: (K * S,), privileged: (P,), action: (A,).
    """

    image_dim: int
    state: Signs
    privileged: Signs
    action: Signs

    def apply(self, batch: Batch, rows: slice) -> None:
        """Mirror these rows of the batch in place."""
        for pixels in (batch.pixels, batch.next_pixels):
            if pixels is not None:
                pixels[rows].copy_(pixels[rows].flip(self.image_dim))
        signed = (
            (self.state, (batch.state, batch.next_state)),
            (self.privileged, (batch.privileged, batch.next_privileged)),
            (self.action, (batch.action,)),
        )
        for signs, values in signed:
            for value in values:
                if value is not None:
                    value[rows].mul_(_on(value, signs))


def mirror_in_turn(batch: Batch, mirrors: Sequence[Mirror]) -> None:
    """Mirror the batch in place: one transition in none, the next in the first mirror, and so on with all combinations.

    The transitions come in a random order, so their places serve as well as draws, and whole strides are copied fast.
    """
    for number, mirror in enumerate(mirrors):
        period = 2 << number
        for first in range(period // 2, period):
            mirror.apply(batch, slice(first, None, period))


def _on(value: Tensor, signs: Signs) -> Tensor:
    return torch.from_numpy(signs).to(value.device)
