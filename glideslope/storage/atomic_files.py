"""Files that are either whole or not there: write beside the target, flush to disk, rename."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".tmp-"


@contextmanager
def replacing(path: Path, former: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path in the same folder, with the same suffix, that becomes `path` on a clean exit.

    Readers see the old file or the new one, never a part. If the body raises, the temporary is removed
    and `path` is as it was; an OSError about the temporary, or about no file, names `path`. The file is on
    disk (fsync) before it takes the name. The file that `path` was takes the name `former` in the same folder
    afterwards: at no moment are there fewer than before.
    """
    temporary = _beside(path)
    old = _beside(former) if former is not None and path.exists() else None
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        if old is not None:
            _second_name(path, old)
        os.replace(temporary, path)
        if old is not None and former is not None:
            os.replace(old, former)
    except OSError as error:
        # A write or a flush doesn't say of which file; nobody knows the temporary one.
        if error.filename is None or error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        if old is not None:
            old.unlink(missing_ok=True)
    flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is no such file, or none that can be understood."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left in `folder`. Only for a folder nobody else writes to."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_file() and re.match(rf"{re.escape(TEMPORARY_PREFIX)}\d+-", leftover.name):
            leftover.unlink(missing_ok=True)


def flush_folder(path: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    if os.name != "nt":  # Windows opens no folders
        _sync(path, os.O_RDONLY)


def _beside(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")


def _second_name(path: Path, name: Path) -> None:
    """Make `name` another name of the file at `path`, or a copy where files have one name only."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)
        _sync(name, os.O_RDWR)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
