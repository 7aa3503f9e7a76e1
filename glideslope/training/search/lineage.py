"""The learning rates that a training has had, one set after the other: an exact schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glideslope.settings import NETWORKS, Settings


@dataclass(frozen=True)
class Lineage:
    """Learning rates by network, each set with the global step from which on it holds; in order, the first from 0."""

    periods: tuple[tuple[int, Mapping[str, float]], ...] = ()

    def then(self, step: int, rates: Mapping[str, float]) -> Lineage:
        """Return this lineage with other rates from ``step`` on."""
        if not self.periods:
            return Lineage(((0, dict(rates)),))
        if dict(self.periods[-1][1]) == dict(rates):
            return self
        return Lineage((*(period for period in self.periods if period[0] < step), (step, dict(rates))))

    def schedule(self) -> dict[str, Any]:
        """Return the rates as an `lr_schedule`: intervals in global steps, with absolute rates."""
        return {
            network: {
                "type": "step_decay",
                "intervals": [
                    {"start": start, "lr": rates[network]}
                    for place, (start, rates) in enumerate(self.periods)
                    if place == 0 or rates[network] != self.periods[place - 1][1][network]
                ],
            }
            for network in NETWORKS
        }

    def to_plain(self) -> list[list[Any]]:
        """Return plain data, for JSON."""
        return [[step, dict(rates)] for step, rates in self.periods]

    @classmethod
    def from_plain(cls, periods: list[list[Any]]) -> Lineage:
        """Return what `to_plain` was made of."""
        return cls(tuple((step, rates) for step, rates in periods))


def first_step_behind(settings: Settings, frame: int) -> int:
    """Return the first global step whose update is made behind a pause at ``frame``."""
    each = settings.num_envs * settings.action_repeat
    step = min(-(-frame // each) * settings.num_envs, settings.total_steps)
    return step if settings.parallel else step + 1  # with `parallel` that of the pause's own step waits for the next


def rounded(rate: float) -> float:
    """Return a rate with four digits, as one would type it."""
    return float(f"{rate:.4g}")
