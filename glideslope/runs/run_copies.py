"""Copies of run folders, which resume as the original would."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from glideslope.runs.run_folder import LOCK
from glideslope.storage.atomic_files import TEMPORARY_PREFIX


def copy_run(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the run folder ``source``, in which nobody writes meanwhile; what was there goes.

    Snapshots and the replay buffer's files are never changed in place: where the disk allows it, the copy shares them.

    Raises:
        OSError: it can't be written; ``target`` may be missing then.
    """
    unfinished = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    ignored = shutil.ignore_patterns(LOCK, f"{TEMPORARY_PREFIX}*")
    shutil.copytree(source, unfinished, ignore=ignored, copy_function=_shared_or_copied)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)


def _shared_or_copied(source: str, target: str) -> None:
    if source.endswith(".pt"):
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one without links
            pass
    shutil.copy2(source, target)
