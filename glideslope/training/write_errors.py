"""Decides what happens when a file of a run can't be written: the setting `on_write_error`."""

from __future__ import annotations

from collections.abc import Callable

from glideslope.errors import failure
from glideslope.training.clock import Clock
from glideslope.training.stopping import TrainingError


class OnWriteError:
    """Writes a run's files; where that fails, the training continues with a note, or stops.

    Args:
        stops: whether it stops.
        clock: tells the frame.
        note: prints a line.
    """

    def __init__(self, stops: bool, clock: Clock, note: Callable[[str], None]) -> None:
        self._stops, self._clock, self._note = stops, clock, note

    def __call__(self, action: Callable[[], object], what: str) -> None:
        """Write a file.

        Args:
            action: writes it.
            what: its name for people, such as `the snapshot`.

        Raises:
            TrainingError: it can't be written, and that stops the training.
        """
        try:
            action()
        except OSError as error:
            frame, text = f"frame {self._clock.frame:,}", f"{what} can't be written: {failure(error)}"
            if self._stops:
                raise TrainingError(f"{text}, at {frame}") from error
            self._note(f"{frame}: {text}; training continues (on_write_error)")
