"""Commands to paste into a shell: what one would type next about a run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

CONSOLE = "glideslope"
SCRIPTS = {
    "train": "train_gimbal_curriculum.py",
    "evaluate": "evaluate.py",
    "export": "export.py",
    "play": "play.py",
    "preview": "preview_lr_schedule.py",
    "compare": "compare_runs.py",
    "tune": "tune_lr_schedule.py",
}
"""The script of each command of the console command."""
_CHECKOUT = Path(__file__).resolve().parents[2]


def program(command: str) -> str:
    """Return a command's name: ``evaluate.py``, or ``glideslope evaluate`` where that started this process."""
    return f"{CONSOLE} {command}" if _by_console() else SCRIPTS[command]


def started(command: str) -> str:
    """Return how a command is started in the documentation, ``python evaluate.py`` or ``glideslope evaluate``."""
    return program(command) if _by_console() else f"python {SCRIPTS[command]}"


def resume_command(run_dir: Path, *words: str) -> str:
    """Return the command that resumes a run, with more overrides."""
    return shlex.join([*_program("train"), f"resume={_value(run_dir)}", *words])


def evaluate_command(run_dir: Path, *words: str) -> str:
    """Return the command that evaluates a run, with more overrides."""
    return shlex.join([*_program("evaluate"), f"run={_value(run_dir)}", *words])


def train_command(*words: str) -> str:
    """Return the command that trains, or resumes a sweep, with some words."""
    return shlex.join([*_program("train"), *words])


def tune_command(*words: str) -> str:
    """Return the command that runs a search with some words, or resumes it."""
    return shlex.join([*_program("tune"), *words])


def compare_command(folder: Path) -> str:
    """Return the command that compares the runs below a folder."""
    return shlex.join([*_program("compare"), str(near(folder))])


def tensorboard_command(folder: Path) -> str:
    """Return the command that shows a folder's logs."""
    beside = _beside_python("tensorboard")
    start = ["tensorboard"] if beside else [_python(), "-m", "tensorboard.main"]
    return shlex.join([*start, "--logdir", str(near(folder))])


def _by_console() -> bool:
    """Return whether the console command started this process; else whether there is no script to start."""
    name = Path(sys.argv[0]).name
    return name == CONSOLE or not (name in SCRIPTS.values() or (_CHECKOUT / SCRIPTS["train"]).is_file())


def _program(command: str) -> list[str]:
    """Return how to start a command the way this process was started: by console command or by script."""
    running = Path(sys.argv[0])
    if _by_console():
        found = shutil.which(CONSOLE)
        by_path = running.name == CONSOLE and (found is None or os.path.abspath(found) != os.path.abspath(running))
        return [str(near(running)) if by_path else CONSOLE, command]
    script = SCRIPTS[command]
    return [_python(), str(running.with_name(script)) if running.name in SCRIPTS.values() else script]


def _python() -> str:
    """Return the name `python` where a shell would start this very interpreter by it, else its path."""
    return "python" if _beside_python("python") else str(near(Path(sys.executable)))


def _beside_python(program: str) -> bool:
    """Return whether a shell would find `program` in the folder of this interpreter: a link may lead to another's."""
    found = shutil.which(program)
    return found is not None and os.path.abspath(os.path.dirname(found)) == os.path.dirname(sys.executable)


def near(path: Path) -> Path:
    """Return a path as seen from the current folder, where it is below that."""
    path = Path(os.path.abspath(path))
    below = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return path if str(below).startswith("~") else below  # that would be somebody's home


def _value(path: Path) -> str:
    """Return a path as the value of an override."""
    text = str(near(path))
    if "/" not in text:
        text = f"./{text}"  # a number or `null` otherwise
    if re.fullmatch(r"[A-Za-z0-9_./@%+-]+", text):
        return text
    # In quotes a backslash is one, unless a quote follows; ${ would begin an interpolation.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text).replace("${", r"\${")
    if escaped.endswith("\\"):
        escaped += "\\" * (len(escaped) - len(escaped.rstrip("\\")))
    return f'"{escaped}"'
