"""Snapshot files of a run folder: their names, which are kept, how they are written and read.

A snapshot holds tensors and plain data only and is loaded with ``weights_only=True``: reading one can't run code.
It is written beside its place, flushed, and renamed, so a crash leaves the old one or the new one.

snapshot.pt, snapshot_previous.pt       what a run resumes from, and the one before
snapshot_stage{i}_{name}_{frame}.pt     the policy that mastered a stage
snapshot_best_sr{pct}_stage{i}_{frame}.pt   the best policies of a stage, listed in best_checkpoints.json
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import torch

from glideslope.errors import UserError, reason
from glideslope.runs.run_folder import ROLLING as ROLLING
from glideslope.storage import archive
from glideslope.storage.atomic_files import write_text

FORMAT = 2
PREVIOUS = "snapshot_previous.pt"
INDEX = "best_checkpoints.json"
KEEP_PER_STAGE = 3
KEEP_LAST_STAGE = 8
LEAST_SUCCESS_RATE = 0.8
ALIKE = 0.02 + 1e-9
"""Success rates that differ by no more than this, one episode of 50, are taken for the same."""

# Is told, in a sentence, of each damaged file that is passed over.
Note: TypeAlias = Callable[[str], None]

_BEST = re.compile(r"snapshot_best_sr\d+_stage(\d+)_(\d+)\.pt")


@dataclass(frozen=True)
class Best:
    """An entry of ``best_checkpoints.json``."""

    file: str
    stage: int
    frame: int
    success_rate: float

    def __post_init__(self) -> None:
        numbers = self.stage, self.frame, self.success_rate
        if not _BEST.fullmatch(str(self.file)) or not all(_is_number(number) for number in numbers):
            raise ValueError(f"{asdict(self)} is no entry of it")


class Snapshots:
    """The snapshots of one run folder, which nobody else writes to.

    resume: keep those that are in the folder; ``note`` is called where the list of the best ones, or one
        that it lacks, is damaged.

    Writing raises OSError where it fails, the disk being full for instance. What was there is still there then.
    """

    def __init__(self, run_dir: Path, last_stage: int, *, resume: bool = False, note: Note | None = None) -> None:
        self._dir = run_dir
        self._last_stage = last_stage
        self._best: list[Best] = []
        # A damaged snapshot must not replace the one before it.
        self._rolling_is_good = False
        if resume:
            self._take_over(note or _ignore)

    def save_rolling(self, content: Mapping[str, Any]) -> Path:
        """Replace the snapshot that a run resumes from; keep the one before as ``snapshot_previous.pt``."""
        rolling = self._dir / ROLLING
        keep = self._rolling_is_good or _load_or_note(rolling, _ignore) is not None
        save(rolling, content, self._dir / PREVIOUS if keep else None)
        self._rolling_is_good = True
        return rolling

    def save_stage(self, content: Mapping[str, Any], stage: int, name: str, frame: int) -> Path:
        """Keep the policy that mastered ``stage``."""
        return save(self._dir / f"snapshot_stage{stage}_{_slug(name)}_{frame}.pt", content)

    def save_best(self, content: Mapping[str, Any], stage: int, frame: int, success_rate: float) -> Path | None:
        """Keep this policy if its evaluation is among the stage's best; returns its file, if kept.

        The best 3 of a stage are kept, 8 in the last one, with a success rate of at least 0.8. Of equal ones
        the later is the better.
        """
        entry = _best(stage, frame, success_rate)
        best = self._with(entry)
        if best is None:
            return None
        # In this order a file without an entry may be left, but never an entry without its file.
        path = save(self._dir / entry.file, {**content, "success_rate": entry.success_rate})
        self._set_best(best)
        return path

    def would_keep(self, stage: int, frame: int, success_rate: float) -> bool:
        """Return whether `save_best` would keep a policy with this evaluation."""
        return self._with(_best(stage, frame, success_rate)) is not None

    def best(self, stage: int) -> list[Path]:
        """Return the stage's best snapshots in the order to choose them in, the best one first."""
        return [self._dir / best.file for best in _by_choice(self._best) if best.stage == stage]

    def _take_over(self, note: Note) -> None:
        """Make the list agree with the files, whenever the run was ended that wrote them."""
        listed = _listed_best(self._dir, note)
        self._best = [*listed, *_unlisted_best(self._dir, listed, note)]
        try:
            if self._best:
                self._set_best(self._kept(self._best))
        except OSError as error:
            note(f"{self._dir / INDEX}: can't be written: {reason(error)}")

    def _with(self, entry: Best) -> list[Best] | None:
        """Return the list once this entry is on it, or None where it isn't good enough."""
        best = self._kept([entry, *(other for other in self._best if other.file != entry.file)])
        return best if entry.success_rate >= LEAST_SUCCESS_RATE and entry in best else None

    def _kept(self, rivals: Sequence[Best]) -> list[Best]:
        kept = []
        for stage in dict.fromkeys(best.stage for best in rivals):
            places = KEEP_LAST_STAGE if stage == self._last_stage else KEEP_PER_STAGE
            kept += _ranked([best for best in rivals if best.stage == stage])[:places]
        return kept

    def _set_best(self, best: Sequence[Best]) -> None:
        """Write the list, then remove the files that are no longer on it."""
        write_text(self._dir / INDEX, json.dumps([asdict(entry) for entry in best], indent=2) + "\n")
        dropped = {entry.file for entry in self._best} - {entry.file for entry in best}
        self._best = list(best)
        for file in dropped:
            (self._dir / file).unlink(missing_ok=True)


