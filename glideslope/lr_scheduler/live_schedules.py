"""`LiveSchedules`: the schedules of a run with their state. They write rates, react to evaluations and are saved."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from glideslope.lr_scheduler.faults import UNSET, Fault
from glideslope.lr_scheduler.optimizers import write
from glideslope.lr_scheduler.plateau import PlateauWatch
from glideslope.lr_scheduler.schedule import History, Schedule
from glideslope.lr_scheduler.values import ScheduleError

if TYPE_CHECKING:
    import torch


_LEAST_JUMP = 0.01  # as a share of the larger rate


class ScheduleChangedError(ScheduleError):
    """A saved schedule is not the one to resume with. `faults` holds every difference."""


class LiveSchedules:
    """The schedules of a run by name, and the reductions that its evaluations brought about.

    In a training loop, with the curriculum's history `stages` where there is a curriculum::

        live = LiveSchedules(build_schedules(config, base=base, total_steps=total_steps))
        live.write({"actor": actor_optimizer, "critic": critic_optimizer}, step, stages)
        live.evaluated(step, {"success_rate": 0.8, "episode_reward": 12.0}, stages)
    """

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        self._schedules = dict(schedules)
        self._reductions: dict[str, list[int]] = {
            name: [] for name, schedule in schedules.items() if schedule.follows_evaluations
        }
        self._watches = {name: PlateauWatch() for name in self._reductions}
        self._keys: dict[str, list[str]] = {}  # of an optimizer's numbers beside its rate
        for name in schedules:
            optimizer, dot, key = name.rpartition(".")
            if dot:
                self._keys.setdefault(optimizer, []).append(key)

    @property
    def reductions(self) -> dict[str, list[tuple[int, int]]]:
        """By schedule that follows evaluations: (step of the evaluation, how many reductions so far), in order."""
        return {name: [(s, n) for n, s in enumerate(steps, 1)] for name, steps in self._reductions.items()}

    def __contains__(self, name: object) -> bool:
        """Return whether there is a schedule of this name."""
        return name in self._schedules

    def rate(self, name: str, step: int, stages: History = ()) -> float:
        """Return the rate of one schedule at a global step."""
        return self._schedules[name](step, stages, self._reductions.get(name, ()))

    def write(self, optimizers: Mapping[str, torch.optim.Optimizer], step: int, stages: History = ()) -> None:
        """Write the rates of a global step into the optimizers of the same names; see `optimizers.write`.

        Schedules named `critic.weight_decay`, `critic.beta1` and so on are written into those numbers of `critic`,
        unless there is an optimizer of that name.
        """
        for name, optimizer in optimizers.items():
            keys = [key for key in self._keys.get(name, ()) if f"{name}.{key}" not in optimizers]
            numbers = {key: self.rate(f"{name}.{key}", step, stages) for key in keys}
            write(optimizer, {"lr": self.rate(name, step, stages), **numbers})

    def jumped(self, before: int, step: int, stages: History = (), *, around: int) -> list[str]:
        """Return the names of the schedules whose rate jumps between two steps, such as those of two updates.

        A jump is a change of more than 1% that the curve on its two sides does not explain: in as many steps
        before and after it the rate changes by less.

        Args:
            around: steps to look at on both sides of a change that belongs to a curve, as the stairs of an
                exponential decay: closer ones are no jumps.
        """
        found = []
        for name, schedule in self._schedules.items():
            was, now = self.rate(name, before, stages), self.rate(name, step, stages)
            change = abs(now - was)
            if change <= _LEAST_JUMP * max(was, now):
                continue
            end = schedule.next_bound(before, stages, self._reductions.get(name, ()))
            reaches = (step - before, around) if step < end else (step - before,)
            for reach in reaches:
                later = abs(self.rate(name, step + reach, stages) - now)
                earlier = abs(was - self.rate(name, before - reach, stages)) if before >= reach else later
                if change <= 1.001 * (earlier + later):
                    break
            else:
                found.append(name)
        return found

    def evaluated(self, step: int, metrics: Mapping[str, float], stages: History = ()) -> list[str]:
        """Take the evaluation after the update of a global step; return the names of the schedules that it reduced.

        A reduction is in force for the steps after this one, and only made where it lowers the rate.

        Args:
            step: the global step, after that of the latest reduction.
            metrics: what the schedules' `metric` names: `success_rate`, from 0 to 1, say.

        Raises:
            KeyError: a schedule's metric is not among `metrics`.
            ValueError: `step` is not after the evaluation of the latest reduction.
        """
        step, reduced = operator.index(step), []
        for name, steps in self._reductions.items():
            if steps and step <= steps[-1]:
                raise ValueError(f"step {step} is not after that of the latest reduction, {steps[-1]}")
            schedule = self._schedules[name]
            active = schedule.plateau_at(step, stages)
            if active is None or step < active.first + active.plateau.start_after:
                continue
            changes = sum(entered <= step for entered, _ in stages)
            plateau = active.plateau
            if self._watches[name].see(float(metrics[plateau.metric]), plateau, (active.first, changes - 1)):
                done = len(active.made(steps))
                if plateau.rate(active.init, done + 1) < plateau.rate(active.init, done):
                    steps.append(step)
                    reduced.append(name)
        return reduced

    def state_dict(self) -> dict[str, Any]:
        """Return the reductions, what the watches have seen, and the schedules, to compare with, as plain data."""
        return {
            "schedules": {name: schedule.describe() for name, schedule in self._schedules.items()},
            "reductions": {name: list(steps) for name, steps in self._reductions.items()},
            "watches": {name: watch.state_dict() for name, watch in self._watches.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], *, accept_changes: bool = False) -> None:
        """Restore what `state_dict` returned of a run with the same schedules, or with `accept_changes` with others.

        Then reductions already made stay; what the watches of a changed schedule have seen is forgotten.

        Raises:
            ScheduleChangedError: the schedules differ. Nothing is changed then.
            ValueError: the state is damaged. Nothing is changed then.
        """
        now = {name: schedule.describe() for name, schedule in self._schedules.items()}
        try:
            self._load(state, now, accept_changes)
        except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a state of schedules: {error!r}") from error

    def _load(self, state: Mapping[str, Any], now: Mapping[str, Any], accept_changes: bool) -> None:
        saved = dict(state["schedules"])
        changed = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
        if changed and not accept_changes:
            raise ScheduleChangedError(
                [line for name in changed for line in differences(name, saved.get(name), now.get(name))]
            )
        reductions, watches = {}, {}
        for name in self._reductions:
            fresh = name in changed
            steps = state["reductions"].get(name, []) if fresh else state["reductions"][name]
            reductions[name] = list(map(operator.index, steps))
            watches[name] = PlateauWatch()
            if not fresh:
                watches[name].load_state_dict(state["watches"][name])
        for name, steps in reductions.items():
            if any(later <= earlier for earlier, later in pairwise(steps)):
                raise ValueError(f"the reductions of {name} must be in order of steps, not {steps}")
        self._reductions, self._watches = reductions, watches


def differences(name: str, saved: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[Fault]:
    """Return what differs between two descriptions of a schedule."""
    if saved is None or now is None:
        return [Fault(name, UNSET, "was not saved" if saved is None else "was saved, but is not there now")]
    found = []
    if saved["base"] != now["base"]:
        rule = f"the base rate was saved as {saved['base']}, now it is {now['base']}"
        found.append(Fault(name, UNSET, rule))
    was, new = saved["intervals"], now["intervals"]
    for i in range(max(len(was), len(new))):
        pair = [_shown(intervals[i]) if i < len(intervals) else "absent" for intervals in (was, new)]
        if pair[0] != pair[1]:
            found.append(Fault(f"{name}.intervals.{i}", UNSET, f"was saved as {pair[0]}; now {pair[1]}"))
    return found


def _shown(interval: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in interval.items() if value is not None) + "}"
