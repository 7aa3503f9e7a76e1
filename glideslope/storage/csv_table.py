"""Number tables over frames as CSV files: appended row by row during a run, read back for figures.

The first column is `frame`, strictly increasing. Numbers are written so that reading gives the same double
back. An empty cell means "no value", `nan` and `inf` are values: a loss that diverged says so.
"""

from __future__ import annotations

import csv
import io
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from glideslope.errors import UserError
from glideslope.storage.append_file import AppendFile, cut

Number = SupportsFloat | None


class TableError(UserError, ValueError):
    """A file that is not such a table; the message names it and the line."""


class CsvTable:
    """An append-only CSV file; every row is on its way to the disk when `append` returns.

    A row may leave columns out (empty cells) and may bring new ones: the file is then rewritten once, whole
    or not at all, with the new columns at the right and empty cells in the earlier rows.

    A row that can't be written (a full disk, say) is kept in memory, a few kilobytes each, and written
    by the next call that works, in order and once.

    Args:
        path: the file. Created at the first row.
        resume_frame: None for a new table. Otherwise rows up to and including this frame are kept and later
            ones, written by a run that was stopped after its snapshot, are removed, as is a torn last line.
            The file is only ever cut, so that this works on a full disk; without a row left it is removed.

    Raises:
        FileExistsError: a new table is asked for where the file exists.
        TableError: what is to be kept of the file is not such a table. The file is as it was.
        OSError: the existing file can't be read or cut.
    """

    def __init__(self, path: Path, *, resume_frame: int | None = None) -> None:
        self._path = path
        self._last_frame = -1
        columns = ["frame"]
        if path.exists():
            if resume_frame is None:
                raise FileExistsError(f"{path} exists already")
            kept = _read(path, resume_frame)
            if kept.rows:
                cut(path, kept.size)
                columns = kept.columns
                self._last_frame = int(kept.rows[-1][0])
            else:
                path.unlink()
        self._file = _RowFile(path, columns)

    @property
    def last_frame(self) -> int:
        """Frame of the latest row, written or not; -1 before the first."""
        return self._last_frame

    def append(self, frame: int, row: Mapping[str, Number]) -> None:
        """Add one row.

        Raises:
            ValueError: as `check`. Nothing is kept then.
            OSError: the row, or an earlier one, could not be written and is kept for the next call.
        """
        self.check(frame, row)
        record = _Row(str(int(frame)), {name: _cell(value) for name, value in row.items()})
        self._last_frame = int(frame)
        self._file.append(record)

    def check(self, frame: int, row: Mapping[str, Number]) -> None:
        """Check that `append` would take this row.

        Raises:
            ValueError: `frame` is not later than the latest row's, or a column name is empty, `frame` or
                more than one line.
        """
        if frame <= self._last_frame:
            raise ValueError(f"{self._path.name}: frame {frame} comes after frame {self._last_frame}")
        for name in row:
            if not name or name == "frame" or "\n" in name or "\r" in name:
                raise ValueError(f"{self._path.name}: {name!r} can't be a column's name")

    def flush(self) -> None:
        """Bring all rows to the disk itself (fsync).

        Raises:
            OSError: some are not there for certain; they are kept for the next call.
        """
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file. More rows can still be appended: it is opened again.

        Raises:
            OSError: as `flush`. The file is closed all the same.
        """
        self._file.close()


def check_csv_table(path: Path, resume_frame: int) -> None:
    """Check that `CsvTable(path, resume_frame=…)` would take the file; one that doesn't exist is fine.

    Raises:
        TableError: what is to be kept of the file is not such a table.
        OSError: the file can't be read.
    """
    if path.exists():
        _read(path, resume_frame)


def read_csv_table(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns by name, in the file's order, as float64 arrays of equal length; an empty cell is NaN.

    Safe to call on the table of a running training: a line that is only partly written is left out.

    Raises:
        TableError: the file is not such a table.
        OSError: the file can't be read.
    """
    columns, rows, _ = _read(path)
    values = [[float(cell) if cell else math.nan for cell in row] for row in rows]
    array = np.array(values, dtype=np.float64).reshape(len(rows), len(columns))
    return {name: array[:, index].copy() for index, name in enumerate(columns)}


class _Row(NamedTuple):
    frame: str
    values: Mapping[str, str]

    def cells(self, columns: Sequence[str]) -> list[str]:
        return [self.frame, *(self.values.get(name, "") for name in columns[1:])]


class _RowFile(AppendFile[_Row]):
    """Rows as lines below a line of column names; rewritten where a row brings new columns."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        super().__init__(path, _lines([columns]), self._encode_rows)

    def _encode_rows(self, rows: Iterable[_Row]) -> bytes:
        # One write of whole lines, so that a killed run can tear only the last.
        return _lines(row.cells(self._columns) for row in rows)

    def write(self) -> None:
        """Write what is pending, in columns of its own where it needs them.

        Raises:
            OSError: it could not be written and stays pending.
        """
        names = dict.fromkeys(name for row in self._pending for name in row.values)
        if names.keys() <= set(self._columns):
            super().write()
            return
        try:
            earlier = _parse(self.content(), self._path)
        except TableError as error:
            # Somebody else changed the file during the run, and may repair it: the rows wait for that.
            raise OSError(str(error)) from error
        columns = list(dict.fromkeys(["frame", *earlier.columns, *names]))
        rows = [row + [""] * (len(columns) - len(row)) for row in earlier.rows]
        rows += [row.cells(columns) for row in self._pending]
        self.replace(_lines([columns, *rows]), head=_lines([columns]))
        self._columns = columns


class _Table(NamedTuple):
    columns: list[str]
    rows: list[list[str]]
    size: int
    """Bytes of the file from its beginning to the end of the last row."""


def _cell(value: Number) -> str:
    if value is None:
        return ""
    if isinstance(value, numbers.Integral):
        return str(int(value))
    return repr(float(value))


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _read(path: Path, last_frame: float = math.inf) -> _Table:
    return _parse(path.read_bytes(), path, last_frame)


def _parse(text: bytes, path: Path, last_frame: float = math.inf) -> _Table:
    """Return the rows up to `last_frame`, without a torn last line; no columns for a text without a whole line.

    What comes after them is not looked at: a machine that lost its power may have left anything there.
    """
    first, *lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True) or [b""]
    columns = _cells(first)
    if not first:
        return _Table([], [], 0)
    if columns is None or columns[:1] != ["frame"] or len(set(columns)) != len(columns):
        shown = first.rstrip()[:80].decode("utf-8", "replace")
        raise TableError(f"{path}: the first line should name the columns, `frame` first, but is {shown!r}")
    rows: list[list[str]] = []
    last, size = -1, len(first)
    for number, line in enumerate(lines, start=2):
        if last >= last_frame:
            break
        cells = _cells(line)
        if cells is None or not _is_row(cells, len(columns), last):
            shown = line.rstrip()[:80].decode("utf-8", "replace")
            raise TableError(f"{path}, line {number}: not a row of this table: {shown!r}")
        last = int(cells[0])
        if last <= last_frame:
            rows.append(cells)
            size += len(line)
    return _Table(columns, rows, size)


def _cells(line: bytes) -> list[str] | None:
    try:
        return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None


def _is_row(cells: Sequence[str], columns: int, last: int) -> bool:
    try:
        for cell in cells:
            float(cell or 0)
    except ValueError:
        return False
    return len(cells) == columns and cells[0].isdecimal() and int(cells[0]) > last
