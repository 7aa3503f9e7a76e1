"""Snapshots on disk: which there are, how they are written, how they are read.

A snapshot holds tensors and plain data only and is loaded with ``weights_only=True``: reading one can't run code.
It is written beside its place, flushed, and renamed, so a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from glideslope.files import replacing, write_text
from glideslope.settings import UserError

FORMAT = 1
ROLLING = "snapshot.pt"
INDEX = "best_checkpoints.json"
KEEP_PER_STAGE = 3
KEEP_LAST_STAGE = 8
LEAST_SUCCESS_RATE = 0.8


@dataclass(frozen=True)
class Best:
    """An entry of ``best_checkpoints.json``."""

    file: str
    stage: int
    frame: int
    success_rate: float


class Snapshots:
    """The snapshots of one run folder."""

    def __init__(self, run_dir: Path, last_stage: int) -> None:
        self._dir = run_dir
        self._last_stage = last_stage
        self._best: list[Best] = []

    def save_rolling(self, content: Mapping[str, Any]) -> Path:
        """Replace the snapshot that a run goes on from."""
        return save(self._dir / ROLLING, content)

    def save_stage(self, content: Mapping[str, Any], stage: int, name: str, frame: int) -> Path:
        """Keep the policy that mastered ``stage``."""
        return save(self._dir / f"snapshot_stage{stage}_{_slug(name)}_{frame}.pt", content)

    def save_best(
        self, content: Mapping[str, Any], stage: int, frame: int, success_rate: float
    ) -> Path | None:
        """Keep this policy if its evaluation is among the stage's best; returns its file, if kept.

        The best 3 of a stage are kept, 8 in the last one, with a success rate of at least 0.8. Of equal ones
        the later is the better.
        """
        if success_rate < LEAST_SUCCESS_RATE:
            return None
        file = f"snapshot_best_sr{round(100 * success_rate)}_stage{stage}_{frame}.pt"
        entry = Best(file, stage, frame, success_rate)
        rivals = sorted(
            [entry, *(best for best in self._best if best.stage == stage)],
            key=lambda best: (best.success_rate, best.frame),
            reverse=True,
        )
        kept = rivals[: KEEP_LAST_STAGE if stage == self._last_stage else KEEP_PER_STAGE]
        if entry not in kept:
            return None
        path = save(self._dir / file, content)
        self._best = [best for best in self._best if best.stage != stage] + kept
        write_text(self._dir / INDEX, json.dumps([asdict(best) for best in self._best], indent=2) + "\n")
        for dropped in rivals[len(kept) :]:
            (self._dir / dropped.file).unlink(missing_ok=True)
        return path

    def best(self, stage: int) -> Path | None:
        """The stage's best snapshot, or None."""
        entries = [best for best in self._best if best.stage == stage]
        if not entries:
            return None
        return self._dir / max(entries, key=lambda best: (best.success_rate, best.frame)).file


def save(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a snapshot, whole or not at all."""
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)
    return path


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a snapshot without running any code from it.

    Raises:
        UserError: it is missing, damaged, holds anything but tensors and plain data, or has another format.
    """
    try:
        # PyTorch doesn't look at the archive's checksums: a flipped bit in a weight would go unnoticed.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"checksum of {broken}")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such snapshot{_others(path)}") from error
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: is damaged, or holds more than tensors and plain data: not loaded"
        ) from error
    except Exception as error:  # damaged bytes make the readers raise errors of nearly every kind
        raise UserError(f"{path}: is damaged or no snapshot: not loaded") from error
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{path}: is not a snapshot of this program")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path}: has snapshot format {content['format']}, this version reads format {FORMAT}"
        )
    return content


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of a snapshot, for people to look at.

    Attributes:
        path: keys from the top, joined by dots.
        depth: number of keys in the path.
        kind: ``tensor``, ``mapping``, ``list``, or the type of a plain value: ``int``, ``str``, ``none``, ...
        entries: of a mapping or a list, how many it has.
        shape, dtype: of a tensor, such as ``(64, 3)`` and ``float32``.
        bytes: of the tensor, or of all tensors in the mapping or list.
        value: the plain value, or the list where it is all plain; None for tensors and what holds them.
    """

    path: str
    depth: int
    kind: str
    entries: int | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    bytes: int = 0
    value: Any = None


def contents(content: Mapping[str, Any]) -> list[Entry]:
    """What a snapshot holds, each mapping before its parts; a list of plain values is one entry."""
    return [entry for key, value in content.items() for entry in _entries((str(key),), value)]


def _entries(path: tuple[str, ...], value: Any) -> list[Entry]:
    here, depth = ".".join(path), len(path)
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        size = value.numel() * value.element_size()
        return [Entry(here, depth, "tensor", shape=tuple(value.shape), dtype=dtype, bytes=size)]
    if isinstance(value, list | tuple) and not _holds_parts(value):
        return [Entry(here, depth, "list", entries=len(value), value=value)]
    if isinstance(value, Mapping | list | tuple):
        keyed = value.items() if isinstance(value, Mapping) else enumerate(value)
        parts = [_entries((*path, str(key)), part) for key, part in keyed]
        kind = "mapping" if isinstance(value, Mapping) else "list"
        size = sum(part[0].bytes for part in parts)
        inside = [entry for part in parts for entry in part]
        return [Entry(here, depth, kind, entries=len(value), bytes=size), *inside]
    return [Entry(here, depth, "none" if value is None else type(value).__name__, value=value)]


def _holds_parts(value: Any) -> bool:
    """Whether a value is, or holds at any depth, a tensor or a mapping."""
    if isinstance(value, list | tuple):
        return any(map(_holds_parts, value))
    return isinstance(value, torch.Tensor | Mapping)


def newest_snapshot(run_dir: Path) -> Path:
    """The snapshot that best represents a run folder: the best one of the stage that the run reached.

    Where no evaluation of that stage was good enough to be kept, it is the rolling snapshot.

    Raises:
        UserError: the folder has none.
    """
    index, rolling = run_dir / INDEX, run_dir / ROLLING
    if index.exists():
        try:
            entries = [Best(**entry) for entry in json.loads(index.read_text(encoding="utf-8"))]
            there = [entry for entry in entries if (run_dir / entry.file).exists()]
            if there:
                best = max(there, key=lambda best: (best.stage, best.success_rate, best.frame))
                if not rolling.exists() or load(rolling).get("stage", 0) <= best.stage:
                    return run_dir / best.file
        except OSError as error:
            raise UserError(f"{index}: can't be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{index}: is damaged: {error}") from error
    if not rolling.exists():
        raise UserError(f"{run_dir}: holds no snapshot{_others(rolling)}")
    return rolling


def _others(path: Path) -> str:
    names = sorted(file.name for file in path.parent.glob("*.pt")) if path.parent.is_dir() else []
    return f"; there are: {', '.join(names[:8])}" if names else ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
