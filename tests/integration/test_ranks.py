"""One policy trained by two processes: learns what one learns, resumes to the bit, ends when one dies."""

from __future__ import annotations

import csv
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmarks.soak import COMMAND, differences, state_of
from glideslope.replay.buffer import Ints, ReplayBuffer
from tests.support.ranks import start_two, train_in_two
from tests.support.training import train

pytestmark = pytest.mark.slow

# Small updates, and no change of stage whose moment an action's last bit might move.
STEADY = (
    *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", "lr_schedule=differential"),
    *("num_train_frames=1000", "num_seed_frames=400", "replay_buffer_size=4000", "log_every_frames=100"),
    *("num_eval_episodes=2", "final_eval_episodes=1", "eval_every_frames=1000", "snapshot_every_frames=500"),
)
EVENTFUL = (*COMMAND, "num_train_frames=800", "snapshot_every_frames=200", "parallel=true", "num_eval_episodes=3")


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "train.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw_from_halves(self: ReplayBuffer, batch_size: int) -> tuple[Ints, Ints]:
    """What `ReplayBuffer._draw` does in two processes, each with half of the environments, for half of the batch."""
    bits = torch.randint(2**63 - 1, (batch_size,), generator=self._generator).numpy()
    half, own = self._num_envs // 2, batch_size // 2
    bases, slots = [], []
    for part in range(2):
        envs = np.arange(part * half, (part + 1) * half)
        ends = np.cumsum((self._known - self._lost)[envs])
        rank = bits[part * own : (part + 1) * own] % ends[-1]
        place = np.searchsorted(ends, rank, side="right")
        number = self._known[envs[place]] - (ends[place] - rank)
        bases.append(envs[place] * self._slots)
        slots.append(self._order[bases[-1] + number % self._slots].astype(np.int64))
    return np.concatenate(bases), np.concatenate(slots)


def test_two_processes_learn_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_in_two(tmp_path / "two", *STEADY)
    monkeypatch.setattr(ReplayBuffer, "_draw", draw_from_halves)
    assert train(tmp_path / "one", *STEADY) == 0
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["frame"] for row in one] == [row["frame"] for row in two]
    for alone, together in zip(one, two, strict=True):
        for key in ("lr_encoder", "lr_actor", "lr_critic", "train/stddev", "train/buffer_size", "curriculum/stage"):
            assert alone[key] == together[key]
        for key in alone.keys() - {"frame", "train/fps"}:
            if alone[key] or together[key]:
                assert float(together[key]) == pytest.approx(float(alone[key]), rel=1e-4, abs=1e-5), key


def wait_for_snapshot(run: Path, training: subprocess.Popen[str], after: int = 0) -> int:
    """Wait for a snapshot later than ``after``; return its time."""
    while not (run / "snapshot.pt").exists() or (run / "snapshot.pt").stat().st_mtime_ns <= after:
        assert training.poll() is None, training.communicate()[0]
        time.sleep(0.02)
    return (run / "snapshot.pt").stat().st_mtime_ns


def test_two_processes_resume_to_the_bit(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train_in_two(straight, *EVENTFUL)
    training = start_two(broken, *EVENTFUL, restarts=1)
    first = wait_for_snapshot(broken, training)
    writing = int((broken / ".lock").read_text().split()[0])
    (other,) = (child for child in psutil.Process(training.pid).children() if child.pid != writing)
    other.kill()
    wait_for_snapshot(broken, training, first)  # of the attempt that torchrun makes then
    training.terminate()
    output, _ = training.communicate()
    assert training.returncode != 0
    assert "another process of this training has ended" in output
    assert output.index("Resuming from frame") < output.index("Stopped at frame")
    assert "glideslope/training" not in output  # no traceback of ours
    assert not (broken / "finished.json").exists()
    assert "Resuming from frame" in train_in_two(broken, *EVENTFUL)
    assert differences(state_of(straight), state_of(broken)) == []
    # One process takes over what two have left.
    assert train(broken, *EVENTFUL, "num_train_frames=1000") == 0
    assert rows(broken)[-1]["frame"] == "1000"
