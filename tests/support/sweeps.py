"""Sweeps that are programs of their own, and how they should end."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.soak import COMMAND, differences, state_of
from glideslope.runs.run_folder import read_config
from tests.support.paths import ROOT
from tests.support.training import train

SHORT = [*COMMAND, "num_train_frames=1200", "snapshot_every_frames=200"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train_gimbal_curriculum.py"), "-m", *SHORT, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_snapshot(folder: Path, sweep: subprocess.Popen[str]) -> None:
    while not list(folder.rglob("snapshot.pt")):
        assert sweep.poll() is None, sweep.communicate()[0]
        time.sleep(0.02)


def killed_and_started_again(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a sweep, kill it behind its first snapshot, and start it again by the same command."""
    sweep = start(folder, *words)
    wait_for_snapshot(folder, sweep)
    sweep.kill()
    sweep.wait()
    return start(folder, *words)


def assert_unharmed(folder: Path, seeds: range, output: str) -> None:
    """Check that each job was trained once to its end, and has the bits of the same run alone."""
    assert re.search(r"Sweep \(\d of \d jobs are finished, [1-9] resume\)", output), output
    runs = {read_config(path.parent)["seed"]: path.parent for path in folder.rglob("finished.json")}
    assert sorted(runs) == list(seeds)
    jobs = [path for path in runs[1].parent.iterdir() if path.is_dir() and path.name[0] != "."]  # submitit has its own
    assert len(jobs) == len(seeds)
    for seed, run in runs.items():
        alone = folder / f"alone{seed}"
        assert train(alone, *SHORT, f"seed={seed}") == 0
        assert differences(state_of(alone), state_of(run)) == []
