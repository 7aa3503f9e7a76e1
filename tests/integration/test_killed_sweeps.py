"""A sweep that is killed and started again by the same command ends like one whose runs were left alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.soak import COMMAND, differences, state_of
from glideslope.runs.run_folder import read_config
from tests.support.paths import ROOT
from tests.support.training import train

SHORT = [*COMMAND, "num_train_frames=3000", "snapshot_every_frames=200"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train_gimbal_curriculum.py"), "-m", *SHORT, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_snapshot(folder: Path, sweep: subprocess.Popen[str]) -> None:
    while not list(folder.rglob("snapshot.pt")):
        assert sweep.poll() is None, sweep.communicate()[0]
        time.sleep(0.02)


def assert_unharmed(folder: Path, seeds: range, output: str) -> None:
    """Check that each job was trained once to its end, and has the bits of the same run alone."""
    assert re.search(r"Sweep \(\d of \d jobs are finished, [1-9] resume\)", output), output
    runs = {read_config(path.parent)["seed"]: path.parent for path in folder.rglob("finished.json")}
    assert sorted(runs) == list(seeds)
    assert len([path for path in runs[1].parent.iterdir() if path.is_dir()]) == len(seeds)
    for seed, run in runs.items():
        alone = folder / f"alone{seed}"
        assert train(alone, *SHORT, f"seed={seed}") == 0
        assert differences(state_of(alone), state_of(run)) == []


@pytest.mark.slow
def test_a_killed_sweep_of_two_processes_resumes(tmp_path: Path) -> None:
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2,3"]
    sweep = start(tmp_path, *words)
    wait_for_snapshot(tmp_path, sweep)
    sweep.kill()
    sweep.wait()
    again = start(tmp_path, *words)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert_unharmed(tmp_path, range(1, 4), output)
    # What is finished is left alone.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*/snapshot.pt")}
    third = start(tmp_path, *words)
    assert "3 of 3 jobs are finished" in third.communicate()[0]
    assert third.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_stopped_sweep_leaves_snapshots_and_names_its_command(tmp_path: Path) -> None:
    sweep = start(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2")
    wait_for_snapshot(tmp_path, sweep)
    sweep.send_signal(signal.SIGTERM)
    output = sweep.communicate()[0]
    assert sweep.returncode == 128 + signal.SIGTERM, output
    assert "Resume the sweep:" in output
    for log in tmp_path.rglob("output.log"):
        assert "Stopped at frame" in log.read_text() or not (log.parent / "train.csv").exists()


@pytest.mark.slow
def test_a_job_that_fails_elsewhere_is_named_and_the_others_finish(tmp_path: Path) -> None:
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "lr=1e-4,1e30", "num_train_frames=1000"]
    sweep = start(tmp_path, *words)
    output = sweep.communicate()[0]
    assert sweep.returncode == 1, output
    (good,) = tmp_path.rglob("finished.json")
    assert json.loads(good.read_text())["frames"] == 1000
    (bad,) = (path.parent for path in tmp_path.rglob("config.yaml") if path.parent != good.parent)
    assert f"1 of 2 jobs failed:\n  {bad}: status 1; see {(bad / 'output.log').relative_to(tmp_path)}\n" in output
    assert "diverged" in (bad / "output.log").read_text()
