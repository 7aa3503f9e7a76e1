"""Builds the schedules of a run from its settings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from glideslope.lr_scheduler import Schedule, ScheduleError, Schedules, build_schedules, parse_schedule
from glideslope.lr_scheduler.faults import UNSET, Fault
from glideslope.lr_scheduler.values import choices
from glideslope.settings import NETWORKS, Settings

NOISE = "stddev"
"""The name of the exploration noise among a run's schedules."""
TAU, DISCOUNT, UPDATE_EVERY = "critic_target_tau", "discount", "update_every_steps"
OF_OPTIMIZERS = {"weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999}
"""What `schedules` may set of a network's optimizer, with the values that torch.optim.Adam has by default."""
_SELDOM = 1e6  # the most steps for one update
_LARGEST_BETA = 0.99999  # a mean of 100,000 updates; 1 would never take in a gradient

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
    """Return all schedules of a run: `learning_rates`, `exploration_noise` as :data:`NOISE`, and `quantities`.

    Raises:
        ScheduleError: with every fault of `lr_schedule`, or else of `stddev_schedule`, or else of `schedules`.
    """
    rates, noise, others = learning_rates(settings, given), exploration_noise(settings), quantities(settings)
    return Schedules({**rates, NOISE: noise, **others}, [*rates.notes, *noise.notes, *others.notes])


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
        preset_key="lr_schedule",
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
    return parse_schedule(
        settings.stddev_schedule,
        base=settings.stddev,
        key="stddev_schedule",
        stage_names=settings.curriculum.stage_names,
        **_training(settings),
    )


def base_quantities(settings: Settings) -> dict[str, float]:
    """Return what `schedules` may set, each with its value where it doesn't."""
    return {
        **{f"{network}.{name}": base for network in NETWORKS for name, base in OF_OPTIMIZERS.items()},
        TAU: settings.critic_target_tau,
        DISCOUNT: settings.discount,
        UPDATE_EVERY: float(settings.update_every_steps),
    }


def quantities(settings: Settings) -> Schedules:
    """Return the schedules of `schedules`, by name: `critic.weight_decay`, `discount` and so on.

    Raises:
        ScheduleError: with every fault of `schedules`.
    """
    bases, faults, found = base_quantities(settings), [], {}
    for name, value in _flat(settings.schedules or {}, bases):
        key = f"schedules.{name}"
        if name not in bases:
            faults.append(Fault(key, value, f"an unknown quantity; {choices(name, bases, 'quantities')}"))
            continue
        if name in found:
            faults.append(Fault(key, value, "is given twice"))
            continue
        try:
            found[name] = parse_schedule(
                value,
                base=bases[name],
                stage_names=settings.curriculum.stage_names,
                key=key,
                max_value=_largest(name),
                **_training(settings),
            )
        except ScheduleError as error:
            faults += error.faults
    if UPDATE_EVERY in found and not _has_update(found[UPDATE_EVERY], settings):
        rule = "no update would fall between num_seed_frames and the end of the training"
        faults.append(Fault(f"schedules.{UPDATE_EVERY}", UNSET, rule))
    if faults:
        raise ScheduleError(faults)
    return Schedules(found, [note for schedule in found.values() for note in schedule.notes])


def update_every(scheduled: float) -> int:
    """Return `update_every_steps` where a schedule says this of it: the nearest whole number, at least 1."""
    return max(round(scheduled), 1)


def _has_update(schedule: Schedule, settings: Settings) -> bool:
    """Return whether an update falls on some step; true where that depends on stages or evaluations to come."""
    if schedule.follows_stages or schedule.follows_evaluations:
        return True
    last = min(settings.total_steps, settings.seed_steps + int(_SELDOM))
    return any(step % update_every(schedule(step)) == 0 for step in range(settings.seed_steps + 1, last + 1))


def _flat(given: Mapping[str, Any], bases: Mapping[str, float]) -> Iterator[tuple[str, Any]]:
    """Yield names and what is given for them, which may be written nested, `critic: {weight_decay: ...}`."""
    for name, value in given.items():
        if name not in NETWORKS:
            pairs = [(str(name), value)]
        elif isinstance(value, Mapping):
            pairs = [(f"{name}.{part}", each) for part, each in value.items()]
        else:
            pairs = [] if value is None else [(str(name), value)]
        yield from ((key, each) for key, each in pairs if each is not None or key not in bases)


def _largest(name: str) -> float:
    if name == UPDATE_EVERY:
        return _SELDOM
    return _LARGEST_BETA if name.endswith((".beta1", ".beta2")) else 1.0


def _training(settings: Settings) -> dict[str, Any]:
    """Return what schedules are measured by, and what a training never gets to."""
    return {
        "total_steps": settings.schedule_steps,
        "train_steps": settings.total_steps,
        "seed_steps": settings.seed_steps,
        "evaluations": settings.num_train_frames // settings.eval_every_frames,
        "metrics": METRICS,
    }
