"""Snapshots of small untrained policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glideslope.build import make_agent
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.runs import snapshots
from glideslope.settings import Settings


def small_settings(encoder: str = "original_tiny", actor_critic: str = "original", *overrides: str) -> Settings:
    """Settings of an agent of these bundles with narrow layers and small images."""
    bundles = [f"encoder_bundle@agent={encoder}", f"actor_critic_bundle@agent={actor_critic}"]
    sizes = ["profile=smoke", "hidden_dim=24", "task.image_size=36", "num_envs=2", "replay_buffer_size=1000"]
    return compose(TRAIN_CONFIG, [*bundles, *sizes, *overrides], Settings).settings


def save_policy(folder: Path, settings: Settings, *, sinks: bool = False, **more: Any) -> Path:
    """Write a snapshot of an untrained policy, whose outputs are spread, or that `sinks`; return its path."""
    agent, generator = make_agent(settings, "cpu"), torch.Generator().manual_seed(0)
    for layer, _ in agent.actor.output_layers():
        torch.nn.init.normal_(layer.weight, std=0.3, generator=generator)
        if sinks:
            torch.nn.init.constant_(layer.bias[2:3], -3.0)
    content = {"settings": settings.to_plain(), "step": 1200, "frame": 1200, "stage": 0, "agent": agent.state_dict()}
    return snapshots.save(folder / "snapshot.pt", content | more)
