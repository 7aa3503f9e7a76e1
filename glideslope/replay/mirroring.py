"""Mirrors sampled transitions, in tasks to which a mirror makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    def apply(self, batch: Batch, chosen: Tensor) -> Batch:
        """Return the batch with the ``chosen`` (B,) transitions mirrored."""
        rows = chosen.view(-1, 1)

        def signed(values: Tensor, signs: Signs) -> Tensor:
            return torch.where(rows, values * torch.from_numpy(signs).to(values.device), values)

        def flipped(pixels: Tensor | None) -> Tensor | None:
            if pixels is None:
                return None
            return torch.where(chosen.view(-1, 1, 1, 1), pixels.flip(self.image_dim), pixels)

        def private(values: Tensor | None) -> Tensor | None:
            return None if values is None else signed(values, self.privileged)

        return replace(
            batch,
            pixels=flipped(batch.pixels),
            state=signed(batch.state, self.state),
            privileged=private(batch.privileged),
            action=signed(batch.action, self.action),
            next_pixels=flipped(batch.next_pixels),
            next_state=signed(batch.next_state, self.state),
            next_privileged=private(batch.next_privileged),
        )


def mirror_at_random(batch: Batch, mirrors: Sequence[Mirror], generator: torch.Generator) -> Batch:
    """Mirror each transition in each of the ``mirrors`` with a probability of one half, drawn on the CPU."""
    for mirror in mirrors:
        chosen = torch.rand(len(batch.action), generator=generator) < 0.5
        batch = mirror.apply(batch, chosen.to(batch.action.device))
    return batch
