"""One job of a sweep: what Hydra calls, in this process or in one that a launcher starts, on any machine."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Generic

from hydra.core.hydra_config import HydraConfig

from glideslope.cli.arguments import Arguments
from glideslope.cli.checked_command import Composed, S, compose_job
from glideslope.cli.entry import BY_SIGNAL, FAILED, USER_FAULT, message
from glideslope.display.console import say, screen
from glideslope.errors import UserError
from glideslope.lr_scheduler import ScheduleError
from glideslope.runs.run_folder import OUTPUT, FolderInUseError
from glideslope.settings import Settings
from glideslope.training.objective import KEY as OBJECTIVE
from glideslope.training.objective import read_objective

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedJob:
    """A job of a grid, before it begins."""

    words: tuple[str, ...]  # its overrides, without Hydra's own
    folder: Path
    frames: int  # of the training


@dataclass(frozen=True)
class EndedJob:
    """A job that has ended in this process: its exit status, and the objective, None where it has none."""

    folder: Path
    status: int
    value: float | None


@dataclass
class SweepJobs(Generic[S]):
    """Runs the jobs of a sweep, one per call.

    A launcher with processes of its own calls a pickled copy there: such a job prints into a file of its folder, waits
    where an earlier start of the sweep has left a process that still trains in it, and ends with its parent.
    """

    main: Callable[[Composed[S]], int]
    arguments: Arguments
    settings: type[S]
    planned: Sequence[PlannedJob]
    searches: bool  # whether a sweeper is to get the objective
    process: int = field(default_factory=os.getpid)
    ended: list[EndedJob] = field(default_factory=list)  # those of this process
    bugs: list[Exception] = field(default_factory=list)

    def __call__(self) -> float | None:
        """Run the job that Hydra has set up; return its objective, None where it failed.

        Raises:
            KeyboardInterrupt: it was stopped, which means the sweep.
        """
        own = HydraConfig.get()
        folder, words = Path(own.runtime.output_dir), list(own.overrides.task)
        if os.getpid() != self.process:
            return self._run_elsewhere(words, folder)
        status, value = FAILED, None
        try:
            self._announce(words)
            status, value = self._run(words, folder)
        except Exception as error:
            self.bugs.append(error)
            raise
        finally:
            self.ended.append(EndedJob(folder, status, value))
        if status > BY_SIGNAL:
            raise KeyboardInterrupt(status)
        return value

    def _announce(self, words: Sequence[str]) -> None:
        jobs = [job.words for job in self.planned]
        if tuple(words) in jobs and len(jobs) > 1:
            own = [word for word in words if not all(word in job for job in jobs)]
            number = jobs.index(tuple(words)) + 1
            say(screen(), f"\nJob {number} of {len(jobs)}: {' '.join(word.lstrip('+') for word in own)}")

    def _run(self, words: Sequence[str], folder: Path, *, wait: bool = False) -> tuple[int, float | None]:
        """Run a job in its folder; return its exit status and its objective. `wait` for another process there to end.

        Raises:
            Exception: a bug.
        """
        try:
            while True:
                composed = compose_job(self.arguments.for_job(words), self.settings, job_dir=folder)
                try:
                    status = self.main(composed)
                    break
                except FolderInUseError:
                    if not wait:
                        raise
                    time.sleep(_POLL_SECONDS)
        except (UserError, ScheduleError) as error:
            sys.stderr.write(message(error))
            return USER_FAULT, None
        if status or self.settings is not Settings:
            return status, None
        value = read_objective(folder, composed.objective)
        if value is None and self.searches:
            sys.stderr.write(f"{OBJECTIVE}={composed.objective}: this run has no such number: {folder}\n")
        return status, value

    def _run_elsewhere(self, words: Sequence[str], folder: Path) -> float | None:
        with (
            open(folder / OUTPUT, "a", encoding="utf-8", buffering=1) as file,
            redirect_stdout(file),
            redirect_stderr(file),
            repeating(_POLL_SECONDS, partial(_stop_if_orphaned, os.getppid())),
        ):
            try:
                status, value = self._run(words, folder, wait=True)
            except Exception:
                traceback.print_exc()
                return None
        if status > BY_SIGNAL:
            _pass_on(status - BY_SIGNAL)
        return value


@contextmanager
def repeating(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` in a thread of its own, every so many seconds, within a ``with`` block."""
    over = Event()

    def repeat() -> None:
        while not over.wait(seconds):
            action()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _stop_if_orphaned(parent: int) -> None:
    """Stop this process as SIGTERM does when its parent has died: nobody would know of what it does."""
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _pass_on(number: int) -> None:
    """Hand the signal that stopped a training on to the launcher, whose handler may start the job again elsewhere."""
    if "SUBMITIT_EXECUTOR" in os.environ:
        from submitit.core.job_environment import JobEnvironment

        number = JobEnvironment._usr_sig()  # the one that it requeues a job on
    signal.raise_signal(number)
