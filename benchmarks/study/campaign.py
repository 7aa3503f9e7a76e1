"""Trains the runs of a part that ``results/`` lacks, as sweeps, and records each as soon as it is finished.

    python -m benchmarks.study.campaign presets --jobs 2

Started again, it trains what is missing: runs that have begun resume from their snapshots in ``exp_local/study``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.study.parts import PARTS, Block, Run
from benchmarks.study.records import add, recorded, runs_of
from glideslope.cli.entry import BY_SIGNAL
from glideslope.evaluation.comparison.runs import read_runs
from glideslope.runs.run_folder import FINISHED, runs_below, typed_overrides

ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS = 10.0
_BATCH = 5  # seeds of a sweep


def main(argv: Sequence[str]) -> int:
    """Train some parts; return the worst exit status of their sweeps, and stop at one that was interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args(argv)
    worst = 0
    for name in arguments.parts:
        for block in PARTS[name]:
            for runs in _batches(name, block):
                status = _sweep(name, block, runs, arguments.jobs)
                if status > BY_SIGNAL:
                    return status
                worst = max(worst, status)
    return worst


def _missing(part: str, block: Block) -> list[Run]:
    known = recorded(part)
    return [run for run in block.runs() if run.key not in known]


def _batches(part: str, block: Block) -> Iterator[list[Run]]:
    """Yield the missing runs in grids: seeds that lack the same schedules."""
    seeds = [(seed, list(group)) for seed, group in groupby(_missing(part, block), key=lambda run: run.seed)]
    for _, alike in groupby(seeds, key=lambda pair: [run.schedule for run in pair[1]]):
        rest = list(alike)
        for start in range(0, len(rest), _BATCH):
            yield [run for _, runs in rest[start : start + _BATCH] for run in runs]


def _sweep(part: str, block: Block, runs: Sequence[Run], jobs: int) -> int:
    """Train runs of a block as a sweep; return its exit status, as a shell tells it."""
    folder = ROOT / "exp_local" / "study" / part / block.name
    listed = {key: ",".join(dict.fromkeys(str(getattr(run, key)) for run in runs)) for key in ("seed", "schedule")}
    words = (f"seed={listed['seed']}", f"lr_schedule={listed['schedule']}", *block.overrides)
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", f"hydra.sweep.dir={folder}")
    print(f"{part}, {block.name}: {len(runs)} runs: {' '.join(words)}", flush=True)
    sweep = subprocess.Popen([sys.executable, "train_gimbal_curriculum.py", "-m", *launcher, *words], cwd=ROOT)
    try:
        while True:
            try:
                status = sweep.wait(_LOOK_SECONDS)
                return BY_SIGNAL - status if status < 0 else status
            except subprocess.TimeoutExpired:
                _collect(part, folder, runs)
    finally:
        sweep.wait()
        _collect(part, folder, runs)


def _collect(part: str, folder: Path, runs: Sequence[Run]) -> None:
    """Record the finished runs that are not recorded yet. What a run was is in the words that it was started with."""
    known = recorded(part)
    missing = {(run.schedule, str(run.seed)): run for run in runs if run.key not in known}
    for path in runs_below(folder) if folder.exists() else ():
        typed = dict(word.split("=", 1) for word in typed_overrides(path) if "=" in word)
        run = missing.get((typed.get("lr_schedule", ""), typed.get("seed", "")))
        if run is not None and (path / FINISHED).exists():
            found, _ = read_runs([path])
            if found and found[0].finished:
                add(part, run, found[0])
                row = runs_of(part)[-1]
                print(
                    f"{run.block} {run.schedule} {run.seed}: landed {row['landed']}, {row['minutes']} min", flush=True
                )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
