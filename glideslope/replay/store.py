"""The replay buffer on disk: what was stored between two snapshots is one file, never changed afterwards.

A snapshot holds a manifest: the buffer's counters and the list of these files, the segments. The ring of that
moment is the segments written over each other in order. So a run that is killed at any time resumes with exactly
the buffer of its snapshot, also with what the ring has overwritten since, and each snapshot costs what is new.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glideslope.errors import UserError
from glideslope.replay.buffer import EXTENTS, ReplayBuffer
from glideslope.storage import archive
from glideslope.storage.atomic_files import remove_temporaries

FORMAT = 1
_NAME = re.compile(r"segment_(\d{6,})\.pt")


class ReplayError(UserError):
    """A replay buffer can't be restored: the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file as its manifest lists it; the numbers are those of `ReplayBuffer.rows_since`."""

    file: str
    bytes: int
    fingerprint: int  # of the file's contents: tells a segment from that of another run or another time
    first_slot: list[int]
    end_slot: list[int]
    first_transition: list[int]
    end_transition: list[int]


class ReplayStore:
    """Keeps one buffer in one folder, which nobody else writes to."""

    def __init__(self, folder: Path, buffer: ReplayBuffer) -> None:
        self._folder = folder
        self._buffer = buffer
        # Everything up to these counters is in the segments.
        self._saved = _none_of(buffer)
        self._segments: list[Segment] = []

    def save(self) -> dict[str, Any]:
        """Write what is new since the last save; returns the manifest, tensors and plain data.

        Raises:
            OSError: it can't be written; the disk may be full. The next save covers this one's part too.
        """
        if not all((self._folder / segment.file).is_file() for segment in self._segments):
            # Somebody has removed files: what they held is still in the buffer.
            self._segments, self._saved = [], _none_of(self._buffer)
        counters = self._buffer.counters()
        if counters["written"] != self._saved["written"]:
            self._segments.append(self._write())
            self._saved = counters
        oldest = self._oldest_slots(counters["written"])
        self._segments = [segment for segment in self._segments if _reaches(segment.end_slot, oldest)]
        return {
            "format": FORMAT,
            "buffer": self._buffer.settings(),
            "counters": counters,
            "generator": self._buffer.generator_state(),
            "segments": [asdict(segment) for segment in self._segments],
        }

    def load(self, manifest: Mapping[str, Any]) -> None:
        """Restore the buffer as it was when `save` returned this; later saves build on it.

        Raises:
            ReplayError: the manifest doesn't fit the buffer, or a segment is missing, damaged or another
                one. The buffer is empty then.
        """
        self._segments, self._saved = [], _none_of(self._buffer)
        self._buffer.clear()
        try:
            segments = self._listed(manifest)
            for segment in segments:
                self._take(segment)
            self._buffer.restore(manifest["counters"], manifest["generator"])
        except BaseException as error:
            self._buffer.clear()
            if isinstance(error, AttributeError | KeyError | TypeError | ValueError):
                raise ReplayError(f"{self._folder}: the snapshot's list of segments is damaged: {error}") from error
            raise
        self._segments, self._saved = segments, self._buffer.counters()

    def prune(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Remove the segments that neither one of these manifests nor the next save's needs.

        Raises:
            OSError: a file can't be removed.
        """
        needed = {segment.file for segment in self._segments}
        needed |= {segment["file"] for manifest in manifests for segment in manifest["segments"]}
        for file in self._files():
            if file.name not in needed:
                file.unlink(missing_ok=True)
        remove_temporaries(self._folder)

    def _write(self) -> Segment:
        self._folder.mkdir(parents=True, exist_ok=True)
        # A number of its own: segments after the snapshot that a run resumes from may still be there.
        number = 1 + max((_number(file) for file in self._files()), default=0)
        path = self._folder / f"segment_{number:06}.pt"
        rows = self._buffer.rows_since(self._saved)
        content = {"format": FORMAT, "buffer": self._buffer.settings(), "rows": rows}
        archive.write(path, content)
        ends = {key: rows[key].tolist() for key in EXTENTS}
        return Segment(path.name, path.stat().st_size, archive.fingerprint(path), **ends)

    def _take(self, segment: Segment) -> None:
        """Read a segment into the buffer's rows."""
        path = self._folder / segment.file
        try:
            content = archive.read(path)
            fingerprint = archive.fingerprint(path)
        except FileNotFoundError as error:
            raise ReplayError(f"{path}: is missing") from error
        except (OSError, zipfile.BadZipFile) as error:
            raise ReplayError(f"{path}: can't be read: {error}") from error
        except UserError as error:
            raise ReplayError(str(error)) from error
        if not isinstance(content, dict) or not {"format", "buffer", "rows"} <= content.keys():
            raise ReplayError(f"{path}: is not a replay segment of this program")
        if content["format"] != FORMAT:
            raise ReplayError(f"{path}: has segment format {content['format']}, this version reads format {FORMAT}")
        if fingerprint != segment.fingerprint:
            raise ReplayError(f"{path}: is not the file that the snapshot was written with")
        try:
            self._buffer.put_rows(content["rows"])
        except (TypeError, ValueError) as error:
            raise ReplayError(f"{path}: doesn't fit the buffer: {error}") from error

    def _listed(self, manifest: Mapping[str, Any]) -> list[Segment]:
        """Return the segments of a manifest that can be one of this buffer's.

        Raises ReplayError, or Python's own errors where it is no manifest at all.
        """
        if manifest["format"] != FORMAT:
            raise ReplayError(f"the replay buffer has format {manifest['format']}, this version reads format {FORMAT}")
        stored, ours = manifest["buffer"], self._buffer.settings()
        if stored != ours:
            differing = [key for key in ours if stored.get(key) != ours[key]]
            faults = ", ".join(f"{key} {stored.get(key)} instead of {ours[key]}" for key in differing)
            raise ReplayError(f"{self._folder}: is of a replay buffer with {faults}")
        segments = [Segment(**segment) for segment in manifest["segments"]]
        for segment in segments:
            if not _NAME.fullmatch(segment.file):
                raise ReplayError(f"{self._folder}: {segment.file!r} is no segment's name")
        counters = manifest["counters"]
        slots = [(segment.first_slot, segment.end_slot) for segment in segments]
        transitions = [(segment.first_transition, segment.end_transition) for segment in segments]
        oldest = self._oldest_slots(counters["written"])
        if not _covered(slots, oldest, counters["written"]) or not _covered(
            transitions, counters["lost"], counters["started"]
        ):
            raise ReplayError(f"{self._folder}: the snapshot's list of segments has a gap")
        return segments

    def _oldest_slots(self, written: Sequence[int]) -> list[int]:
        """Return the number of the oldest slot that the ring still holds, per environment."""
        slots = self._buffer.settings()["slots"]
        return [max(0, end - slots) for end in written]

    def _files(self) -> list[Path]:
        return [file for file in self._folder.glob("segment_*.pt") if _NAME.fullmatch(file.name)]


def _none_of(buffer: ReplayBuffer) -> dict[str, list[int]]:
    return {key: [0] * len(counter) for key, counter in buffer.counters().items()}


def _number(file: Path) -> int:
    found = _NAME.fullmatch(file.name)
    return int(found[1]) if found else 0


def _reaches(ends: Sequence[int], oldest: Sequence[int]) -> bool:
    """Return whether any environment's numbers reach one that is still held."""
    return any(end > first for end, first in zip(ends, oldest, strict=True))


def _covered(extents: Sequence[tuple[Sequence[int], Sequence[int]]], first: Sequence[int], end: Sequence[int]) -> bool:
    """Return whether extents in order leave out no number from `first` to `end`, and reach no further."""
    reached = np.asarray(first)
    for begins, ends in extents:
        reached = np.where(np.asarray(begins) <= reached, np.maximum(reached, ends), reached)
    return bool((reached == np.asarray(end)).all())
