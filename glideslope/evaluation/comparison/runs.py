"""The runs of a comparison: found below the places that the user names, and read from their folders.

A run that is damaged or unfinished is no error: it is named, with the reason.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.display.figures import stage_entries
from glideslope.errors import Fault, SettingsError, UserError, listed, meant, reason
from glideslope.runs.run_folder import CONFIG, EVAL_CSV, FINISHED, TRAIN_CSV, has_run, read_config, typed_overrides
from glideslope.settings import Settings
from glideslope.storage.csv_table import read_csv_table

_NAMED = 8  # names that a message lists

Array = NDArray[np.float64]
Table = Mapping[str, Array]


@dataclass(frozen=True)
class LeftOut:
    """A run that the figures leave out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class RecordedRun:
    """What a run's folder says."""

    path: Path  # the folder
    settings: Mapping[str, Any]  # the resolved settings, plain data
    overrides: tuple[str, ...]  # the overrides as typed
    frames: int  # how far the run has got
    unfinished: str  # why it is not finished; empty for a finished one
    minutes: float  # how long a finished run took; NaN where nothing says it
    scores: Mapping[int, Mapping[str, Any]]  # the held-out results by stage, of a finished run
    train: Table  # columns of train.csv
    evaluation: Table  # columns of eval.csv

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return not self.unfinished

    @property
    def last_stage(self) -> int:
        """Index of the curriculum's last stage."""
        return int(self.settings["curriculum"]["last_stage"])

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages that are played."""
        stages = self.settings["curriculum"]["stages"]
        return tuple(str(stage["name"]) for stage in stages[: self.last_stage + 1])

    @property
    def stratum(self) -> str:
        """What the run's score is a score of: its task and the last stage."""
        last = self.settings["curriculum"]["stages"][self.last_stage]
        return json.dumps([self.settings.get("task"), last], sort_keys=True)

    @property
    def landed(self) -> float:
        """Held-out success rate on the last stage; NaN where there is none."""
        return float(self.scores.get(self.last_stage, {}).get("success_rate", math.nan))

    @property
    def curve(self) -> tuple[Array, Array]:
        """(E,) frames and (E,) success rates of the evaluations in training."""
        frame, rate = _columns(self.evaluation, "frame", "eval/success_rate")
        known = np.isfinite(rate)
        return frame[known], rate[known]

    @property
    def entries(self) -> dict[int, float]:
        """The frame at which each stage was first entered, by index; training begins in its first one."""
        frame, stage = _columns(self.train, "frame", "curriculum/stage")
        names = tuple(str(index) for index in range(self.last_stage + 1))
        entered: dict[int, float] = {}
        for at, name in stage_entries(frame, stage, names):
            entered.setdefault(int(name.removeprefix("stage ")), at if entered else 0.0)
        return entered

    def rates(self, network: str) -> tuple[Array, Array]:
        """Return (R,) frames and (R,) learning rates of a network; a rate holds until the next frame."""
        frame, rate = _columns(self.train, "frame", f"lr_{network}")
        known = np.isfinite(rate)
        return frame[known], rate[known]

    def frames_to(self, success_rate: float) -> float:
        """Return the first evaluation on the last stage at or above this rate; infinite where there is none."""
        frame, stage, rate = _columns(self.evaluation, "frame", "eval/stage", "eval/success_rate")
        good = (stage == self.last_stage) & (rate >= success_rate)
        return float(frame[good].min()) if good.any() else math.inf


def _columns(table: Table, *names: str) -> list[Array]:
    """Return the columns of a table; all empty where one is missing."""
    missing = any(name not in table for name in names)
    return [np.empty(0) if missing else table[name] for name in names]


# --- Finding --------------------------------------------------------------------------------------


def find_runs(places: Sequence[str | Path], key: str = "runs") -> list[Path]:
    """Return the run folders at or below `places`, each once, in order of path below each place.

    Raises:
        SettingsError: a place is missing, is a file, or has no run below it; with what is there instead.
    """
    found: dict[Path, Path] = {}
    faults: list[Fault] = []
    for place in places:
        path = Path(place).expanduser()
        try:
            runs = list(_below(path)) if path.is_dir() else []
            if not runs:
                faults.append(Fault(key, place, _instead(path)))
        except OSError as error:
            faults.append(Fault(key, place, f"can't be read: {reason(error)}"))
            continue
        for run in runs:
            found.setdefault(run.resolve(), run)
    if faults:
        raise SettingsError(faults)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(path):
        here = Path(folder)
        if has_run(here):
            names.clear()
            yield here
        # Hidden folders are other programs'; in order, so that numbered runs stay in theirs.
        names[:] = sorted((name for name in names if not name.startswith(".")), key=_natural)


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """10_lr after 9_lr.

    >>> sorted(["10_b", "9_a", "x"], key=_natural)
    ['9_a', '10_b', 'x']
    """
    head = name.split("_")[0]
    return ((0, int(head)), (1, name)) if head.isdecimal() else ((1, name),)


