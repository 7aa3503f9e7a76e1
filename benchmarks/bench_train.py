"""Frames per second of a whole training, profile=cpu, after the seed frames. ``python -m benchmarks.bench_train``."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def measure(frames: int = 8000) -> Iterator[tuple[str, float, str]]:
    """One short training in a process of its own; logging is included, evaluations and snapshots are not."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, "train_gimbal_curriculum.py", "profile=cpu", f"num_train_frames={frames}"),
                *(f"hydra.run.dir={folder}/run", "final_eval_episodes=1", "save_video=false"),
                *(f"eval_every_frames={2 * frames}", f"snapshot_every_frames={2 * frames}"),
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with open(Path(folder) / "run" / "train.csv", newline="") as file:
            speeds = [float(row["train/fps"]) for row in csv.DictReader(file) if row["train/fps"]][1:]
    yield "training, profile=cpu, end to end", sorted(speeds)[len(speeds) // 2], "frames/s"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:60} {figure:10,.1f} {unit}")
