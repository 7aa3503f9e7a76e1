"""What each of several processes that train one policy together has of the training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glideslope.settings.checks import Broken
from glideslope.settings.training import Settings


@dataclass(frozen=True)
class Share:
    """An equal part of a training's environments, replay buffer, batches and evaluations: that of one process."""

    rank: int = 0
    count: int = 1  # of the processes

    def rows(self, whole: int) -> slice:
        """Return which of ``whole`` rows, a multiple of `count`, belong to this share."""
        own = whole // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def of(self, settings: Settings) -> Settings:
        """Return the settings of a process that has this share alone.

        Its rings of frames are as long as those of the whole.
        """
        if self.count == 1:
            return settings
        num_envs = settings.num_envs // self.count
        return settings.model_copy(
            update={
                "num_envs": num_envs,
                "batch_size": settings.batch_size // self.count,
                "replay_buffer_size": settings.replay_buffer_size // settings.num_envs * num_envs,
                "num_eval_episodes": -(-settings.num_eval_episodes // self.count),
                "final_eval_episodes": -(-settings.final_eval_episodes // self.count),
            }
        )

    def broken_rules(self, settings: Settings) -> Iterator[Broken]:
        """Yield the rules that a training breaks which can't be shared equally."""
        for key in ("num_envs", "batch_size"):
            if getattr(settings, key) % self.count:
                rule = f"must be a multiple of the number of processes ({self.count})"
                yield Broken(key, rule, getattr(settings, key))


WHOLE = Share()
"""The share of a process that trains alone."""
