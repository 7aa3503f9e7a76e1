"""Frames per second of one training in one process and in two. ``python -m benchmarks.bench_ranks`` prints a table."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "profile=cpu, environments on a thread of their own": ("parallel=true",),
    "profile=cpu, one thread a process": ("parallel=false",),
    "encoder original, batch 256, one thread a process": (
        *(
            "parallel=false",
            "encoder_bundle@agent=original",
            "batch_size=256",
            "num_train_frames=1400",
            "log_every_frames=100",
        ),
    ),
}


def speed(processes: int, words: Sequence[str]) -> float:
    """Return the median of train.csv's frames per second: without evaluations and snapshots."""
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}") * (processes > 1)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, *launcher, "train_gimbal_curriculum.py", "profile=cpu", "num_threads=1"),
                *("num_train_frames=4500", "log_every_frames=200", f"hydra.run.dir={folder}/run"),
                *("num_seed_frames=1000", "final_eval_episodes=1", "num_eval_episodes=1", "save_video=false"),
                *("eval_every_frames=10000", "snapshot_every_frames=10000", *words),
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with open(Path(folder) / "run" / "train.csv", newline="") as file:
            speeds = [float(row["train/fps"]) for row in csv.DictReader(file) if row["train/fps"]][1:]
    return sorted(speeds)[len(speeds) // 2]


def main() -> None:
    print("| training | 1 process | 2 processes | ratio |\n| --- | ---: | ---: | ---: |")
    for name, words in CASES.items():
        one, two = speed(1, words), speed(2, words)
        print(f"| {name} | {one:.0f} frames/s | {two:.0f} frames/s | {two / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
