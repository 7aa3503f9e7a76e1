"""A program's first second and its ends: the version, Ctrl-C, SIGTERM, and a reader that closes the pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glideslope import __version__
from glideslope.cli.entry import COMMANDS
from tests.support.paths import ROOT

# Each starts a program.
pytestmark = pytest.mark.slow

SCRIPTS = (
    "train_gimbal_curriculum.py",
    "evaluate.py",
    "preview_lr_schedule.py",
    "compare_runs.py",
    "tune_lr_schedule.py",
    "export.py",
    "play.py",
)


def command(script: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / script), *words]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_version_is_ours_and_loads_nothing_heavy(script: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", str(ROOT / script), "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"glideslope {__version__}\n"
    loaded = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "glideslope.cli.entry" in loaded
    assert not loaded & {"torch", "numpy", "hydra", "omegaconf", "pydantic", "yaml", "rich"}


# Sends itself a signal the moment a module is looked for.
INTERRUPTED = """
import builtins, os, runpy, signal, sys
number, module, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[3:]
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("script", "module", "words"),
    [
        ("train_gimbal_curriculum.py", "glideslope.cli.main", []),
        ("evaluate.py", "torch", ["policy=expert"]),
        ("preview_lr_schedule.py", "numpy", []),
    ],
)
def test_an_interrupt_during_imports_is_quiet(
    script: str, module: str, words: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", INTERRUPTED, str(int(number)), module, str(ROOT / script), *words]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_at_work_is_quiet_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    # The picture's library is loaded while the table is being written, under a temporary name.
    script = str(ROOT / "preview_lr_schedule.py")
    arguments = [sys.executable, "-c", INTERRUPTED, str(int(signal.SIGTERM)), "matplotlib", script]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "\nInterrupted.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "words", "statuses"),
    [
        ("train_gimbal_curriculum.py", ["--help", "all"], {141}),
        ("train_gimbal_curriculum.py", ["--version"], {141}),
        ("train_gimbal_curriculum.py", ["--cfg", "job"], {141}),
        ("train_gimbal_curriculum.py", ["--hydra-help"], {141}),
        ("preview_lr_schedule.py", ["lr_schedule=gentle_decay"], {141}),
        ("train_gimbal_curriculum.py", ["num_train_frame=5"], {2, 141}),
    ],
)
def test_a_reader_that_has_gone_is_no_fault(script: str, words: list[str], statuses: set[int], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    refused = words[0].startswith("num_")
    streams = {"stdout": subprocess.PIPE, "stderr": writing} if refused else {"stdout": writing}
    process = subprocess.Popen(command(script, *words), cwd=tmp_path, **{"stderr": subprocess.PIPE, **streams})
    os.close(writing)
    out, err = process.communicate(timeout=60)
    assert process.returncode in statuses
    assert not (out if refused else err)


# --- the console command ---

CONSOLE = "import sys; sys.argv[0] = '/somewhere/bin/glideslope'; from glideslope.cli.entry import main; main()"


def console(folder: Path, *words: str, code: str = CONSOLE) -> tuple[int, str, str]:
    """Status and output of ``glideslope`` with these words, started in a folder."""
    command = [sys.executable, "-c", code, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, check=False, env=environment, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def test_the_console_command_lists_its_commands_and_its_version(tmp_path: Path) -> None:
    status, shown, told = console(tmp_path)
    assert (status, told) == (0, "")
    assert console(tmp_path, "--help") == (0, shown, "")
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert max(map(len, shown.splitlines())) <= 80
    assert console(tmp_path, "--version") == (0, f"glideslope {__version__}\n", "")
    assert console(tmp_path, "evaluate", "--version") == (0, f"glideslope {__version__}\n", "")


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("trian", "did you mean train?"),
        ("compare_runs", "did you mean compare?"),
        ("lr_schedule=gentle_decay", "there are train, evaluate, preview, compare, tune, export, play"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(word: str, rule: str, tmp_path: Path) -> None:
    assert console(tmp_path, word) == (2, "", f"Error: {word}: unknown command; {rule}\n")


def test_the_commands_are_the_scripts(tmp_path: Path) -> None:
    words = ("lr_schedule=gentle_decay", "steps=[0,1M,3M]")
    script = command("preview_lr_schedule.py", *words)
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert console(tmp_path, "preview", *words) == (0, done.stdout, done.stderr)
    assert "Usage: glideslope compare FOLDER... [key=value]\n" in console(tmp_path, "compare", "--help")[1]
    assert console(tmp_path, "train", "episodes=3")[::2] == (
        *(2, "Error: episodes=3: is a setting of glideslope evaluate; glideslope train has none\n"),
    )
    status, _, told = console(tmp_path, "compare", "nowhere")
    assert (status, "nowhere" in told, "Traceback" in told) == (2, True, False)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("hydra", ["preview"]), ("rich", ["train"]), ("torch", ["evaluate", "policy=expert"])],
)
def test_what_only_an_extra_brings_is_named(missing: str, words: list[str], tmp_path: Path) -> None:
    # None makes the import of a module fail as if it were not installed.
    code = f"import sys; sys.modules[{missing!r}] = None\n{CONSOLE}"
    line = f'Error: {words[0]} needs the package {missing}: pip install "glideslope[train]"\n'
    assert console(tmp_path, *words, code=code) == (2, "", line)
    assert console(tmp_path, "--help", code=code)[0] == 0


@pytest.mark.parametrize(
    ("module", "words"),
    [("hydra", ["train"]), ("torch", ["evaluate", "policy=expert"]), ("glideslope.cli.train", ["preview"])],
)
def test_an_interrupt_while_the_console_command_loads_is_quiet(module: str, words: list[str], tmp_path: Path) -> None:
    starter = tmp_path / "glideslope"
    starter.write_text(CONSOLE)
    arguments = [sys.executable, "-c", INTERRUPTED, str(int(signal.SIGINT)), module, str(starter), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
