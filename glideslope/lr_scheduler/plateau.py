"""Reduction on a plateau: when evaluations stop getting better, the rate is reduced."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

MODES = ("max", "min")
METRICS: Mapping[str, str] = {"success_rate": "max", "episode_reward": "max"}
"""The metrics whose mode goes without saying."""


@dataclass(frozen=True)
class Plateau:
    """What counts as a plateau, and what it does to a rate.

    A reduction follows the evaluation that is the (`patience` + 1)-th in a row whose `metric` is not better than the
    best so far by more than `min_delta`: greater with the mode max, less with min. None is counted for `cooldown`
    evaluations after it, nor before the best has come to `min_value`. Those in the first `start_after` steps of the
    interval are not looked at.
    """

    metric: str = "success_rate"
    factor: float = 0.5
    patience: int = 10
    min_delta: float = 0.0
    cooldown: int = 0
    min_lr: float = 0.0
    mode: str = "max"
    start_after: Fraction = Fraction(0)
    min_value: float | None = None

    def better(self, value: float, than: float, by: float) -> bool:
        """Return whether a value of the metric is better than another by more than `by`."""
        return value > than + by if self.mode == "max" else value < than - by

    def describe(self) -> dict[str, Any]:
        """Return everything that its reductions depend on, as plain data."""
        described = asdict(self) | {"start_after": str(self.start_after)}
        # What is as it always was goes unsaid, so that descriptions saved before there was a choice are equal.
        untold = {"mode": "max", "start_after": "0", "min_value": None}
        return {name: value for name, value in described.items() if name not in untold or value != untold[name]}

    def rate(self, init: float, reductions: int) -> float:
        """Return the rate after so many reductions: init factor^reductions, not below min_lr."""
        return max(init * self.factor**reductions, self.min_lr)


class PlateauWatch:
    """Counts the evaluations that were no better; the same rules as torch's ReduceLROnPlateau.

    `min_delta` is absolute. A value that is not a number is no better.
    """

    def __init__(self) -> None:
        self._place: tuple[int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._best: float | None = None
        self._bad = 0
        self._cooldown = 0

    def see(self, value: float, plateau: Plateau, place: tuple[int, int]) -> bool:
        """Take the metric of one evaluation; return whether it calls for a reduction by the rules in force.

        `place` is where in its schedule and curriculum the run is. In another place what was seen is forgotten:
        another stage is another task.
        """
        if place != self._place:
            self._place = place
            self._forget()
        if value == value and (self._best is None or plateau.better(value, self._best, plateau.min_delta)):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if plateau.min_value is not None and (self._best is None or plateau.better(plateau.min_value, self._best, 0.0)):
            self._bad = 0  # nothing is learnt yet
        if self._cooldown:
            self._cooldown -= 1
            self._bad = 0
        if self._bad <= plateau.patience:
            return False
        self._bad, self._cooldown = 0, plateau.cooldown
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain numbers and lists."""
        return {
            "place": None if self._place is None else list(self._place),
            "best": self._best,
            "bad": self._bad,
            "cooldown": self._cooldown,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError, KeyError, TypeError: the state is damaged. Nothing is changed then.
        """
        place, best = state["place"], state["best"]
        bad, cooldown = operator.index(state["bad"]), operator.index(state["cooldown"])
        best = None if best is None else float(best)
        if bad < 0 or cooldown < 0 or best != best:
            raise ValueError(f"not a state of schedules: {dict(state)}")
        if place is not None:
            first, stage = map(operator.index, place)
            place = (first, stage)
        self._place, self._best, self._bad, self._cooldown = place, best, bad, cooldown
