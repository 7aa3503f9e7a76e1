"""A file that only grows, and loses nothing that was given to it when the disk refuses a write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

from glideslope.storage.atomic_files import flush_folder, replacing

Record = TypeVar("Record")


class AppendFile(Generic[Record]):
    """Appends records to a file, in order, each whole and once.

    What a failed write has left of a record is cut off again, and the record stays pending: the next call
    that works writes it first. Records are also kept until `flush` has brought them to the disk, because a
    failed fsync may have lost them. Both take as much memory as the records themselves.

    Args:
        path: the file. Created at the first write, or opened to append to it.
        head: what a file begins with; written where the file is new, or was removed or emptied meanwhile.
        encode: returns the bytes of records, which are written in one go.
    """

    def __init__(self, path: Path, head: bytes, encode: Callable[[Iterable[Record]], bytes]) -> None:
        self._path = path
        self._head = head
        self._encode = encode
        self._file: FileIO | None = None
        self._pending: list[Record] = []
        self._unflushed: list[Record] = []
        # These speak of the file with this device and inode: a user may put another in its place.
        self._identity: tuple[int, int] | None = None
        self._flushed_size = 0
        self._whole_size: int | None = None
        self._name_flushed = False

    def append(self, record: Record) -> None:
        """Write one record, after all that are pending.

        Raises:
            OSError: it could not be written; it is pending now.
        """
        self._pending.append(record)
        self.write()

    def write(self) -> None:
        """Write what is pending.

        Raises:
            OSError: it could not be written and stays pending.
        """
        if not self._pending:
            return
        file = self._open()
        size = os.fstat(file.fileno()).st_size
        try:
            with _naming(self._path):
                _write(file, (b"" if size else self._head) + self._encode(self._pending))
        except BaseException:  # an interrupt too: a record that is pending must not be in the file
            self._cut(file, size)
            raise
        if not self._unflushed:
            self._flushed_size = size
        self._unflushed += self._pending
        self._pending.clear()

    def flush(self) -> None:
        """Write what is pending and bring the whole file to the disk.

        Raises:
            OSError: something could not be written, or is not on the disk for certain; it is pending.
        """
        self.write()
        if self._identity is None or (self._name_flushed and not self._unflushed):
            return
        file = self._open()
        try:
            with _naming(self._path):
                os.fsync(file.fileno())
        except OSError:
            if self._unflushed:
                self._pending = [*self._unflushed, *self._pending]
                self._unflushed.clear()
                self._cut(file, self._flushed_size)
            raise
        self._unflushed.clear()
        if not self._name_flushed:
            flush_folder(self._path.parent)
            self._name_flushed = True

    def close(self) -> None:
        """Flush and close the file; `append` opens it again.

        Raises:
            OSError: as `flush`. The file is closed all the same.
        """
        try:
            self.flush()
        finally:
            self._release()

    def content(self) -> bytes:
        """Return what the file holds, or would begin with; what is pending is not part of it."""
        data = b""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(status.st_size)
            if self._whole_size is not None and self._identity == (status.st_dev, status.st_ino):
                data = data[: self._whole_size]
        return data or self._head

    def replace(self, content: bytes, head: bytes) -> None:
        """Put `content` in place of the file and of what is pending, whole or not at all.

        Raises:
            OSError: the file is as it was, and what was pending still is.
        """
        written = None
        try:
            with replacing(self._path) as temporary:
                temporary.write_bytes(content)
                written = _identity(temporary)
        except OSError:
            if written is None or _identity(self._path) != written:
                raise
            # It has taken the name; only the folder could not be flushed, which `flush` does again.
        with suppress(OSError):  # closing what is no longer the file
            self._release()
        self._head = head
        self._pending.clear()
        self._start(written)

    def _open(self) -> FileIO:
        """Return the file that has the name now, without a torn record at its end."""
        if self._file is not None and _identity(self._path) != self._identity:
            self._release()
        if self._file is None:
            file = FileIO(self._path, "ab")
            status = os.fstat(file.fileno())
            if self._identity != (status.st_dev, status.st_ino):
                self._start((status.st_dev, status.st_ino))
            self._file = file
        if self._whole_size is not None:
            if os.fstat(self._file.fileno()).st_size > self._whole_size:
                os.ftruncate(self._file.fileno(), self._whole_size)
            self._whole_size = None
        return self._file

    def _start(self, identity: tuple[int, int] | None) -> None:
        self._identity = identity
        self._unflushed.clear()
        self._whole_size = None
        self._name_flushed = False

    def _cut(self, file: FileIO, size: int) -> None:
        """Cut the file to `size` bytes, now or else before the next write, and closes it."""
        self._whole_size = size
        with suppress(OSError):  # the error that led here is what the caller is told
            os.ftruncate(file.fileno(), size)
            self._whole_size = None
        with suppress(OSError):
            self._release()

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def cut(path: Path, size: int) -> None:
    """Cut a file to its first `size` bytes, on the disk too. It needs no space: a full disk is no obstacle."""
    if path.stat().st_size > size:
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())


def _write(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of an open file don't say which file it is."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
