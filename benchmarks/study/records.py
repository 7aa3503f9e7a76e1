"""What the runs of a part came to: two small tables in ``results/``, one row a run and one row an evaluation."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study.parts import Run
from glideslope.evaluation.comparison.runs import Array, RecordedRun
from glideslope.runs.run_folder import VERSIONS
from glideslope.settings import NETWORKS

RESULTS = Path(__file__).parent / "results"
DIAGNOSTICS = ("update_to_weight", "dormant_ratio", "effective_lr")
_END = 0.1  # share of a training, its last, that diagnostics are averaged over

Row = dict[str, str]


def runs_of(part: str) -> list[Row]:
    """Return the row of each run of a part; none where nothing is recorded yet."""
    return _read(RESULTS / f"{part}.csv")


def recorded(part: str) -> set[tuple[str, str, int]]:
    """Return the keys of the runs of a part that are recorded."""
    return set(map(_key, runs_of(part)))


def curves_of(part: str) -> list[Row]:
    """Return every evaluation of a part's runs, in order."""
    return _read(RESULTS / f"{part}_curves.csv")


def add(part: str, run: Run, found: RecordedRun) -> None:
    """Record a finished run."""
    record(part, run.key, zip(*_evaluations(found), strict=True), _figures(found) | {"command": command(run.overrides)})


def record(
    part: str, key: tuple[str, str, int], curve: Iterable[tuple[float, float, float]], figures: Mapping[str, object]
) -> None:
    """Record a run by its evaluations (frame, stage, success rate) and its figures, instead of what is known of it."""
    named = dict(zip(("block", "schedule", "seed"), key, strict=True))
    points = [
        {**named, "frame": int(frame), "stage": int(stage), "success_rate": short(rate)} for frame, stage, rate in curve
    ]
    # The curve first, so that a run always has one.
    _write(RESULTS / f"{part}_curves.csv", [*(row for row in curves_of(part) if _key(row) != key), *points])
    _write(RESULTS / f"{part}.csv", [*(row for row in runs_of(part) if _key(row) != key), {**named, **figures}])


def command(overrides: Iterable[str]) -> str:
    """Return the command that trains one run."""
    return shlex.join(["python", "train_gimbal_curriculum.py", *overrides])


def _figures(run: RecordedRun) -> dict[str, object]:
    """Return a run's figures.

    landed, off_centre, touchdown_speed: of the best snapshot, on held-out scenarios of the whole task.
    final: success rate of the last policy, on the whole task; forgetting: mean over all stages of how far it is below
        the best evaluation.
    frames_to_last: when the whole task was reached; frames_to_90: its first evaluation with at least 90%.
    area: mean success rate on the whole task over the training, zero before that is reached.
    """
    last = run.last_stage
    score, evaluation = run.scores[last], run.evaluation
    frame, stage, rate = _evaluations(run)
    whole = np.where(stage == last, rate, 0.0)
    area = np.trapezoid(np.concatenate(([0.0], whole)), np.concatenate(([0.0], frame))) / run.frames
    figures: dict[str, object] = {
        "landed": short(run.landed),
        "final": short(evaluation[f"eval/success_rate_stage{last}"][-1]),
        "off_centre": short(score.get("touchdown_error_m")),
        "touchdown_speed": short(score.get("touchdown_speed")),
        "frames_to_last": short(frame[stage == last][0] if (stage == last).any() else math.nan),
        "frames_to_90": short(run.frames_to(0.9)),
        "area": short(area),
        "forgetting": short(evaluation["eval/forgetting"][-1]),
    }
    at_end = run.train["frame"] > (1 - _END) * run.frames
    for network in NETWORKS:
        for name in DIAGNOSTICS:
            values = run.train[f"diagnostics/{network}_{name}"][at_end]
            known = values[np.isfinite(values)]
            figures[f"{network}_{name}"] = short(known.mean() if len(known) else math.nan)
    return figures | {"frames": run.frames, "minutes": short(run.minutes), "commit": _commit(run.path)}


def _evaluations(run: RecordedRun) -> tuple[Array, Array, Array]:
    """Return (E,) frames, stages and success rates of the evaluations in training."""
    frame, rate = run.curve
    return frame, run.evaluation["eval/stage"][np.isfinite(run.evaluation["eval/success_rate"])], rate


def _key(row: Row) -> tuple[str, str, int]:
    return row["block"], row["schedule"], int(row["seed"])


def _commit(folder: Path) -> str:
    git = json.loads((folder / VERSIONS).read_text(encoding="utf-8")).get("git") or {}
    return str(git.get("commit", ""))[:7]


def short(value: Any) -> str:
    """Return four significant digits; nothing for what is not there."""
    number = math.nan if value is None else float(value)
    return f"{number:.4g}" if abs(number) < 1000 else f"{number:.0f}" if math.isfinite(number) else ""


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[Mapping[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    with open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(new, path)
