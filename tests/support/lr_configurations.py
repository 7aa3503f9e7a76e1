"""Random schedules that other libraries have too, with the numbers that they are made of there.

A hundred of each, or as many as CONFIGURATIONS in the environment says.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from glideslope.lr_scheduler import Schedule, build_schedules

CONFIGURATIONS = int(os.environ.get("CONFIGURATIONS", "100"))
LONGEST = 400
LAST_PLACES = 4 * np.finfo(np.float64).eps


def build(*intervals: dict[str, Any], total: int, shape: str = "cosine_decay") -> Schedule:
    config = {"actor": {"type": shape, "intervals": list(intervals)}}
    return build_schedules(config, base={"actor": 1.0}, total_steps=total, max_rate=None)["actor"]


def rate_of(rng: np.random.Generator) -> float:
    return float(10 ** rng.uniform(-6, 0))


class Restarts(NamedTuple):
    """Cosines that begin again, each lower or higher by a factor."""

    ours: Schedule
    cycle: int
    count: int
    factor: float
    init: float
    low: float


def falling_restarts(rng: np.random.Generator) -> Restarts:
    cycle, count, factor = int(rng.integers(2, 50)), int(rng.integers(1, 8)), float(rng.uniform(0.2, 1.2))
    init, low = rate_of(rng), float(rng.choice([0.0, rate_of(rng)]))
    ours = build(
        {"end": cycle * count, "init_lr": init, "final_lr": low, "repeat": count, "restart_factor": factor}, total=1000
    )
    return Restarts(ours, cycle, count, factor, init, low)


class Points(NamedTuple):
    """Lines through points."""

    ours: Schedule
    total: int
    places: list[int]
    rates: list[float]


def points(rng: np.random.Generator) -> Points:
    total, count = int(rng.integers(10, LONGEST)), int(rng.integers(1, 8))
    places = [0, *map(int, sorted(1 + rng.choice(total - 1, count, replace=False)))]
    rates = [float(rng.choice([0.0, rate_of(rng), rate_of(rng)])) for _ in places]
    written = [
        [place if rng.random() < 0.5 else f"{place}/{total}", rate] for place, rate in zip(places, rates, strict=True)
    ]
    return Points(build({"points": written}, total=total, shape="piecewise_linear"), total, places, rates)


class Cooldown(NamedTuple):
    """A warm-up, a stable rate, and 1 minus a square root down to a share of it."""

    ours: Schedule
    warm: int
    stable: int
    decay: int
    init: float
    share: float

    @property
    def steps(self) -> int:
        return self.warm + self.stable + self.decay


def cooldown(rng: np.random.Generator) -> Cooldown:
    warm, stable, decay = (int(count) for count in rng.integers(1, LONGEST // 3, 3))
    init, share = rate_of(rng), float(rng.choice([0.0, rng.uniform(0, 1)]))
    ours = build(
        {"type": "constant", "end": warm + stable, "lr": init, "warmup": warm},
        {"init_lr": init, "final_lr": share * init, "end": warm + stable + decay},
        total=warm + stable + decay,
        shape="one_minus_sqrt",
    )
    return Cooldown(ours, warm, stable, decay, init, share)
