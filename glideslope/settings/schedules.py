"""Builds the schedules of a run from its settings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from glideslope.lr_scheduler import Schedule, Schedules, build_schedules, parse_stddev
from glideslope.settings import Settings

NOISE = "stddev"
"""The name of the exploration noise among a run's schedules."""


METRICS = {
    "success_rate": "max",
    "episode_reward": "max",
    "crash_rate": "min",
    "timeout_rate": "min",
    "touchdown_error_m": "min",
    "touchdown_speed": "min",
    "critic_loss": "min",
    "actor_loss": "min",
}
"""What `reduce_on_plateau` can follow, each with its mode: figures of an evaluation, and losses as last logged."""


def run_schedules(settings: Settings, given: Collection[str] = ()) -> Schedules:
    """Return all schedules of a run: those of `learning_rates`, and `exploration_noise` as :data:`NOISE`.

    Raises:
        ScheduleError: with every fault of `lr_schedule`, or else of `stddev_schedule`.
    """
    rates, noise = learning_rates(settings, given), exploration_noise(settings)
    return Schedules({**rates, NOISE: noise}, [*rates.notes, *noise.notes])


def learning_rates(settings: Settings, given: Collection[str] = ()) -> Schedules:
    """Return the schedule of each network's learning rate; of the keys `given`, those without effect are noted.

    Raises:
        ScheduleError: with every fault of `lr_schedule`.
    """
    keys = settings.base_keys
    schedules = build_schedules(
        settings.lr_schedule,
        base=settings.base_rates,
        stage_names=settings.curriculum.stage_names,
        **_training(settings),
        given={network: key for network, key in keys.items() if key in given},
    )
    if "lr" not in given or "lr" in keys.values():
        return schedules
    unused = "lr: has no effect: every network has a base rate of its own"
    return Schedules(schedules, [*schedules.notes, unused])


def exploration_noise(settings: Settings) -> Schedule:
    """Return the schedule of the exploration noise's standard deviation.

    Raises:
        ScheduleError: with every fault of `stddev_schedule`.
    """
    return parse_stddev(
        settings.stddev_schedule,
        base=settings.stddev,
        stage_names=settings.curriculum.stage_names,
        **_training(settings),
    )


def _training(settings: Settings) -> dict[str, Any]:
    """Return what schedules are measured by, and what a training never gets to."""
    return {
        "total_steps": settings.schedule_steps,
        "train_steps": settings.total_steps,
        "seed_steps": settings.seed_steps,
        "evaluations": settings.num_train_frames // settings.eval_every_frames,
        "metrics": METRICS,
    }
