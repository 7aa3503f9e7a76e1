"""Small agents, and batches for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glideslope.agent import DrQV2Agent
from glideslope.settings import ActorCriticSettings, ConvEncoderSettings, StateEncoderSettings

STACK, SIZE, STATE, PRIVILEGED, ACTIONS, BATCH = 3, 20, 6, 7, 5, 8
RATES = {"encoder": 1e-3, "actor": 2e-3, "critic": 3e-3}


@dataclass(frozen=True)
class Transitions:
    """What the replay buffer hands out."""

    pixels: Tensor | None
    state: Tensor
    privileged: Tensor | None
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_pixels: Tensor | None
    next_state: Tensor
    next_privileged: Tensor | None


def make_agent(profile="pixels", **changes):
    arguments = dict(
        pixels_shape=(STACK, SIZE, SIZE),
        state_dim=STATE,
        privileged_dim=0,
        action_dim=ACTIONS,
        encoder=ConvEncoderSettings(channels=4, strides=(2, 1, 1, 1)),
        actor_critic=ActorCriticSettings(),
        feature_dim=6,
        hidden_dim=16,
        rates=RATES,
        critic_target_tau=0.01,
        stddev_clip=0.3,
        augmentation_pad=2,
        noise_scale=(1.0, 1.0, 1.0, 0.5, 0.5),
        device="cpu",
        seed=3,
    )
    if profile == "state":
        arguments.update(
            pixels_shape=None,
            state_dim=0,
            privileged_dim=PRIVILEGED,
            encoder=StateEncoderSettings(hidden_dim=12),
        )
    return DrQV2Agent(**(arguments | changes))


def make_batch(profile="pixels", batch=BATCH, seed=0):
    rng = np.random.default_rng(seed)

    def normal(width):
        return torch.from_numpy(rng.standard_normal((batch, width), dtype=np.float32))

    def images():
        return torch.from_numpy(rng.integers(0, 256, (batch, STACK, SIZE, SIZE), dtype=np.uint8))

    pixels, privileged = profile == "pixels", profile == "state"
    return Transitions(
        pixels=images() if pixels else None,
        state=normal(STATE),
        privileged=normal(PRIVILEGED) if privileged else None,
        action=normal(ACTIONS).clamp(-1, 1),
        reward=normal(1),
        discount=torch.from_numpy(rng.choice([0.0, 0.97], (batch, 1), p=[0.2, 0.8]).astype(np.float32)),
        next_pixels=images() if pixels else None,
        next_state=normal(STATE),
        next_privileged=normal(PRIVILEGED) if privileged else None,
    )


def observation(batch):
    names = ("pixels", "state", "privileged")
    return {name: getattr(batch, name) for name in names if getattr(batch, name) is not None}


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
