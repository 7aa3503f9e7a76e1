"""Tells the progress display what a training is doing and how much work it still has to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.display.time_left import Work
from glideslope.display.workload import longest_episode, scoring_envs, scoring_steps, work_left
from glideslope.settings import Settings
from glideslope.training.clock import Clock

_RECENT_EPISODES = 8


class TrainingDisplay:
    """The display of one training.

    Attributes:
        progress: what is shown.
    """

    def __init__(self, settings: Settings, clock: Clock, curriculum: Curriculum, progress: Progress) -> None:
        self._settings, self._clock, self._curriculum = settings, clock, curriculum
        self.progress = progress
        self._lengths: deque[float] = deque(maxlen=_RECENT_EPISODES)  # of recent episodes, in steps

    def note(self, text: str) -> None:
        """Print a line that begins with the frame."""
        self.progress.note(f"frame {self._clock.frame:,}: {text}")

    def show(self, due: int, rates: Mapping[str, float]) -> None:
        """Show where the training is. Cheap: called at every vector step.

        Args:
            due: how many stages are to be scored before the next frame.
            rates: learning rate of each network; empty before the first update.
        """
        self.progress.update(
            self._clock.frame,
            kind="collect" if self._clock.step <= self._settings.seed_steps else "learn",
            work=self._work_left(due),
            stage=self._curriculum.stage_settings.name,
            window_rate=self._curriculum.window_rate,
            rates=rates,
        )

    def plan(self, due: int = 0, final: int | None = None) -> None:
        """Plan the work from here to the end of the run.

        Args:
            due: how many stages are to be scored before the next frame.
            final: how many stages the final evaluation still has to score; all of them by default.
        """
        self.progress.plan(self._work_left(due, final))

    def episode_ended(self, length: float) -> None:
        """Take the length of an episode in steps, from which that of later ones is estimated."""
        self._lengths.append(length)

    @contextmanager
    def scoring(self, index: int, episodes: int, what: str) -> Iterator[None]:
        """Show the evaluation of a stage while it lasts."""
        settings = self._settings
        longest = longest_episode(settings)
        length = float(np.mean(self._lengths)) if self._lengths else longest
        steps = scoring_steps(episodes, scoring_envs(settings), length, longest)
        name = f"{what} stage {index + 1} of {len(self._curriculum.stages)}"
        with self.progress.activity("evaluate", name, units=steps, total=episodes, unit="episodes"):
            yield

    def scored(self, length: float) -> None:
        """Take the mean length of an evaluation's episodes in place of those of training."""
        self._lengths.clear()
        self._lengths.append(length)

    def _work_left(self, due: int = 0, final: int | None = None) -> Work:
        curriculum = self._curriculum
        return work_left(
            self._settings,
            self._clock.frame,
            stage=curriculum.stage,
            changes=len(curriculum.history) - 1,
            due=due,
            final=final,
            episode_length=float(np.mean(self._lengths)) if self._lengths else None,
        )