def save(path: Path, content: Mapping[str, Any], former: Path | None = None) -> Path:
    """Write a snapshot, whole or not at all; the file that it replaces goes to ``former``.

    Raises:
        OSError: it can't be written; the disk may be full.
    """
    archive.write(path, {"format": FORMAT, **content}, former)
    return path


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a snapshot without running any code from it.

    Raises:
        UserError: it is missing, damaged, holds anything but tensors and plain data, or has another format.
    """
    try:
        content = archive.read(path, device)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such snapshot{_others(path)}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{path}: is not a snapshot of this program")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: has snapshot format {content['format']}, this version reads format {FORMAT}")
    return content


def load_resumable(path: Path) -> dict[str, Any]:
    """Read a snapshot that a run can resume from: one with the part ``run``.

    Raises:
        UserError: as `load`, and where it has no such part.
    """
    content = load(path)
    if not isinstance(content.get("run"), Mapping):
        raise UserError(f"{path}: holds a policy only: no run can resume from it")
    return content


def resume_candidates(run_dir: Path) -> list[Path]:
    """Return the files that a run may resume from, the one of the newest frame first, damaged ones included."""
    frame = math.inf
    places = []
    for rank, name in enumerate((ROLLING, PREVIOUS)):
        path = run_dir / name
        if path.exists():
            # A damaged one keeps the place that it would have: the one before it is no newer.
            frame = _frame(path, frame)
            places.append((-frame, rank, path))
    for path in run_dir.glob("snapshot_best_*.pt"):
        if found := _BEST.fullmatch(path.name):
            places.append((-int(found[2]), 2, path))
    return [path for _, _, path in sorted(places)]


def newest_snapshot(run_dir: Path, note: Note | None = None) -> Path:
    """Return the snapshot that best represents a run folder: the best one of the stage that the run reached.

    Where no evaluation of that stage was good enough to be kept, it is the rolling snapshot. Damaged ones are
    passed over: ``note`` is told of each.

    Raises:
        UserError: the folder has none, or none that can be read.
    """
    faults: list[str] = []

    def tell(fault: str) -> None:
        faults.append(fault)
        (note or _ignore)(fault)

    reached, rolling = -1, None
    for path in (run_dir / ROLLING, run_dir / PREVIOUS):
        content = _load_or_note(path, tell) if rolling is None and path.exists() else None
        if content is not None:
            reached, rolling = content.get("stage", 0), path
    listed = _listed_best(run_dir, tell)
    for best in _by_choice([*listed, *_unlisted_best(run_dir, listed, tell)]):
        if best.stage >= reached and _load_or_note(run_dir / best.file, tell) is not None:
            return run_dir / best.file
    if rolling is not None:
        return rolling
    for path in sorted(run_dir.glob("snapshot_stage*_*.pt"), key=_frame_in_name, reverse=True):
        if _load_or_note(path, tell) is not None:
            return path
    if faults:
        raise UserError("\n".join([f"{run_dir}: holds no snapshot that can be read", *faults]))
    raise UserError(f"{run_dir}: holds no snapshot{_others(run_dir / ROLLING)}")


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """A part of a snapshot, for people to look at."""

    path: str  # keys from the top, joined by dots
    depth: int  # number of keys in the path
    kind: str  # ``tensor``, ``mapping``, ``list``, or the type of a plain value: ``int``, ``str``, ``none``, ...
    entries: int | None = None  # of a mapping or a list, how many it has
    shape: tuple[int, ...] | None = None  # of a tensor, such as ``(64, 3)``
    dtype: str | None = None  # of a tensor, such as ``float32``
    bytes: int = 0  # of the tensor, or of all tensors in the mapping or list
    value: Any = None  # the plain value, or the list where it is all plain; None for tensors and what holds them


def contents(content: Mapping[str, Any]) -> list[SnapshotPart]:
    """Return what a snapshot holds, each mapping before its parts; a list of plain values is one entry."""
    return [entry for key, value in content.items() for entry in _entries((str(key),), value)]


def _entries(path: tuple[str, ...], value: Any) -> list[SnapshotPart]:
    here, depth = ".".join(path), len(path)
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        size = value.numel() * value.element_size()
        return [SnapshotPart(here, depth, "tensor", shape=tuple(value.shape), dtype=dtype, bytes=size)]
    if isinstance(value, list | tuple) and not _holds_parts(value):
        return [SnapshotPart(here, depth, "list", entries=len(value), value=value)]
    if isinstance(value, Mapping | list | tuple):
        keyed = value.items() if isinstance(value, Mapping) else enumerate(value)
        parts = [_entries((*path, str(key)), part) for key, part in keyed]
        kind = "mapping" if isinstance(value, Mapping) else "list"
        size = sum(part[0].bytes for part in parts)
        inside = [entry for part in parts for entry in part]
        return [SnapshotPart(here, depth, kind, entries=len(value), bytes=size), *inside]
    return [SnapshotPart(here, depth, "none" if value is None else type(value).__name__, value=value)]


def _holds_parts(value: Any) -> bool:
    """Return whether a value is, or holds at any depth, a tensor or a mapping."""
    if isinstance(value, list | tuple):
        return any(map(_holds_parts, value))
    return isinstance(value, torch.Tensor | Mapping)


def _frame(path: Path, otherwise: float) -> float:
    frame = (_load_or_note(path, _ignore) or {}).get("frame")
    return float(frame) if _is_number(frame) else otherwise


def _frame_in_name(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1


def _load_or_note(path: Path, note: Note) -> dict[str, Any] | None:
    try:
        return load(path)
    except UserError as error:
        note(str(error))
        return None


def _best(stage: int, frame: int, success_rate: float) -> Best:
    file = f"snapshot_best_sr{round(100 * success_rate)}_stage{stage}_{frame}.pt"
    return Best(file, stage, frame, float(success_rate))


def _ranked(best: Sequence[Best]) -> list[Best]:
    """Return the entries, the highest stage first, within a stage the best first."""
    return sorted(best, key=lambda entry: (entry.stage, entry.success_rate, entry.frame), reverse=True)


def _by_choice(best: Sequence[Best]) -> list[Best]:
    """Return the entries, the highest stage first, within a stage in the order to choose them in.

    Of those that landed about as often as the best one, the latest comes first: rates that differ by one episode of 50
    say nothing, and later policies are more precise.
    """
    order: list[Best] = []
    for stage in sorted({entry.stage for entry in best}, reverse=True):
        ranked = _ranked([entry for entry in best if entry.stage == stage])
        alike = [entry for entry in ranked if entry.success_rate >= ranked[0].success_rate - ALIKE]
        order += sorted(alike, key=lambda entry: entry.frame, reverse=True)
        order += ranked[len(alike) :]
    return order


def _listed_best(run_dir: Path, note: Note) -> list[Best]:
    """Return the entries of the list whose files are there; none where the list is missing or damaged."""
    index = run_dir / INDEX
    try:
        entries = [Best(**entry) for entry in json.loads(index.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except OSError as error:
        note(f"{index}: can't be read: {reason(error)}")
        return []
    except (ValueError, TypeError, RecursionError) as error:
        note(f"{index}: is damaged: {error}")
        return []
    return [entry for entry in entries if (run_dir / entry.file).exists()]


def _unlisted_best(run_dir: Path, listed: Sequence[Best], note: Note) -> list[Best]:
    """Return entries for the files of best snapshots that the list lacks, from what is in them."""
    names = {entry.file for entry in listed}
    entries = []
    for path in sorted(run_dir.glob("snapshot_best_*.pt")):
        found = _BEST.fullmatch(path.name)
        if found is None or path.name in names:
            continue
        content = _load_or_note(path, note)
        if content is not None and _is_number(content.get("success_rate")):
            entries.append(Best(path.name, int(found[1]), int(found[2]), content["success_rate"]))
    return entries


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ignore(fault: str) -> None:
    """Ignore a fault: the default of `note`."""


def _others(path: Path) -> str:
    names = sorted(file.name for file in path.parent.glob("[!.]*.pt")) if path.parent.is_dir() else []
    return f"; there are: {', '.join(names[:8])}" if names else ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
