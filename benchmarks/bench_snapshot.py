"""What a snapshot costs a training of profile=cpu. ``python -m benchmarks.bench_snapshot``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.timing import rate
from glideslope.build import make_agent, make_env, make_replay, use_threads
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.replay.store import ReplayStore
from glideslope.runs.snapshots import Snapshots
from glideslope.settings import Settings
from glideslope.training.experience import newest

ROUNDS = 5


def measure() -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit: a rolling snapshot, the replay buffer's new file, and both as a share of training."""
    settings = compose(TRAIN_CONFIG, ["profile=cpu", "device=cpu"], Settings).settings
    use_threads(settings.num_threads)
    env = make_env(settings, settings.num_envs, settings.curriculum.stages[0], "cpu")
    agent, replay = make_agent(settings, "cpu"), make_replay(settings, "cpu")
    observation, _ = env.reset(seed=0)
    rows = newest(observation)
    replay.add_first(np.arange(settings.num_envs), **rows)
    actions = np.zeros((settings.num_envs, env.single_action_space.shape[0]), np.float32)
    nothing, never = np.zeros(settings.num_envs), np.zeros(settings.num_envs, bool)

    def store_an_interval() -> None:
        for _ in range(settings.snapshot_every_frames // settings.num_envs):
            replay.add(actions, nothing, never, never, rows["frame"], rows["state"], rows["privileged"])

    store_an_interval()
    batch = replay.sample(settings.batch_size)
    updates = rate(lambda: agent.update(batch, 1.0), 4.0)
    with tempfile.TemporaryDirectory() as folder:
        store, snapshots = ReplayStore(Path(folder) / "replay", replay), Snapshots(Path(folder), 4)
        segments, rolling, states = [], [], []
        for _ in range(ROUNDS):
            store_an_interval()
            began = time.perf_counter()
            manifest = store.save()
            segments.append(time.perf_counter() - began)
            began = time.perf_counter()
            state = env.state_dict()
            states.append(time.perf_counter() - began)
            began = time.perf_counter()
            content = {"agent": agent.state_dict(), "run": {"env": state, "replay": manifest}}
            snapshots.save_rolling(content)
            rolling.append(time.perf_counter() - began)
    env.close()
    segment, snapshot = float(np.median(segments)), float(np.median(rolling))
    learning = settings.snapshot_every_frames / settings.update_every_steps / updates
    yield "snapshot, profile=cpu: networks, optimizers, environments, to the disk", 1e3 * snapshot, "ms"
    yield "snapshot, profile=cpu: 10,000 frames of the replay buffer, to the disk", 1e3 * segment, "ms"
    yield "snapshot, profile=cpu: the state of 16 environments", 1e3 * float(np.median(states)), "ms"
    share = 100 * (segment + snapshot) / learning
    yield "snapshots, one in 10,000 frames, profile=cpu, share of the updates' time", share, "%"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:80} {figure:8,.2f} {unit}")
