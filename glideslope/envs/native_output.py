"""Keeps what native libraries print on their own, past Python's streams, off the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO


@contextmanager
def without_native_lines(*expected: str) -> Iterator[None]:
    """Hold back what is written to the process's file descriptors 1 and 2, by any thread.

    At the end it is written where it belongs, but for lines that begin with one of ``expected``; those are written
    only where an exception ends the block. Where nothing can be held back, nothing is changed.
    """
    held: list[tuple[int, IO[bytes]]] = []
    dropped = tuple(line.encode() for line in expected)
    try:
        with ExitStack() as restore:
            for number in (1, 2):
                with suppress(OSError):  # a closed descriptor, or no folder for temporary files
                    held.append((number, _hold(number, restore)))
            yield
    except BaseException:
        dropped = ()
        raise
    finally:
        for number, file in held:
            with file:
                file.seek(0)
                kept = b"".join(line for line in file if not (dropped and line.startswith(dropped)))
            with suppress(OSError):
                while kept:
                    kept = kept[os.write(number, kept) :]


def _hold(number: int, restore: ExitStack) -> IO[bytes]:
    """Send the descriptor to a temporary file until ``restore`` is closed."""
    _flush()
    file = TemporaryFile()  # noqa: SIM115 - closed by the caller
    try:
        before = os.dup(number)
    except OSError:
        file.close()
        raise

    def undo() -> None:
        _flush()
        os.dup2(before, number)
        os.close(before)

    restore.callback(undo)
    os.dup2(file.fileno(), number)
    return file


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
