"""Counts a run's global steps, frames and seconds.

A global step is an environment step, counted over all parallel environments; a frame is a simulated decision, of
which a step has ``action_repeat``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from glideslope.settings import Settings


class Clock:
    """How far a run is.

    Attributes:
        step: global steps done.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.step = 0
        self._began, self._seconds_before = time.monotonic(), 0.0

    @property
    def frame(self) -> int:
        """Frames done, at most ``num_train_frames``."""
        return min(self.step * self._settings.action_repeat, self._settings.num_train_frames)

    @property
    def at_end(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self._settings.total_steps

    @property
    def seconds(self) -> float:
        """Time spent training, that before a resume included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def was_resumed(self) -> bool:
        """Whether another process began this run."""
        return self._seconds_before > 0

    def advance(self) -> None:
        """Count a vector step: one step of every environment."""
        self.step += self._settings.num_envs

    def passed(self, every: int) -> bool:
        """Return whether the last vector step passed a multiple of ``every`` frames."""
        before = (self.step - self._settings.num_envs) * self._settings.action_repeat
        return self.frame // every > before // every

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds; a snapshot holds the step itself."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._seconds_before = float(state["seconds"])


def update_steps(settings: Settings, step: int) -> list[int]:
    """Return the global steps with an update among those of the vector step that ended at ``step``.

    They are the multiples of ``update_every_steps`` after the seed frames, whatever the number of environments.
    """
    first = max(step - settings.num_envs, settings.seed_steps) + 1
    last = min(step, settings.total_steps)
    return [at for at in range(first, last + 1) if at % settings.update_every_steps == 0]
