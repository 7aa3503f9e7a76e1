"""Real faults of a disk, for as long as a block lasts."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def room_for(size: int | None) -> Iterator[None]:
    """No file of this process grows past `size` bytes: a write takes what fits, the next fails (EFBIG)."""
    # Python ignores the signal that would come with the error.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def in_its_place(path: Path, device: str) -> Iterator[None]:
    """`path` is `device`: /dev/full has no space for anything, /dev/null cannot be flushed."""
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    path.symlink_to(device)
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


@contextmanager
def no_access(folder: Path) -> Iterator[None]:
    """Nothing in `folder` can be reached, by root neither: it is somebody else meanwhile."""
    root = os.geteuid() == 0
    mode = folder.stat().st_mode
    folder.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(mode)


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """`folder` is away."""
    away = folder.rename(folder.with_name(f"{folder.name}.away"))
    try:
        yield
    finally:
        away.rename(folder)
