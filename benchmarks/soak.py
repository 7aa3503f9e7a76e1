"""Kills a training at random moments, again and again, and compares its end with that of a run left alone.

    python -m benchmarks.soak --kills 100

Every life of the run is a process of its own, started by the same command and ended by kill -9: while it starts,
resumes from a snapshot, learns, evaluates or writes. What is left is checked after each kill. A life that comes to the
end is compared and another run begun. On a processor its weights, optimizers, replay buffer, random states and logs
must be those of the run that was never killed, bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glideslope.build import make_replay
from glideslope.errors import UserError
from glideslope.replay.store import ReplayStore
from glideslope.runs.snapshots import INDEX, load, resume_candidates
from glideslope.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
# From the simulator's state, with a pad so large that random flight lands often: snapshots every few moments,
# stages that change, policies that are kept.
COMMAND = (
    *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", "num_threads=1"),
    *("num_train_frames=20000", "num_seed_frames=500", "replay_buffer_size=10000", "update_every_steps=20"),
    *("snapshot_every_frames=400", "log_every_frames=200", "eval_every_frames=2000"),
    *("num_eval_episodes=4", "final_eval_episodes=4", "lr_schedule=stage_based"),
    *("task.pad_size=14", "task.max_touchdown_speed=10", "task.start_height=[0.5,0.8]"),
    *("curriculum.window=40", "curriculum.min_episodes=20", "curriculum.success_rate=0.4"),
    *("curriculum.require_consecutive_windows=1", "curriculum.min_stage_episodes=300"),
    "curriculum.replay_earlier_stages=0.1",
)
CLOCKS = ("train/fps", "seconds")  # what tells the time of day


@dataclass
class Report:
    """What a soak found."""

    kills: int
    ends: int  # runs that came to their end between the kills, each compared
    lives: list[str]  # what each life had come to
    lost: list[int]  # frames logged at a kill beyond the snapshot that the next life went on from
    damaged: list[str]  # snapshots or replay files that could not be read after a kill
    differences: list[str]  # between the run that was killed and the one that was not


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested values differ, in any bit; clocks aside."""
    if path.rpartition(".")[2] in CLOCKS:
        return []
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        one, other = one.numpy(), other.numpy()
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        same = (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())
        return [] if same else [path]
    if type(one) is not type(other):
        return [f"{path}: {type(one)}, {type(other)}"]
    if isinstance(one, Mapping):
        if list(one) != list(other):
            return [f"{path}: {list(one)}, {list(other)}"]
        return [line for key in one for line in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{path}: lengths {len(one)}, {len(other)}"]
        pairs = enumerate(zip(one, other, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}.{i}")]
    return [] if repr(one) == repr(other) else [f"{path}: {one!r}, {other!r}"]


def state_of(run: Path) -> dict[str, Any]:
    """Everything a run has come to: its last snapshot, what its replay buffer samples from, and its logs."""
    content = load(run / "snapshot.pt")
    manifest = content["run"].pop("replay")
    buffer = make_replay(Settings.from_config(content["settings"]), "cpu")
    ReplayStore(run / "replay", buffer).load(manifest)
    batch, index = buffer.sample(4096), run / INDEX
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = sorted(set(events.Tags()["scalars"]) - set(CLOCKS))
    return {
        "snapshot": content,
        "replay": {name: getattr(batch, name) for name in batch.__dataclass_fields__},
        "counters": {name: np.asarray(values) for name, values in buffer.counters().items()},
        "train.csv": _rows(run / "train.csv"),
        "eval.csv": _rows(run / "eval.csv"),
        "tensorboard": {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags},
        "snapshots": sorted(path.name for path in run.glob("snapshot_*stage*.pt")),
        "best": index.read_text() if index.exists() else "",
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def soak(folder: Path, kills: int, *, seed: int = 0, overrides: Sequence[str] = (), longest: float = 0.05) -> Report:
    """Train once without and once with ``kills`` kills, in ``folder``; a life lasts up to a share of the first's time.

    Raises:
        RuntimeError: a life ended by itself in another way than by finishing.
    """
    draw = random.Random(seed)
    straight, killed = folder / "straight", folder / "killed"
    began = time.monotonic()
    _finish(straight, overrides)
    whole = time.monotonic() - began
    reference = state_of(straight)
    report = Report(0, 0, [], [], [], [])
    while report.kills < kills:
        run = killed / str(report.ends)
        life = _start(run, overrides)
        if draw.random() < 0.2:  # at any moment of the start
            time.sleep(draw.uniform(0.0, 6.0))
        else:  # some time after the first line of the training itself
            _await(life, "elapsed")
            time.sleep(draw.uniform(0.0, longest * whole + 0.3))
        life.send_signal(signal.SIGKILL)
        output = life.communicate()[0]
        if life.returncode == 0:
            _compare(reference, run, report)
        elif life.returncode != -signal.SIGKILL:
            raise RuntimeError(f"a life ended by itself with status {life.returncode}: {output}")
        else:
            report.kills += 1
            _look(run, report)
            print(f"kill {report.kills}: {report.lives[-1]}", flush=True)
    run = killed / str(report.ends)
    _finish(run, overrides)
    _compare(reference, run, report)
    return report


def _compare(reference: Mapping[str, Any], run: Path, report: Report) -> None:
    report.ends += 1
    report.differences += differences(reference, state_of(run), f"run {report.ends}")


def _start(run: Path, overrides: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "train_gimbal_curriculum.py", *COMMAND, *overrides, f"hydra.run.dir={run}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _await(life: subprocess.Popen[str], word: str) -> None:
    assert life.stdout is not None
    for line in life.stdout:
        if word in line:
            return


def _finish(run: Path, overrides: Sequence[str]) -> None:
    life = _start(run, overrides)
    output = life.communicate()[0]
    if life.returncode != 0:
        raise RuntimeError(f"{run} ended with status {life.returncode}: {output}")


def _look(run: Path, report: Report) -> None:
    """What a kill has left: every snapshot must be whole, and the newest one's replay buffer too."""
    snapshots = sorted(run.glob("snapshot*.pt"))
    for path in snapshots:
        try:
            load(path)
        except UserError as error:
            report.damaged.append(str(error))
    newest = next(iter(resume_candidates(run)), None)
    if newest is None:
        report.lives.append("no snapshot yet")
        return
    content = load(newest)
    buffer = make_replay(Settings.from_config(content["settings"]), "cpu")
    try:
        ReplayStore(run / "replay", buffer).load(content["run"]["replay"])
    except UserError as error:
        report.damaged.append(str(error))
    frames = [int(row["frame"]) for row in _whole_rows(run / "train.csv")]
    report.lost.append(max(0, max(frames, default=0) - int(content["frame"])))
    report.lives.append(
        f"{newest.name} at frame {content['frame']}, {report.lost[-1]} logged frames lost, {len(snapshots)} snapshots"
    )


def _whole_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, a torn last line left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="settings of the training, key=value")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), arguments.kills, seed=arguments.seed, overrides=arguments.overrides)
    lost = report.lost or [0]
    print(f"{report.kills} kills, {report.ends} runs to their end")
    print(f"logged frames lost at a kill: mean {sum(lost) / len(lost):.0f}, most {max(lost)}")
    print(f"damaged files: {len(report.damaged)}", *report.damaged, sep="\n  ")
    print(f"differences from the run never killed: {len(report.differences)}", *report.differences, sep="\n  ")
    return 1 if report.damaged or report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
