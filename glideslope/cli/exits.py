"""How a program ends: its exit statuses, and what is said of a user's fault. Imports nothing, so as to load at once."""

from __future__ import annotations

FAILED, USER_FAULT = 1, 2
BY_SIGNAL = 128
"""The status of a program that a signal has ended is this and the signal's number."""
INTERRUPTED = BY_SIGNAL + 2  # SIGINT


def message(error: Exception) -> str:
    """Return what is told of a user's fault, all of its lines: the only place where faults become text."""
    faults = getattr(error, "faults", (error,))
    if len(faults) == 1:
        return f"Error: {faults[0]}\n"
    lines = [f"Error: {len(faults)} faults in the configuration:", *(f"  {fault}" for fault in faults)]
    return "".join(f"{line}\n" for line in lines)
