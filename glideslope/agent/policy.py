"""The policy by itself, from an observation to the mean action, as a module that other programs can run or export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glideslope.agent.auxiliary import Auxiliary
from glideslope.agent.networks.actor_critic import Actor
from glideslope.agent.networks.encoders import Encoder, EncoderInput


class Policy(nn.Module):
    """Encoder and actor, with the auxiliary task's prediction where the actor reads it."""

    def __init__(self, encoder: Encoder, actor: Actor, predictor: Auxiliary | None) -> None:
        super().__init__()
        self.encoder, self.actor, self.predictor = encoder, actor, predictor

    def forward(self, pixels: Tensor | None, state: Tensor | None, privileged: Tensor | None = None) -> Tensor:
        """Return the mean actions (B, A) in [-1, 1].

        pixels (B, K, H, W) uint8, state (B, K, S / K) or (B, S), privileged (B, P), as far as the networks read them.
        """
        flat = None if state is None else state.flatten(1)
        features = self.encoder(EncoderInput(pixels, flat, privileged))
        return torch.tanh(self.pretanh(features, flat))

    def pretanh(self, features: Tensor, state: Tensor | None, prediction: Tensor | None = None) -> Tensor:
        """Return the pre-tanh output (B, A), given the prediction or after making it."""
        if self.predictor is None:
            pretanh: Tensor = self.actor(features, state)
            return pretanh
        seen = self.predictor(features, state) if prediction is None else prediction
        # The prediction stays one: the actor's loss does not bend it.
        known = seen.detach() if state is None else torch.cat((state, seen.detach()), dim=1)
        return self.actor(features, known)
