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
from typing import Any, NamedTuple

import numpy as np
import torch

from glideslope.errors import UserError
from glideslope.replay.buffer import EXTENTS, ReplayBuffer
from glideslope.settings import WHOLE, Share
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


class Unsaved(NamedTuple):
    """What a buffer holds that its folder doesn't."""

    counters: dict[str, list[int]]
    rows: dict[str, torch.Tensor]  # of `ReplayBuffer.rows_since`


def joined(parts: Sequence[Unsaved]) -> Unsaved:
    """Return what is unsaved of several shares' buffers, in order, as that of one with all their environments."""
    counters = {key: [number for part in parts for number in part.counters[key]] for key in parts[0].counters}
    return Unsaved(counters, {key: torch.cat([part.rows[key] for part in parts]) for key in parts[0].rows})


class ReplayStore:
    """Keeps one buffer in one folder, which nobody else writes to.

    Of a buffer that is a `share` of several, the folder holds the whole; the process that writes it is handed that.
    """

    def __init__(self, folder: Path, buffer: ReplayBuffer, share: Share = WHOLE) -> None:
        self._folder = folder
        self._buffer = buffer
        self._share = share
        self._settings = buffer.settings()
        self._settings["num_envs"] *= share.count
        # Everything up to these counters is in the segments.
        self._saved = self._none()
        self._segments: list[Segment] = []

    def saved(self) -> dict[str, list[int]]:
        """Return the counters, of the whole, up to which everything is in the folder."""
        if not all((self._folder / segment.file).is_file() for segment in self._segments):
            # Somebody has removed files: what they held is still in the buffer.
            self._segments, self._saved = [], self._none()
        return self._saved

    def unsaved(self, saved: Mapping[str, list[int]]) -> Unsaved:
        """Return what this share holds beyond the counters ``saved`` of the whole."""
        return Unsaved(self._buffer.counters(), self._buffer.rows_since(self._own(saved)))

    def save(self, whole: Unsaved | None = None) -> dict[str, Any]:
        """Write what is new since the last save; returns the manifest, tensors and plain data.

        Args:
            whole: `unsaved` of all shares, joined; not needed for a buffer that is no share.

        Raises:
            OSError: it can't be written; the disk may be full. The next save covers this one's part too.
        """
        saved = self.saved()
        counters, rows = whole or self.unsaved(saved)
        if counters["written"] != saved["written"]:
            self._segments.append(self._write(rows))
            self._saved = counters
        oldest = self._oldest_slots(counters["written"])
        self._segments = [segment for segment in self._segments if _reaches(segment.end_slot, oldest)]
        return {
            "format": FORMAT,
            "buffer": self._settings,
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
        self._segments, self._saved = [], self._none()
        self._buffer.clear()
        try:
            segments = self._listed(manifest)
            for segment in segments:
                self._take(segment)
            self._buffer.restore(self._own(manifest["counters"]), manifest["generator"])
        except BaseException as error:
            self._buffer.clear()
            if isinstance(error, AttributeError | KeyError | TypeError | ValueError):
                raise ReplayError(f"{self._folder}: the snapshot's list of segments is damaged: {error}") from error
            raise
        self._segments = segments
        self._saved = {key: list(counter) for key, counter in manifest["counters"].items()}

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

    def _write(self, rows: Mapping[str, torch.Tensor]) -> Segment:
        self._folder.mkdir(parents=True, exist_ok=True)
        # A number of its own: segments after the snapshot that a run resumes from may still be there.
        number = 1 + max((_number(file) for file in self._files()), default=0)
        path = self._folder / f"segment_{number:06}.pt"
        content = {"format": FORMAT, "buffer": self._settings, "rows": dict(rows)}
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
            self._buffer.put_rows(self._own_rows(content["rows"]))
        except (TypeError, ValueError) as error:
            raise ReplayError(f"{path}: doesn't fit the buffer: {error}") from error

    def _listed(self, manifest: Mapping[str, Any]) -> list[Segment]:
        """Return the segments of a manifest that can be one of this buffer's.

        Raises ReplayError, or Python's own errors where it is no manifest at all.
        """
        if manifest["format"] != FORMAT:
            raise ReplayError(f"the replay buffer has format {manifest['format']}, this version reads format {FORMAT}")
        stored, ours = manifest["buffer"], self._settings
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
        slots = self._settings["slots"]
        return [max(0, end - slots) for end in written]

    def _own(self, counters: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """Return the counters of the share's environments."""
        envs = self._share.rows(self._settings["num_envs"])
        return {key: list(counter[envs]) for key, counter in counters.items()}

    def _own_rows(self, rows: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return the rows of the share's environments."""
        if self._share.count == 1:
            return rows
        envs = self._share.rows(self._settings["num_envs"])

        def places(kind: str) -> slice:
            ends = np.cumsum(rows[f"end_{kind}"].numpy() - rows[f"first_{kind}"].numpy())
            return slice(int(ends[envs.start - 1]) if envs.start else 0, int(ends[envs.stop - 1]))

        slots, transitions = places("slot"), places("transition")
        where = {**dict.fromkeys(rows, slots), **dict.fromkeys(EXTENTS, envs), "order": transitions}
        return {key: value[where[key]] for key, value in rows.items()}

    def _none(self) -> dict[str, list[int]]:
        """Return the counters of an empty buffer."""
        return {key: [0] * self._settings["num_envs"] for key in self._buffer.counters()}

    def _files(self) -> list[Path]:
        return [file for file in self._folder.glob("segment_*.pt") if _NAME.fullmatch(file.name)]


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
