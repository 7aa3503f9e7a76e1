"""What an evaluation shows while it plays: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EvaluationProgress:
    """Counts episodes and tells how long the rest will take.

    In an interactive terminal: a bar that vanishes at the end. Elsewhere a line every `line_seconds`, each complete
    in itself.

    Args:
        total: episodes to be played.
        console: where to write.
        line_seconds: time between plain lines.
        clock: seconds on any monotonic scale.
    """

    def __init__(
        self,
        total: int,
        console: Console,
        *,
        line_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._done, self._task = total, 0, ""
        self._console = console
        self._line_seconds = line_seconds
        self._clock = clock
        self._began = self._last_line = clock()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("episodes,"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_interactive,
            speed_estimate_period=120.0,
        )
        self._id = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, task: str) -> None:
        """What is played from now on."""
        self._task = task
        self._bar.update(self._id, description=task)

    def ended(self, episodes: int) -> None:
        """So many more episodes have ended."""
        self._done += episodes
        self._bar.advance(self._id, episodes)
        now = self._clock()
        if not self._console.is_interactive and now - self._last_line >= self._line_seconds:
            self._last_line = now
            seconds = now - self._began
            left = timedelta(seconds=round(seconds / self._done * (self._total - self._done)))
            elapsed = timedelta(seconds=round(seconds))
            self._console.print(
                f"{self._done:,}/{self._total:,} episodes ({self._done / self._total:.1%})"
                f" | {elapsed} elapsed | {left} left | {self._task}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
