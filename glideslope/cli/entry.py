"""Start a command: which one, its version, and how it ends. Nothing heavy is imported before it is needed.

Ctrl-C, SIGTERM and a reader that closes the pipe (``| head``) end a program without a traceback, from its first
moment on.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from types import FrameType
from typing import NoReturn

from glideslope import __version__

COMMANDS: Mapping[str, str] = {
    "train": "Train a quadrotor to land on a moving pad by its own camera.",
    "evaluate": "Score a trained or scripted policy on scenarios no training saw.",
    "preview": "Draw and table the learning rates of a training beforehand.",
    "compare": "Compare runs, grouped by the settings that differ.",
    "tune": "Search for learning rates; the best become a preset.",
    "export": "Write a policy as ONNX for other programs.",
    "play": "Watch a policy fly, and fly against it.",
}
"""Each command, and what it is for."""
FAILED, USER_FAULT = 1, 2
BY_SIGNAL = 128
"""The exit status of a program that a signal has ended is this and the signal's number."""
INTERRUPTED, PIPE_CLOSED = BY_SIGNAL + signal.SIGINT, BY_SIGNAL + 13  # SIGPIPE, which Windows lacks


def main() -> NoReturn:
    """Run the console command ``glideslope``, whose first word is a command."""
    run(None)


def run(command: str | None) -> NoReturn:
    """Run a command as :func:`start` does, and end the process with its exit status.

    The libraries are not unloaded, which would take torch and the renderer seconds after the last line.
    """
    status = start(command)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # no stream, or one that has gone
            stream.flush()
    os._exit(status)


def start(command: str | None) -> int:
    """Run a command with the words of the process's command line.

    Args:
        command: a key of `COMMANDS`; None where it is the first word of the command line.

    Returns:
        The exit status; 141 where the reader of the output has gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        status = _run(command, sys.argv[1:])
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except KeyboardInterrupt as error:
        status = next(iter(error.args), INTERRUPTED)
    except BrokenPipeError:
        if not _silence_closed_pipes():
            raise
        status = PIPE_CLOSED
    # What is left is Python's own clean-up: nothing that could be interrupted neatly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    return status


def _run(command: str | None, words: Sequence[str]) -> int:
    if "--version" in words:
        sys.stdout.write(f"glideslope {__version__}\n")
        return 0
    by_script = command is not None
    if command is None:
        command, *words = words or ["--help"]
    if command in ("--help", "-h"):
        sys.stdout.write(_usage())
        return 0
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        rule = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        sys.stderr.write(f"Error: {command}: unknown command; {rule}\n")
        return USER_FAULT
    try:
        # Imported here: they take most of a second, in which Ctrl-C is to be as quiet as later.
        from glideslope.cli import compare, evaluate, export, play, preview, train, tune
        from glideslope.cli.main import PROGRAMS, run_cli

        modules = {
            **{"train": train, "evaluate": evaluate, "preview": preview, "compare": compare, "tune": tune},
            **{"export": export, "play": play},
        }
        if command == "compare":
            words = compare.with_runs(words)
        return run_cli(modules[command].main, *PROGRAMS[command], words)
    except SystemExit as end:  # how Hydra ends after what it does itself, and Rich where a pipe is closed
        if isinstance(end.__context__, BrokenPipeError):
            return PIPE_CLOSED
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ModuleNotFoundError as error:
        package = (error.name or "glideslope").partition(".")[0]
        if package == "glideslope":
            raise
        # Only a checkout has the scripts.
        way = "make setup; then start with .venv/bin/python" if by_script else 'pip install "glideslope[train]"'
        sys.stderr.write(f"Error: {command} needs the package {package}: {way}\n")
        return USER_FAULT


def message(error: Exception) -> str:
    """Return what is told of a user's fault, all of its lines: the only place where faults become text."""
    faults = getattr(error, "faults", (error,))
    if len(faults) == 1:
        return f"Error: {faults[0]}\n"
    lines = [f"Error: {len(faults)} faults in the configuration:", *(f"  {fault}" for fault in faults)]
    return "".join(f"{line}\n" for line in lines)


def _usage() -> str:
    """Return what ``glideslope --help`` shows."""
    lines = [
        "Usage: glideslope COMMAND [group=option] [key=value]",
        "",
        "Commands (glideslope COMMAND --help shows the keys):",
        *(f"  {name:10}{purpose}" for name, purpose in COMMANDS.items()),
    ]
    return "\n".join(lines) + "\n"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once while a program loads its modules, which would make other errors of an interrupt, or lose it."""
    if _is_loading(frame):
        os._exit(BY_SIGNAL + number)
    raise KeyboardInterrupt(BY_SIGNAL + number)


def _is_loading(frame: FrameType | None) -> bool:
    """Return whether a script, a command's ``main`` or `_run` imports something: no work has begun yet."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            importer = frame.f_back  # at last of the outermost import
        frame = frame.f_back
    return importer is not None and importer.f_code.co_name in ("<module>", "main", "_run")


def _silence_closed_pipes() -> bool:
    """Lead standard streams whose reader has gone nowhere, for Python flushes them at the exit; whether any has."""
    found = False
    if not hasattr(select, "poll"):  # on Windows
        return found
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