def _instead(path: Path) -> str:
    """Return why there is no run at a place, and what is there."""
    around = [folder for folder in path.absolute().parents if has_run(folder)]
    if path.exists() and around:
        return f"is not a run folder, but lies in one: {around[0]}"
    if path.is_file():
        return "is a file; name a run folder, or a folder of runs"
    if not path.is_dir():
        there = sorted(entry.name for entry in _list(path.parent) if entry.is_dir())
        near = meant(path.name, there)
        return f"there is no such folder{near or _those(there, path.parent)}"
    return f"no run in it or below it{_those(sorted(entry.name for entry in _list(path)), None)}"


def _list(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []


def _those(names: Sequence[str], where: Path | None) -> str:
    if not names:
        return "; it is empty" if where is None else ""
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    in_it = "it holds" if where is None else f"{where} holds"
    return f"; {in_it} {listed([*names[:_NAMED], *more], 'and')}"


# --- Reading --------------------------------------------------------------------------------------


def read_runs(paths: Sequence[Path]) -> tuple[list[RecordedRun], list[LeftOut]]:
    """Read runs. Those that can't be read are returned with the reason, and so are unfinished ones."""
    runs: list[RecordedRun] = []
    left_out: list[LeftOut] = []
    for path in paths:
        try:
            run = _read_run(path)
        except (UserError, OSError) as error:
            left_out.append(LeftOut(path, " ".join(str(error).replace(f"{path}{os.sep}", "").split())))
            continue
        runs.append(run)
        if run.unfinished:
            left_out.append(LeftOut(path, run.unfinished))
    return runs, left_out


def _read_run(path: Path) -> RecordedRun:
    if not path.is_dir():
        raise UserError("there is no such folder")
    if not (path / CONFIG).exists():
        raise UserError(f"no {CONFIG}")
    config = read_config(path)
    try:
        # With the defaults that a run of an earlier version lacks.
        config = Settings.from_config(config).to_plain()
    except SettingsError as error:
        if not _is_curriculum(config.get("curriculum")):
            raise UserError(f"{CONFIG} is damaged: {error.faults[0]}") from error
    tables = [path / name for name in (TRAIN_CSV, EVAL_CSV)]
    train, evaluation = (read_csv_table(table) if table.exists() else {} for table in tables)
    logged = [table["frame"][-1] for table in (train, evaluation) if len(table.get("frame", ()))]
    frames = int(max(logged, default=0))
    minutes = math.nan
    scores: dict[int, Mapping[str, Any]] = {}
    unfinished = f"unfinished: at frame {frames:,}"
    if isinstance(config.get("num_train_frames"), int):  # in a run of another version it may be anything
        total = config["num_train_frames"]
        unfinished += f" of {total:,}" + (", before its final evaluation" if frames >= total else "")
    if (path / FINISHED).exists():
        frames, minutes, scores = _read_finished(path / FINISHED)
        last = int(config["curriculum"]["last_stage"])
        unfinished = "" if last in scores else f"{FINISHED} has no result of the last stage"
    return RecordedRun(path, config, typed_overrides(path), frames, unfinished, minutes, scores, train, evaluation)


def _is_curriculum(value: Any) -> bool:
    """Return whether the settings of a run, perhaps of another version, name the stages it played."""
    if not isinstance(value, Mapping) or not isinstance(value.get("last_stage"), int):
        return False
    stages = value.get("stages")
    if not isinstance(stages, list) or not 0 <= value["last_stage"] < len(stages):
        return False
    return all(isinstance(stage, Mapping) and "name" in stage for stage in stages)


def _read_finished(path: Path) -> tuple[int, float, dict[int, Mapping[str, Any]]]:
    """Return the frames, minutes and the held-out results by stage."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scores = [*record.get("stages", ()), record["evaluation"]]
        by_stage = {int(score["stage"]): score for score in scores}
        for score in scores:
            if not all(0.0 <= float(score[name]) <= 1.0 for name in ("success_rate", "low", "high")):
                raise ValueError("a rate is not in [0, 1]")
        return int(record["frames"]), float(record.get("minutes", math.nan)), by_stage
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{FINISHED} is damaged: {said}") from error
