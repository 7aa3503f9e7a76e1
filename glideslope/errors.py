"""Errors that the user sees, and how sizes, durations and failures are shown in messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.filesize import decimal

from glideslope.lr_scheduler import faults
from glideslope.lr_scheduler.faults import UNSET as UNSET
from glideslope.lr_scheduler.faults import Fault as Fault
from glideslope.lr_scheduler.faults import listed as listed
from glideslope.lr_scheduler.faults import typed as typed

_LONGEST_LIST = 24


class UserError(Exception):
    """A fault of the user's input: programs show its message without a traceback and exit with status 2."""


class SettingsError(UserError, ValueError):
    """Settings that cannot be used.

    Attributes:
        faults: every fault found.
        repaired: the settings with their defaults in place of the faulty values, where there are such defaults:
            other parts of the configuration can still be checked against it.
    """

    def __init__(self, faults: Sequence[Fault], repaired: Any = None) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
        self.repaired = repaired

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults, self.repaired)


def unknown(name: object, kind: str, options: Sequence[str]) -> str:
    """Return the rule for a name that does not exist: the nearest of the options, or all where none is near."""
    those = f"; there are {listed(options, 'and')}" if len(options) <= _LONGEST_LIST else ""
    return f"unknown {kind}{meant(name, options) or those}"


def meant(name: object, options: Sequence[str]) -> str:
    """Return `; did you mean X?` for the nearest of the options, or nothing where none is near."""
    near = nearest(name, options)
    return f"; did you mean {near}?" if near else ""


def nearest(name: object, options: Sequence[str]) -> str | None:
    """Return the option that `name` was probably meant to be, as other programs call it too; None for none."""
    return faults.nearest(name, options, _ELSEWHERE)


# What other programs call a setting.
_ELSEWHERE = {
    "learning_rate": "lr",
    "epochs": "num_train_frames",
    "steps": "num_train_frames",
    "frames": "num_train_frames",
    "max_steps": "num_train_frames",
    "num_steps": "num_train_frames",
    "timesteps": "num_train_frames",
    "total_timesteps": "num_train_frames",
    "learning_starts": "num_seed_frames",
    "n_envs": "num_envs",
    "gamma": "discount",
    "tau": "critic_target_tau",
    "n_step": "nstep",
    "n_steps": "nstep",
    "buffer_size": "replay_buffer_size",
    "checkpoint": "resume",
    "load": "resume",
    "threads": "num_threads",
    "gpu": "device",
    "scheduler": "lr_schedule",
    "lr_scheduler": "lr_schedule",
    "n_episodes": "episodes",
}


# The unit, its length in seconds, and the first duration that is told in the next one.
_UNITS = (("s", 1, 90), ("minutes", 60, 90 * 60), ("hours", 3600, 48 * 3600), ("days", 86400, float("inf")))


def data_size(count: int) -> str:
    """Return a number of bytes in decimal units.

    >>> [data_size(count) for count in (0, 1, 17, 12_345, 5_101_492, 2**31)]
    ['0 bytes', '1 byte', '17 bytes', '12.3 kB', '5.1 MB', '2.1 GB']
    """
    return decimal(count)


def duration(seconds: float) -> str:
    """Return a duration in its unit, with two significant digits or more.

    >>> [duration(seconds) for seconds in (0.0, 3.21, 12, 84, 150, 5000, 5400, 200_000)]
    ['under 0.1 s', '3.2 s', '12 s', '84 s', '2.5 minutes', '83 minutes', '1.5 hours', '2.3 days']
    """
    if seconds < 0.1:
        return "under 0.1 s"
    unit, length = next((unit, length) for unit, length, end in _UNITS if round(seconds) < end)
    count = seconds / length
    # What would be rounded to 10.0 is 10.
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def reason(error: OSError) -> str:
    """Return why the system refused, without the file's name."""
    return error.strerror or " ".join(map(str, error.args)) or type(error).__name__


def failure(error: OSError) -> str:
    """Return the file that the system refused, where the error has it, and why.

    >>> failure(OSError(28, "No space left on device", "run/snapshot.pt"))
    'run/snapshot.pt: No space left on device'
    """
    return reason(error) if error.filename is None else f"{error.filename}: {reason(error)}"
