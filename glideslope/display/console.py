"""Where the program prints: a console that survives a closed pipe, and lines that stay whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from textwrap import wrap
from typing import IO, Any, cast

from rich.cells import cell_len
from rich.console import Console


def screen() -> Console:
    """Return a console on standard output; what that can't take is lost, for no run is to end because of it."""
    return Console() if sys.stdout is None else Console(file=cast(IO[str], _Unfailing(sys.stdout)))


def say(console: Console, prose: str, verbatim: str = "") -> None:
    """Print a line, taken literally.

    On a terminal the prose wraps between words. Elsewhere (a file, a pipe) it is one line.

    Args:
        console: where to print.
        prose: what is read.
        verbatim: what is copied, such as a path or a command, printed behind the prose. No line break is put into it.
    """
    if not console.is_terminal:
        console.print(prose + verbatim, markup=False, highlight=False, soft_wrap=True)
        return
    *lines, last = [part for line in (prose.splitlines() or [""]) for part in _wrap(line, console.width)]
    if verbatim:
        last += prose[len(prose.rstrip()) :]  # wrapping has taken it off
        if cell_len(last + verbatim) > console.width and last.strip():
            lines.append(last.rstrip())
            last = ""
        last += verbatim
    for line in (*lines, last):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _wrap(line: str, width: int) -> list[str]:
    return wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


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
