"""A sweep that is killed and started again by the same command ends like one whose runs were left alone."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.sweeps import assert_unharmed, killed_and_started_again, start, wait_for_snapshot


@pytest.mark.slow
def test_a_killed_sweep_of_two_processes_resumes(tmp_path: Path) -> None:
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"]
    again = killed_and_started_again(tmp_path, *words)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert_unharmed(tmp_path, range(1, 3), output)


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
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "num_train_frames=600"]
    sweep = start(tmp_path, *words, "replay_buffer_size=10000,2147483647")  # which no memory can hold
    output = sweep.communicate()[0]
    assert sweep.returncode == 1, output
    (finished,) = tmp_path.rglob("finished.json")
    (bad,) = (log for log in tmp_path.rglob("output.log") if log.parent != finished.parent)
    assert f"1 of 2 jobs failed:\n  {bad.parent}: status 1; see {bad.relative_to(tmp_path)}\n" in output
    assert "Error: " in bad.read_text()
