"""Shows what a run is doing and how long the rest takes: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from glideslope.display.console import say, screen
from glideslope.display.time_left import Costs, Kind, Steady, TimeLeft, Work

_ACTIVITY_BAR_WIDTH = 20


@dataclass(frozen=True)
class _Activity:
    """What is being done: its name and, where it has steps, how many are done."""

    name: str
    total: int | None = None
    unit: str = ""
    done: int = 0


@dataclass(frozen=True)
class _Status:
    """What is shown, but for times. Replaced as a whole, as another thread reads it."""

    done: int
    activity: _Activity = _Activity("starting")
    stage: str = ""
    window_rate: float | None = None
    rates: tuple[tuple[str, float], ...] = ()
    kind: Kind | None = None  # of the frames that are made now


_FRAMES: dict[Kind, str] = {"collect": "collecting (random actions)", "learn": "learning"}


class Progress:
    """Shows what is done and being done, the time left and, of a training, its latest numbers.

    In an interactive terminal: a bar that stays at the bottom. Elsewhere (a file, a pipe, CI): one line at
    the first sign of life, one every `line_seconds`, one at the end, each complete in itself.

    Args:
        total: frames of the training, or episodes of the evaluation.
        unit: `frames` or `episodes`.
        done: how many of them were done before.
        whole: the work of the whole run, of which the bar shows the share that is done.
        work: the work that is left; `whole` by default.
        costs: what a unit of each kind of work costs, in seconds; what is left out is unknown until measured.
        transient: whether the bar vanishes at the end.
        console: where to write; standard output by default.
        line_seconds: time between plain lines.
        clock: seconds on any monotonic scale.
    """

    def __init__(
        self,
        total: int,
        *,
        unit: str = "frames",
        done: int = 0,
        whole: Work | None = None,
        work: Work | None = None,
        costs: Costs | None = None,
        transient: bool = False,
        console: Console | None = None,
        line_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit = total, unit
        self._whole = dict(whole or {})
        self._console = console or screen()
        self._line_seconds = line_seconds
        self._clock = clock
        self._began = clock()
        self._lock = Lock()  # the bar is drawn by another thread; nothing is printed while it is held
        self._time_left = TimeLeft(costs or {}, self._began)
        self._time_left.plan(self._whole if work is None else work)
        self._steady = Steady()
        self._share = 0.0
        self._status = _Status(done)
        self._line: tuple[float, _Status] | None = None
        self._bar: Live | None = None
        if self._console.is_interactive:
            # Not rich.progress: it has the same columns in every row, and these lines are of different kinds.
            self._bar = Live(get_renderable=lambda: Group(*self._render()), console=self._console, transient=transient)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(
        self,
        frame: int,
        *,
        kind: Kind = "learn",
        doing: str = "",
        work: Work | None = None,
        stage: str = "",
        window_rate: float | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        """Take the latest numbers: frames done, work left, name of the stage. Cheap: call it at every step.

        Args:
            kind: whether frames are collected by random actions or learned from: `collect` or `learn`.
            doing: what to show instead of that.
            window_rate: share of landings in the curriculum's window, in [0, 1]; None while there is none.
            rates: learning rate of each network by name; empty before the first update.
        """
        now = self._clock()
        with self._lock:
            self._time_left.did(kind, frame - self._status.done, now)
            if work is not None:
                self._time_left.plan(work)
            latest = tuple((rates or {}).items())
            self._status = _Status(frame, _Activity(doing or _FRAMES[kind]), stage, window_rate, latest, kind)
        self._print_if_due(now)

    def plan(self, work: Work) -> None:
        """Replace the work that is left."""
        with self._lock:
            self._time_left.plan(work)

    @contextmanager
    def activity(
        self, kind: Kind, name: str, *, units: float = 1.0, total: int | None = None, unit: str = ""
    ) -> Iterator[None]:
        """Show what is done instead of frames, such as `evaluating stage 3 of 5`, as long as it lasts.

        It is expected to be so many `units` of its kind of work. It has a `total` of steps, each a `unit` such as an
        episode, if they are counted by :meth:`advance`.
        """
        with self._lock:
            outer = self._status
            self._time_left.begin(kind, units, self._clock())
            self._status = replace(outer, activity=_Activity(name, total, unit), kind=None)
        self._print_if_due(self._clock())
        try:
            yield
        finally:
            with self._lock:
                self._time_left.end(self._clock())
                self._status = replace(self._status, activity=outer.activity, kind=outer.kind)

    def advance(self, steps: int) -> None:
        """Report that so many more steps of the activity are done."""
        with self._lock:
            status = self._status
            activity = replace(status.activity, done=status.activity.done + steps)
            done = status.done + steps if activity.unit == self._unit else status.done
            self._status = replace(status, done=done, activity=activity)

    def tick(self) -> None:
        """Report a step of the activity; call it at every one."""
        now = self._clock()
        with self._lock:
            self._time_left.tick(now)
        self._print_if_due(now)

    def note(self, text: str, verbatim: str = "") -> None:
        """Print a line of its own, above the bar; see :func:`glideslope.display.console.say`."""
        say(self._console, text, verbatim)

    def finish(self) -> None:
        """Say that nothing is left to do."""
        with self._lock:
            self._time_left.plan({})
            self._status = replace(self._status, activity=_Activity("finished"), kind=None)
            self._share = 1.0

    def seconds_left(self) -> float:
        """Return the estimated seconds that the remaining work takes."""
        with self._lock:
            return self._time_left.seconds(self._clock())

    def close(self) -> None:
        """Leave the final numbers on the screen. May be called twice."""
        if self._bar is not None:
            self._bar.stop()
        elif self._line is not None and self._line[1] != self._status and self._unit == "frames":
            self._print_line(self._clock())

    def _print_if_due(self, now: float) -> None:
        if self._bar is not None:
            return
        # An evaluation says what it will do before it begins.
        last = self._began if self._unit == "episodes" else None
        last = last if self._line is None else self._line[0]
        if last is None or now - last >= self._line_seconds:
            self._print_line(now)

    def _print_line(self, now: float) -> None:
        status = self._status
        self._line = (now, status)
        done = min(status.done / self._total, 1.0) if self._total > 0 else 1.0
        share = f"{status.done:,}/{self._total:,} {self._unit} ({done:.1%})"
        elapsed, left = self._times(now)
        parts = [share, _named(status.activity), elapsed, left, *self._speed(status)]
        self.note(" | ".join([*parts, *_training(status), *_rates(status)]))

    def _times(self, now: float) -> tuple[str, str]:
        with self._lock:
            seconds, unknown = self._time_left.seconds(now), self._time_left.unknown()
            left = "-"
            if seconds > 0.0:
                left = ("over " if unknown else "") + _duration(self._steady.show(seconds, now))
            elif not unknown:
                left = _duration(0.0)
            whole = self._time_left.total(self._whole)
            if whole > 0.0:
                # Never back, though the estimate may grow.
                self._share = max(self._share, min(1.0 - seconds / whole, 1.0))
        return f"{_duration(now - self._began)} elapsed", f"{left} left"

    def _speed(self, status: _Status) -> list[str]:
        if status.kind is None:
            return []
        cost = self._time_left.cost(status.kind)
        return [] if not cost else [f"{1.0 / cost:,.0f} frames/s"]

    def _render(self) -> Iterable[RenderableType]:
        status, now = self._status, self._clock()
        times = "  ".join(self._times(now))
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True, justify="right")
        top.add_row(f"{int(100 * self._share):3}%", ProgressBar(total=1.0, completed=self._share), times)
        yield top
        activity = status.activity
        if activity.total is not None:
            line = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=max(activity.total, 1), completed=activity.done, width=_ACTIVITY_BAR_WIDTH)
            line.add_row(Text(activity.name), bar, f"{activity.done:,}/{activity.total:,} {activity.unit}")
            yield line
        else:
            yield Text("  ".join([activity.name, *self._speed(status)]))
        done = f"{self._unit.removesuffix('s')} {status.done:,}/{self._total:,}"
        for parts in ([done, *_training(status)], _rates(status)):
            if parts:
                yield Text("  ".join(parts))


def _named(activity: _Activity) -> str:
    if activity.total is None:
        return activity.name
    return f"{activity.name}: {activity.done:,}/{activity.total:,} {activity.unit}"


def _training(status: _Status) -> list[str]:
    if not status.stage and status.window_rate is None:
        return []
    rate = "-" if status.window_rate is None else f"{status.window_rate:.0%} landed"
    stage = [f"stage {status.stage}"] if status.stage else []
    return [*stage, f"training window {rate}"]


def _rates(status: _Status) -> list[str]:
    rates = " ".join(f"{network} {rate:.2e}" for network, rate in status.rates)
    return [f"lr {rates}"] if rates else []


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}:{second:02}" if days else f"{hour}:{minute:02}:{second:02}"
