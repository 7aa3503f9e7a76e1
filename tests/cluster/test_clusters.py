"""Sweeps on a cluster of two worker nodes and on submitit: killed, and started again by the same command.

Not in `make test`: `make test-cluster` runs these, with what the extra [sweep] installs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glideslope.runs.run_folder import holder_here
from tests.support.sweeps import assert_unharmed, killed_and_started_again, start, wait_for_snapshot

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A Ray cluster of a head without processors and two workers of one each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra [sweep]")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield made
    made.shutdown()


def test_a_sweep_on_ray_outlives_its_driver_and_a_node(tmp_path: Path, cluster) -> None:
    words = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster.address}", "seed=1,2,3,4,5,6"]
    again = killed_and_started_again(tmp_path, *words)
    while len(list(tmp_path.rglob("finished.json"))) < 2:
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.1)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert_unharmed(tmp_path, range(1, 7), output)


def test_a_sweep_on_joblib_outlives_its_driver_and_a_worker(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="takes as long as the others: with the extra [sweep]")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2,3,4,5,6"]
    again = killed_and_started_again(tmp_path, *words)
    while not (finished := list(tmp_path.rglob("finished.json"))):
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.1)
    done = {path.parent for path in finished}
    pids = [holder_here(path.parent) for path in tmp_path.rglob("output.log") if path.parent not in done]
    os.kill(next(pid for pid in pids if pid), signal.SIGKILL)
    output = again.communicate()[0]
    assert again.returncode == 1, output
    assert "jobs failed:" in output
    third = start(tmp_path, *words)
    output = third.communicate()[0]
    assert third.returncode == 0, output
    assert_unharmed(tmp_path, range(1, 7), output)


def test_a_sweep_on_submitit_outlives_its_driver(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra [sweep]")
    words = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60", "seed=1,2,3,4,5,6"]
    again = killed_and_started_again(tmp_path, *words)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert_unharmed(tmp_path, range(1, 7), output)


def test_a_pre_empted_job_is_requeued_from_its_snapshot(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra [sweep]")
    words = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60", "seed=1,2"]
    sweep = start(tmp_path, *words)
    wait_for_snapshot(tmp_path, sweep)
    (lock, *_) = (path.parent / ".lock" for path in tmp_path.rglob("snapshot.pt"))
    os.kill(int(lock.read_text().split()[0]), signal.SIGUSR2)
    output = sweep.communicate()[0]
    assert sweep.returncode == 0, output
    log = (lock.parent / "output.log").read_text()
    assert "Stopped at frame" in log
    assert "Resuming" in log
    assert len(list(tmp_path.rglob("finished.json"))) == 2
