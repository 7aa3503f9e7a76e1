"""A record of what is brought to the disk and what takes which name: no kill shows a missing fsync."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_OWN = re.compile(r"\.tmp-\d+-")


@contextmanager
def disk_calls() -> Iterator[list[tuple[Any, ...]]]:
    """Yield the calls of this block in order: ("fsync", name, bytes of the file), ("replace", from, to) and so on.

    Calls that fail are left out. Names are those of the files alone, and of a temporary file without the number of
    its process. A folder is told with a slash and no size.
    """
    calls: list[tuple[Any, ...]] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        path, status = Path(os.readlink(f"/proc/self/fd/{descriptor}")), os.fstat(descriptor)
        calls.append(("fsync", f"{path.name}/") if path.is_dir() else ("fsync", _name(path), status.st_size))

    def recorded(name: str) -> Callable[..., Any]:
        operation = getattr(os, name)

        def call(*paths: Any, **options: Any) -> Any:
            result = operation(*paths, **options)
            calls.append((name, *map(_name, paths)))
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        for name in ("replace", "link", "unlink"):
            patch.setattr(os, name, recorded(name))
        yield calls


def _name(path: Any) -> str:
    return _OWN.sub(".tmp-", Path(path).name)
