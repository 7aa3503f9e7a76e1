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
from typing import SupportsFloat, TextIO

import numpy as np
from numpy.typing import NDArray

from glideslope.files import write_text

Number = SupportsFloat | None


class CsvTable:
    """An append-only CSV file; every row is on its way to the disk when `append` returns.

    A row may leave columns out (empty cells) and may bring new ones: the file is then rewritten once, whole
    or not at all, with the new columns at the right and empty cells in the earlier rows.

    Args:
        path: the file. Created at the first row.
        resume_frame: None for a new table. Otherwise rows up to and including this frame are kept and later
            ones, written by a run that was stopped after its snapshot, are removed, as is a torn last line.

    Raises:
        FileExistsError: a new table is asked for where the file exists.
        ValueError: the file to go on with is not such a table.
    """

    def __init__(self, path: Path, *, resume_frame: int | None = None) -> None:
        self._path = path
        self._columns: list[str] = ["frame"]
        self._last_frame = -1
        self._file: TextIO | None = None
        if not path.exists():
            return
        if resume_frame is None:
            raise FileExistsError(f"{path} exists already")
        columns, rows = _parse(path)
        rows = [row for row in rows if int(row[0]) <= resume_frame]
        if not columns:
            path.unlink()
            return
        write_text(path, _lines([columns, *rows]))
        self._columns = columns
        self._last_frame = int(rows[-1][0]) if rows else -1

    @property
    def last_frame(self) -> int:
        """Frame of the latest row; -1 before the first."""
        return self._last_frame

    def append(self, frame: int, row: Mapping[str, Number]) -> None:
        """Adds one row.

        Raises:
            ValueError: `frame` is not later than the latest row's, or a column name is empty, `frame` or
                more than one line. Nothing is written then.
        """
        if frame <= self._last_frame:
            raise ValueError(f"{self._path.name}: frame {frame} comes after frame {self._last_frame}")
        for name in row:
            if not name or name == "frame" or "\n" in name or "\r" in name:
                raise ValueError(f"{self._path.name}: {name!r} can't be a column's name")
        cells = {name: _cell(value) for name, value in row.items()}
        new_columns = [name for name in row if name not in self._columns]
        if new_columns or not self._path.exists():
            self._rewrite(new_columns)
        if self._file is None:
            self._file = self._open()
        # One write of one whole line: a killed run can tear at most the last line.
        self._file.write(_lines([[str(int(frame)), *(cells.get(name, "") for name in self._columns[1:])]]))
        self._last_frame = int(frame)

    def close(self) -> None:
        """Closes the file. More rows can still be appended: it is opened again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> TextIO:
        return self._path.open("a", buffering=1, encoding="utf-8", newline="")

    def _rewrite(self, new_columns: Sequence[str]) -> None:
        rows = _parse(self._path)[1] if self._path.exists() else []
        self.close()
        columns = [*self._columns, *new_columns]
        write_text(self._path, _lines([columns, *([*row, *("" for _ in new_columns)] for row in rows)]))
        self._columns = columns


def read_csv_table(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns by name, in the file's order, as float64 arrays of equal length; an empty cell is NaN.

    Safe to call on the table of a running training: a line that is only partly written is left out.

    Raises:
        ValueError: the file is not such a table.
        OSError: the file can't be read.
    """
    columns, rows = _parse(path)
    try:
        values = [[float(cell) if cell else math.nan for cell in row] for row in rows]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    array = np.array(values, dtype=np.float64).reshape(len(rows), len(columns))
    return {name: array[:, index].copy() for index, name in enumerate(columns)}


def _cell(value: Number) -> str:
    if value is None:
        return ""
    if isinstance(value, numbers.Integral):
        return str(int(value))
    return repr(float(value))


def _lines(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _parse(path: Path) -> tuple[list[str], list[list[str]]]:
    """(column names, rows of cells) without a torn last line; ([], []) for a file without a whole line."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1].decode("utf-8")
    parsed = list(csv.reader(io.StringIO(whole, newline="")))
    if not parsed:
        return [], []
    columns, *rows = parsed
    if columns[:1] != ["frame"] or len(set(columns)) != len(columns):
        raise ValueError(f"{path}: the first line should name the columns, `frame` first, but is {columns}")
    last = -1
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns) or not row[0].isdecimal() or int(row[0]) <= last:
            raise ValueError(f"{path}, line {number}: not a row of this table: {','.join(row)!r}")
        last = int(row[0])
    return columns, rows
