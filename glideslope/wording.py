"""How sizes, durations and failed writes are told to people, in one way everywhere."""

from __future__ import annotations

from rich.filesize import decimal

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
