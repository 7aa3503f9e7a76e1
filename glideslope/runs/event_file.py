"""TensorBoard's event files: appended record by record, and cut where a run resumes."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars

from glideslope.storage.append_file import AppendFile, cut

_EVENT_FILE = r"events\.out\.tfevents\.\d{10}\."
_LENGTH = struct.Struct("<Q4x")  # before each record; the checksum of these bytes is skipped
_CHECKSUM = struct.Struct("<I")  # after each record


class EventFile(AppendFile[bytes]):
    """A new event file in a run folder, with TensorBoard's events as records.

    Not a `SummaryWriter`: its thread ends at the first failed write and drops what it had, and its `purge_step`
    hides a resumed run's earlier points from only one of TensorBoard's two readers.

    Args:
        first_frame: the first frame that is logged; TensorBoard hides what earlier files have from there on.
        layout: the charts of the page Custom Scalars, as `SummaryWriter.add_custom_scalars` takes them.

    Raises:
        OSError: it can't be written.
    """

    def __init__(self, run_dir: Path, first_frame: int, layout: dict[str, Any]) -> None:
        super().__init__(_new_path(run_dir), _head(first_frame, layout), b"".join)
        self.append(b"")  # the head alone

    def add(self, *events: Event) -> None:
        """Append events, all or none.

        Raises:
            OSError: they could not be written; they are pending now.
        """
        self.append(b"".join(map(_record, events)))


def cut_events(run_dir: Path, first_of: Callable[[str], int]) -> None:
    """Cut the event files in a run folder behind the last event that is of a frame before its tag's first one to go.

    Raises:
        OSError: a file can't be read or cut.
    """
    for file in _event_files(run_dir):
        cut(file, _kept_size(file.read_bytes(), first_of))


def _event_files(run_dir: Path) -> list[Path]:
    return [file for file in run_dir.iterdir() if re.match(_EVENT_FILE, file.name)]


def _new_path(run_dir: Path) -> Path:
    """Return a name for a new event file that comes after those of all the folder's event files.

    TensorBoard reads them in the order of their names, which begin with a time in seconds: a second run
    within one second, or after the clock was put back, would otherwise be read before the first.
    """
    seconds = [int(file.name.split(".")[3]) for file in _event_files(run_dir)]
    second = max(int(time.time()), *(used + 1 for used in seconds)) if seconds else int(time.time())
    return run_dir / f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}.0"


def _kept_size(records: bytes, first_of: Callable[[str], int]) -> int:
    """Return the bytes of an event file up to the last one that is not of its tag's first frame or later.

    Evaluations, whose first frame may be the others' last one, are the last of their frame.

    A START event alone hides those only from TensorBoard's slower reader; the other keeps a tag's until the
    tag is written again. What can't be read stays: all readers stop there.
    """
    kept = start = 0
    while start + _LENGTH.size <= len(records):
        begin = start + _LENGTH.size
        end = begin + _LENGTH.unpack_from(records, start)[0]
        record, checksum = records[begin:end], records[end : end + _CHECKSUM.size]
        if checksum != _CHECKSUM.pack(masked_crc32c(record)):
            break
        event = Event.FromString(record)
        start = end + _CHECKSUM.size
        tags = [value.tag for value in event.summary.value]
        if not tags or any(event.step < first_of(tag) for tag in tags):
            kept = start
    return kept if kept < start else len(records)


def _head(first_frame: int, layout: dict[str, Any]) -> bytes:
    """Return what an event file begins with."""
    now = time.time()
    source = SourceMetadata(writer="glideslope.runs.logger")
    events = (
        Event(wall_time=now, file_version="brain.Event:2", source_metadata=source),
        Event(wall_time=now, step=first_frame, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=now, summary=custom_scalars(layout)),  # type: ignore[no-untyped-call]
    )
    return b"".join(map(_record, events))


def _record(event: Event) -> bytes:
    """Return an event as its length, its bytes, and checksums of both."""
    record = io.BytesIO()
    RecordWriter(record).write(event.SerializeToString())
    return record.getvalue()
