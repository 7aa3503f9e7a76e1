"""Cycles, points and cooldowns agree with PyTorch's schedulers, NumPy and published formulas.

A hundred random configurations of each (a thousand with CONFIGURATIONS=1000 in the environment), to 1e-12 relative, or
to four units in the last place of the largest rate where the other formula subtracts nearly equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR

from glideslope.lr_scheduler import LiveSchedules, Schedule, build_schedules
from tests.support import lr_configurations
from tests.support.lr_configurations import CONFIGURATIONS, LAST_PLACES, LONGEST, build, rate_of

Rates = NDArray[np.float64]


def stepped(make: Callable[[torch.optim.Optimizer], Any], count: int, init: float = 1.0) -> Rates:
    """The rates of a PyTorch scheduler in its first steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=init, momentum=0.9)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def one_cycle(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    total, largest = int(rng.integers(10, LONGEST)), rate_of(rng)
    top = int(rng.integers(1, total - 2))
    divisor, last_divisor = float(rng.uniform(1, 100)), float(rng.uniform(1, 1e4))
    anneal = str(rng.choice(["cos", "linear"]))

    def make(optimizer: torch.optim.Optimizer) -> OneCycleLR:
        share = (top + 1) / total
        numbers = {"div_factor": divisor, "final_div_factor": last_divisor}
        return OneCycleLR(optimizer, largest, total_steps=total, pct_start=share, anneal_strategy=anneal, **numbers)

    low = largest / divisor
    ours = build(
        {"end": top, "init_lr": low, "final_lr": largest},
        {"end": total - 1, "init_lr": largest, "final_lr": low / last_divisor},
        total=total,
        shape={"cos": "cosine_decay", "linear": "linear_decay"}[anneal],
    )
    return ours, stepped(make, total - 1)


def warm_restarts(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    cycle, count = int(rng.integers(1, 50)), int(rng.integers(1, 8))
    init, low = rate_of(rng), float(rng.choice([0.0, rate_of(rng)]))
    ours = build({"end": cycle * count, "init_lr": init, "final_lr": low, "repeat": count}, total=1000)
    theirs = stepped(lambda optimizer: CosineAnnealingWarmRestarts(optimizer, cycle, eta_min=low), cycle * count, init)
    return ours, theirs


def falling_restarts(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    """In the formulas of timm's CosineLRScheduler with a cycle_decay."""
    drawn = lr_configurations.falling_restarts(rng)

    def theirs(step: int) -> float:
        number, step = divmod(step, drawn.cycle)
        top = drawn.init * drawn.factor**number
        return drawn.low + 0.5 * (top - drawn.low) * (1 + math.cos(math.pi * step / drawn.cycle))

    return drawn.ours, np.array([theirs(step) for step in range(drawn.cycle * drawn.count)])


def triangles(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    up, down, count = int(rng.integers(1, 40)), int(rng.integers(1, 40)), int(rng.integers(1, 6))
    low, high = sorted((rate_of(rng), rate_of(rng)))
    points = [[0, low], [up, high], [up + down, low]]
    ours = build({"end": (up + down) * count, "points": points, "repeat": count}, total=1000, shape="piecewise_linear")
    theirs = stepped(lambda optimizer: CyclicLR(optimizer, low, high, up, down), (up + down) * count)
    return ours, theirs


def points(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    drawn = lr_configurations.points(rng)
    return drawn.ours, np.interp(np.arange(2 * drawn.total), drawn.places, drawn.rates)


def cooldown(rng: np.random.Generator) -> tuple[Schedule, Rates]:
    """Warm-up, stable rate and 1 - sqrt, in the formulas of transformers' get_wsd_schedule."""
    drawn = lr_configurations.cooldown(rng)
    falls = drawn.warm + drawn.stable

    def theirs(step: int) -> float:
        if step < drawn.warm:
            return drawn.init * step / drawn.warm
        if step < falls:
            return drawn.init
        if step < drawn.steps:
            return drawn.init * ((1 - math.sqrt((step - falls) / drawn.decay)) * (1 - drawn.share) + drawn.share)
        return drawn.init * drawn.share

    return drawn.ours, np.array([theirs(step) for step in range(drawn.steps + 9)])


CASES = (one_cycle, warm_restarts, falling_restarts, triangles, points, cooldown)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_rates_are_theirs(case: Callable[[np.random.Generator], tuple[Schedule, Rates]]) -> None:
    for seed in range(CONFIGURATIONS):
        ours, theirs = case(np.random.default_rng(seed))
        rates = ours(np.arange(len(theirs)))
        places = LAST_PLACES * max(theirs) * (len(theirs) if case in (one_cycle, warm_restarts) else 1)
        np.testing.assert_allclose(rates, theirs, rtol=1e-12, atol=places, err_msg=f"{case.__name__} {seed}")
        assert [ours(step) for step in range(len(theirs))] == rates.tolist()


# --- cycles by hand ---


def test_cycles_that_do_not_fall_on_steps() -> None:
    # 10 steps in 4 cycles of 2.5: they begin at 0, 2.5, 5 and 7.5, and a step is where it falls in its own.
    schedule = build({"end": 10, "init_lr": 1.0, "final_lr": 0.0, "repeat": 4}, total=20, shape="linear_decay")
    places = [Fraction(2 * step, 5) % 1 for step in range(10)]
    assert [schedule(step) for step in range(10)] == pytest.approx([float(1 - place) for place in places], rel=1e-15)
    assert {schedule(step) for step in (10, 11, 10**9)} == {0.0}


def test_a_cycle_counts_its_own_stairs_and_roots() -> None:
    stairs = {"decay_rate": 0.5, "decay_interval": 2, "repeat": 2, "restart_factor": 0.1}
    schedule = build({"end": 10, "lr": 1.0, **stairs}, total=20, shape="exponential_decay")
    assert [schedule(step) for step in range(12)] == pytest.approx(
        [1, 1, 0.5, 0.5, 0.25, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025], rel=1e-12
    )  # at the end of a cycle of 5 steps two stairs are taken
    schedule = build({"end": 8, "lr": 1.0, "decay_interval": 1, "repeat": 2}, total=20, shape="inverse_sqrt_decay")
    roots = [1 / math.sqrt(1 + t) for t in range(5)]
    assert [schedule(step) for step in range(9)] == pytest.approx([*roots[:4], *roots], rel=1e-12)


def test_the_first_cycle_alone_warms_up() -> None:
    schedule = build(
        {"end": 8, "init_lr": 1.0, "final_lr": 0.0, "repeat": 2, "warmup": 2}, total=8, shape="linear_decay"
    )
    assert [schedule(step) for step in range(9)] == [0.0, 0.375, 0.5, 0.25, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_cycles_of_a_stage_begin_where_it_is_entered() -> None:
    config = {
        "actor": {
            "type": "linear_decay",
            "intervals": [{"stage": 0, "lr": 0.5}, {"stage": 1, "lr": 1, "final_lr": 0, "duration": 8, "repeat": 2}],
        }
    }
    schedule = build_schedules(config, base={"actor": 1.0}, total_steps=100, stage_names=["a", "b"])["actor"]
    stages = [(0, 0), (30, 1)]
    rates = [schedule(step, stages) for step in range(29, 40)]
    assert rates == [0.5, 1.0, 0.75, 0.5, 0.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_a_restart_is_a_jump_and_a_bound() -> None:
    schedules = {"actor": build({"end": 1000, "init_lr": 1.0, "final_lr": 0.1, "repeat": 2}, total=1000)}
    assert schedules["actor"].next_bound(0) == 500
    live = LiveSchedules(schedules)
    assert live.jumped(499, 500, around=10) == ["actor"]
    assert live.jumped(498, 499, around=10) == []


def test_a_schedule_with_cycles_says_so_and_others_are_as_before() -> None:
    interval = {"end": 10, "init_lr": 1.0, "final_lr": 0.0}
    plain = build(interval, total=20).describe()["intervals"][0]
    assert "repeat" not in plain
    assert build({**interval, "repeat": 1, "restart_factor": 0.5}, total=20).describe()["intervals"][0] == plain
    cycled = build({**interval, "repeat": 2}, total=20).describe()["intervals"][0]
    assert (cycled["repeat"], cycled["restart_factor"]) == (2, 1.0)


def test_points_without_points_are_a_line_to_the_next_interval() -> None:
    schedule = build({"end": 4, "lr": 1.0}, {"points": [[0, 0.2], [4, 0.4]]}, total=8, shape="piecewise_linear")
    assert [schedule(step) for step in range(9)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.25, 0.3, 0.35, 0.4])
