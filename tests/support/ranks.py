"""Trainings in two processes, as torchrun starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def start_two(folder: Path, *words: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Start a training in two processes in the run folder ``folder``; torchrun restarts them so many times."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    torchrun.append(f"--max-restarts={restarts}")
    command = [*torchrun, str(ROOT / "train_gimbal_curriculum.py"), *words, f"hydra.run.dir={folder}", "num_threads=1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train_in_two(folder: Path, *words: str) -> str:
    """Train to the end in two processes; return what they print."""
    training = start_two(folder, *words)
    output, _ = training.communicate()
    assert training.returncode == 0, output
    return output
