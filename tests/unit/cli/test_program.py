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
from tests.support.paths import ROOT

# Each starts a program.
pytestmark = pytest.mark.slow

SCRIPTS = ("train_gimbal_curriculum.py", "evaluate.py", "preview_lr_schedule.py")


def command(script: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / script), *words]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_version_is_ours_and_loads_nothing_heavy(script: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", str(ROOT / script), "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"glideslope {__version__}\n"
    loaded = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "glideslope.cli.program" in loaded
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
def test_a_reader_that_has_gone_is_no_fault(
    script: str, words: list[str], statuses: set[int], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    refused = words[0].startswith("num_")
    streams = {"stdout": subprocess.PIPE, "stderr": writing} if refused else {"stdout": writing}
    process = subprocess.Popen(
        command(script, *words), cwd=tmp_path, **{"stderr": subprocess.PIPE, **streams}
    )
    os.close(writing)
    out, err = process.communicate(timeout=60)
    assert process.returncode in statuses
    assert not (out if refused else err)
