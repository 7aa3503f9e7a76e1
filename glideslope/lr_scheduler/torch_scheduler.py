"""A schedule as one of PyTorch's own learning-rate schedulers, for programs that expect such an object."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

try:
    import torch
except ModuleNotFoundError as error:
    raise ImportError("glideslope.lr_scheduler.torch_scheduler needs PyTorch: pip install torch") from error

from glideslope.lr_scheduler.optimizers import write_lr
from glideslope.lr_scheduler.schedule import History, Schedule


def follow(
    schedule: Schedule | Callable[[int], float], history: Callable[[], History] | None = None
) -> Callable[[int], float]:
    """Return a schedule as a function of the global step alone, asking for the curriculum's history at each call.

    Raises:
        TypeError: `history` is given for a function that is not a Schedule.
        ValueError: the schedule needs a history that it would not get.
    """
    if not isinstance(schedule, Schedule):
        if history is not None:
            raise TypeError(f"only a Schedule takes a history, not {schedule!r}")
        return schedule
    if schedule.follows_evaluations:
        raise ValueError(
            "a schedule with reduce_on_plateau needs the run's evaluations: keep it in a LiveSchedules, "
            'and give `lambda step: live.rate("actor", step)`, say, in its place'
        )
    if schedule.follows_stages and history is None:
        raise ValueError(
            "a schedule by stages needs the curriculum's history: give `history`, "
            "a function that returns [(step of entry, stage), ...]"
        )
    return partial(_at, schedule, history) if history else schedule


def _at(schedule: Schedule, history: Callable[[], History], step: int) -> float:
    return schedule(step, history())


class ScheduledLR(torch.optim.lr_scheduler.LRScheduler):
    """Drives an optimizer's rates by a schedule of the global step, as a PyTorch scheduler.

    After n calls of `step` the rate is `schedule(n * steps_per_call)`, and right after construction
    `schedule(0)`, in every parameter group times the group's `lr_scale` (1 where it has none). The rate that
    the optimizer was made with is not used: a change made outside lasts until the next `step`. Rates that
    are tensors are filled in place and stay the same objects, after the optimizer's `load_state_dict` too.

    As with every PyTorch scheduler, save the optimizer's state together with this one's. That holds plain
    data, without the schedule: make the same one again to resume.

    In a SequentialLR each schedule begins at its own step 0. It can't be combined with
    others in a ChainedScheduler: it sets the rate at every step, and so undoes their factors.

    >>> from glideslope.lr_scheduler import build_schedules
    >>> config = {"policy": {"type": "linear_decay", "intervals": [{"init_lr": "1x", "final_lr": 0.0}]}}
    >>> schedules = build_schedules(config, base={"policy": 1e-3}, total_steps=4)
    >>> optimizer = torch.optim.Adam([torch.zeros(2, requires_grad=True)])
    >>> scheduler = ScheduledLR(optimizer, schedules["policy"])
    >>> for _ in range(4):
    ...     print(scheduler.get_last_lr())
    ...     optimizer.step()
    ...     scheduler.step()
    [0.001]
    [0.00075]
    [0.0005]
    [0.00025]

    Args:
        optimizer: whose rates to drive.
        schedule: a Schedule, or any function from a global step to a rate.
        steps_per_call: global steps that pass from one call of `step` to the next, such as the parallel
            environments times the environment steps between updates; at least 1.
        history: returns the curriculum's history, [(step of entry, stage), ...] in order, for a schedule
            that follows stages; asked at every `step`.
        last_epoch: -1 for a new run, as in PyTorch; to resume, rather use `load_state_dict`.

    Raises:
        TypeError: the optimizer is none, or `history` is given for a function that is not a Schedule.
        ValueError: steps_per_call is below 1; the schedule needs a history that it would not get; or, here
            and in `step`, a rate is negative or not finite.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | Callable[[int], float],
        *,
        steps_per_call: int = 1,
        history: Callable[[], History] | None = None,
        last_epoch: int = -1,
    ) -> None:
        if operator.index(steps_per_call) < 1:
            raise ValueError(f"steps_per_call must be at least 1, not {steps_per_call}")
        self._rate = follow(schedule, history)
        self._steps_per_call = steps_per_call
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return each group's rate at the present step; called by `step`. The rates in force: `get_last_lr`."""
        lr = float(self._rate(self.last_epoch * self._steps_per_call))
        write_lr(self.optimizer, lr)  # puts tensors back in place, into which PyTorch then fills the same
        return [lr * group.get("lr_scale", 1.0) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the count of steps and the rates in force, as plain numbers."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "_last_lr": [float(lr) for lr in self.get_last_lr()],
        }
