"""What a training shows while it runs: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

# Long enough to take in an evaluation, so that the time left doesn't jump at each one.
_SPEED_SECONDS = 120.0
_SAMPLE_SECONDS = 0.5


def screen() -> Console:
    """A console on standard output; what that can't take is lost, for no run is to end because of it."""
    return Console() if sys.stdout is None else Console(file=cast(IO[str], _Unfailing(sys.stdout)))


class _Unfailing:
    """A text stream that may be on a full disk, or have a reader that has gone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            # Nobody will read again: Python's own flush at the exit is not to fail either.
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
        except OSError:
            pass


@dataclass(frozen=True)
class _State:
    frame: int
    stage: str
    success_rate: float | None
    rates: Mapping[str, float]
    speed: float | None


class Progress:
    """Shows frames done, times, speed, curriculum stage, recent success rate and learning rates.

    In an interactive terminal: a bar that stays at the bottom. Elsewhere (a file, a pipe, CI): one line at
    the first `update`, one every `line_seconds`, one at the end, each complete in itself.

    Args:
        total_frames: frames at which the training ends.
        first_frame: frames done before this process began (a resumed run); they don't count for the speed.
        console: where to write; standard output by default.
        line_seconds: time between plain lines.
        clock: seconds on any monotonic scale.
    """

    def __init__(
        self,
        total_frames: int,
        *,
        first_frame: int = 0,
        console: Console | None = None,
        line_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_frames
        self._console = console or screen()
        self._line_seconds = line_seconds
        self._clock = clock
        self._began = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._began, first_frame)])
        self._state = _State(first_frame, "", None, {}, None)
        self._line: tuple[float, int] | None = None
        self._live: Live | None = None
        if self._console.is_interactive:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(
        self,
        frame: int,
        *,
        stage: str = "",
        success_rate: float | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        """Takes the latest numbers. Cheap: call it at every step.

        Args:
            frame: frames done.
            stage: name of the curriculum stage; empty where there is none.
            success_rate: share of landings in the curriculum's window, in [0, 1]; None while there is none.
            rates: learning rate of each network by name; empty before the first update.
        """
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, frame))
            while now - self._samples[0][0] > _SPEED_SECONDS and len(self._samples) > 2:
                self._samples.popleft()
        self._state = _State(frame, stage, success_rate, dict(rates or {}), self._speed())
        if self._live is None and (self._line is None or now - self._line[0] >= self._line_seconds):
            self._print_line(now)

    def note(self, text: str) -> None:
        """Prints a line of its own, above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the final numbers on the screen. May be called twice."""
        if self._live is not None:
            self._live.stop()
        elif self._line is not None and self._line[1] != self._state.frame:
            self._print_line(self._clock())

    def _speed(self) -> float | None:
        (since, first), (now, last) = self._samples[0], self._samples[-1]
        return (last - first) / (now - since) if now > since and last > first else None

    def _print_line(self, now: float) -> None:
        self._line = (now, self._state.frame)
        state = self._state
        share = f"{state.frame:,}/{self._total:,} frames ({self._share():.1%})"
        self.note(" | ".join([share, *self._times(state), *_training(state), *_rates(state)]))

    def _share(self) -> float:
        return min(self._state.frame / self._total, 1.0) if self._total > 0 else 1.0

    def _times(self, state: _State) -> list[str]:
        left = "-"
        if state.frame >= self._total:
            left = _duration(0.0)
        elif state.speed is not None:
            left = _duration((self._total - state.frame) / state.speed)
        speed = "-" if state.speed is None else f"{state.speed:,.0f}"
        return [f"{_duration(self._clock() - self._began)} elapsed", f"{left} left", f"{speed} frames/s"]

    def _render(self) -> RenderableType:
        # Runs on the display's thread: one read of the state, which is never changed in place.
        state = self._state
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=max(self._total, 1), completed=min(state.frame, max(self._total, 1)))
        elapsed, left, speed = self._times(state)
        top.add_row(f"{self._share():4.0%}", bar, f"{state.frame:,}/{self._total:,} frames  {speed}")
        lines = [elapsed, left, *_training(state)], _rates(state)
        return Group(top, *(Text("  ".join(line)) for line in lines if line))


def _training(state: _State) -> list[str]:
    success = "success -" if state.success_rate is None else f"success {state.success_rate:.0%}"
    return [f"stage {state.stage}", success] if state.stage else [success]


def _rates(state: _State) -> list[str]:
    rates = " ".join(f"{network} {rate:.2e}" for network, rate in state.rates.items())
    return [f"lr {rates}"] if rates else []


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}:{second:02}" if days else f"{hour}:{minute:02}:{second:02}"
