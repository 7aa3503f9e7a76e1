"""Ends a training early: on a signal, or by an error."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from glideslope.agent import DrQV2Agent

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class TrainingError(Exception):
    """Training can't continue: a network has diverged, or a file can't be written. The last snapshot is good."""


class StoppedError(Exception):
    """A stop was requested in the middle of an evaluation, which a resumed run repeats."""


def diverged(what: str, agent: DrQV2Agent, frame: int) -> TrainingError:
    """Return the error for networks that have diverged, which it names."""
    networks = agent.not_finite()
    named = f"; diverged: {' and '.join(networks)}" if networks else ""
    return TrainingError(f"{what} at frame {frame:,}{named}")


class Stop:
    """A request to end the training after the vector step under way.

    Attributes:
        requested: whether there is one.
        signal: the signal that made it; SIGINT where none did.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal: int = signal.SIGINT

    def request(self) -> None:
        """Request the end; safe to call from a signal handler."""
        self.requested = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take `STOP_SIGNALS` as requests, within a ``with`` block."""

        def handle(number: int, frame: FrameType | None) -> None:
            if not self.requested:
                self.signal = number
            self.request()

        previous = {
            number: signal.signal(number, handle)
            for number in STOP_SIGNALS
            # What nohup has a program ignore is to be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
