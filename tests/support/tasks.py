"""The task that tests reckon with: its numbers are written here, so that tuning the defaults changes no test."""

from __future__ import annotations

from typing import Any

from glideslope.envs.layout import state_dim
from glideslope.settings import RewardSettings, TaskSettings

STATE_DIM = state_dim(TaskSettings())  # of the task as shipped
REWARDS = RewardSettings(approach=1.0, descent=0.5, speed=0.5, time=0.02, landing=10.0, crash=10.0)


def pinned_task(**changes: Any) -> TaskSettings:
    """6 decisions, 60 controller ticks and 240 physics steps a second; at most 0.8 m/s on a pad of 1.4 m."""
    numbers: dict[str, Any] = {
        "image_size": 84,
        "decision_hz": 6,
        "controller_hz": 60,
        "physics_hz": 240,
        "episode_seconds": 18.0,
        "max_horizontal_speed": 2.0,
        "max_vertical_speed": 1.0,
        "max_touchdown_speed": 0.8,
        "pad_size": 1.4,
        "range_finder": True,
        "range_finder_range": (0.1, 8.0),
        "range_finder_noise": 0.05,
        "camera_fov_deg": 60.0,
        "gimbal_stabilized": True,
        "gimbal_control": "position",
        "gimbal_max_rate": 3.0,
        "gimbal_max_acceleration": 10.0,
        "start_height": (3.0, 5.0),
        "pad_paths": ("static", "straight", "sinusoidal", "circular"),
        "arena_radius": 8.0,
        "arena_height": 8.0,
        "randomize_visuals": True,
        "rewards": REWARDS,
    }
    return TaskSettings(**numbers | changes)
