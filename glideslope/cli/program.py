"""Start a program of the command line: its version, and quiet ends. Nothing heavy is imported before it is needed.

Ctrl-C, SIGTERM and a reader that closes the pipe (``| head``) end a program without a traceback, from its first
moment on.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from glideslope import __version__

_BY_SIGNAL = 128  # a program that a signal ended has this and the signal's number as its exit status
PIPE_CLOSED = _BY_SIGNAL + signal.SIGPIPE


def run(main: Callable[[Any], int], program: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a program as :func:`start` does, and end the process with its exit status.

    The libraries are not unloaded, which would take torch and the renderer seconds after the last line.
    """
    status = start(main, program, argv)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # no stream, or one that has gone
            stream.flush()
    os._exit(status)


def start(main: Callable[[Any], int], program: str, argv: Sequence[str] | None = None) -> int:
    """Run a program as this process's own.

    Args:
        main: what the program does with its composed settings; returns the exit status.
        program: its name in ``glideslope.cli.main.PROGRAMS``.
        argv: the words of the command line; those of the process by default.

    Returns:
        The exit status; 141 where the reader of the output has gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    words = sys.argv[1:] if argv is None else argv
    try:
        if "--version" in words:
            sys.stdout.write(f"glideslope {__version__}\n")
            status = 0
        else:
            status = _run(main, program, words)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except KeyboardInterrupt as error:
        status = next(iter(error.args), _BY_SIGNAL + signal.SIGINT)
    except BrokenPipeError:
        if not _silence_closed_pipes():
            raise
        status = PIPE_CLOSED
    # What is left is Python's own clean-up: nothing that could be interrupted neatly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    return status


def _run(main: Callable[[Any], int], program: str, words: Sequence[str]) -> int:
    # Imported here: they take most of a second, in which Ctrl-C is to be as quiet as later.
    from glideslope.cli.main import PROGRAMS, run_cli

    try:
        return run_cli(main, *PROGRAMS[program], words)
    except SystemExit as end:  # how Hydra ends after what it does itself, and Rich where a pipe is closed
        if isinstance(end.__context__, BrokenPipeError):
            return PIPE_CLOSED
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once while a program loads its modules, which would make other errors of an interrupt, or lose it."""
    if _is_loading(frame):
        os._exit(_BY_SIGNAL + number)
    raise KeyboardInterrupt(_BY_SIGNAL + number)


def _is_loading(frame: FrameType | None) -> bool:
    """Return whether a script, its ``main`` or `_run` imports something: no work has begun yet."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            importer = frame.f_back  # at last of the outermost import
        frame = frame.f_back
    return importer is not None and importer.f_code.co_name in ("<module>", "main", "_run")


def _silence_closed_pipes() -> bool:
    """Lead standard streams whose reader has gone nowhere, for Python flushes them at the exit; whether any has."""
    found = False
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue  # no stream, or not a file's
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
            found = True
    return found
