"""Shows how far the jobs of a sweep are that run in processes of their own, here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from glideslope.cli.sweep_jobs import repeating
from glideslope.display.progress import Progress
from glideslope.runs.run_folder import finished_frames, frames_done, has_run

_LOOK_SECONDS = 2.0


@contextmanager
def watching(jobs: Sequence[tuple[Path, int]], console: Console) -> Iterator[None]:
    """Show what is done of some jobs, each a run folder and its number of frames, within a ``with`` block."""
    whole = sum(frames for _, frames in jobs)
    first = _done(jobs)
    progress = Progress(
        whole, done=first, whole={"learn": whole}, work={"learn": whole - first}, console=console, transient=True
    )

    def look() -> None:
        done = _done(jobs)
        progress.update(done, work={"learn": whole - done}, doing=_summary(jobs))

    with progress, repeating(_LOOK_SECONDS, look):
        yield


def _done(jobs: Sequence[tuple[Path, int]]) -> int:
    return sum(min(frames_done(folder), frames) for folder, frames in jobs)


def _summary(jobs: Sequence[tuple[Path, int]]) -> str:
    finished = sum(finished_frames(folder) >= frames for folder, frames in jobs)
    begun = sum(has_run(folder) for folder, _ in jobs) - finished
    return f"{finished} of {len(jobs)} jobs finished, {begun} begun"
