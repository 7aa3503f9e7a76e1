"""What Hydra acts on itself: sweeps, whose jobs are all checked before the first runs, and flags such as `--cfg`."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Literal
from unittest import mock

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from glideslope.cli.arguments import VERSION_BASE, Arguments
from glideslope.cli.checked_command import Composed, S, compose_job
from glideslope.cli.config_files import CONFIG_FAULTS, explain, found_first
from glideslope.cli.entry import BY_SIGNAL, FAILED
from glideslope.cli.found_preset import write_preset
from glideslope.cli.hydra_composition import Composer
from glideslope.cli.hydra_internals import grid
from glideslope.cli.overrides import Word, read_overrides
from glideslope.cli.run_names import of_sweep
from glideslope.cli.sweep_jobs import EndedJob, PlannedJob, SweepJobs
from glideslope.cli.sweep_progress import watching
from glideslope.display.commands import compare_command, near, program, train_command
from glideslope.display.console import say, screen
from glideslope.errors import UNSET, Fault, SettingsError, UserError, failure, typed
from glideslope.runs.run_folder import (
    FINISHED,
    OUTPUT,
    claim,
    finished_frames,
    first_free,
    has_run,
    holder_here,
    make_new,
    runs_below,
)
from glideslope.settings import SearchSettings, Settings
from glideslope.settings.catalogue import CONFIG_DIR
from glideslope.training.objective import KEY as OBJECTIVE
from glideslope.training.objective import read_objective
from glideslope.training.search.cluster import require_cluster

# The objective is to be large, each trial is to know the ones before it, and the sweep is to survive a failed job. With
# a seed, a search that is started again tries the same values: those of finished runs are looked up in their folders.
_OPTUNA = {
    "hydra.sweeper.direction": "maximize",
    "hydra.sweeper.n_jobs": "1",
    "hydra.sweeper.max_failure_rate": "1.0",
    "hydra.sweeper.sampler.seed": "1",
}
_RUNNING_RAY = {"hydra.launcher.ray.init.object_store_memory": "null"}  # a running cluster refuses the launcher's own
_RESULTS = "optimization_results.yaml"  # of the optuna sweeper
_STOP_SECONDS = 60.0  # within which the jobs of a sweep that is stopped have written their snapshots


@dataclass(frozen=True)
class _Sweep:
    """What Hydra is to run."""

    words: list[str]  # the overrides as Hydra is to get them
    jobs: tuple[PlannedJob, ...]  # those of a grid; of other sweeps, none is known beforehand
    folder: Path | None  # None where Hydra acts on one job
    objective: str = ""  # of a training


def run_by_hydra(main: Callable[[Composed[S]], int], arguments: Arguments, settings: type[S]) -> int:
    """Let Hydra act on a command line; return the exit status of the jobs that it runs.

    A job that fails doesn't stop the others; the status is the worst then. A sweep of trainings that is started again
    resumes what has begun and leaves alone what is finished.

    Raises:
        SettingsError: before the first job, with the faults of all jobs.
        UserError: another process runs the sweep.
        KeyboardInterrupt: a job was stopped, which means the sweep.
    """
    sweep = _Sweep(arguments.overrides, (), None)
    if not arguments.flags.shell_completion:
        sweep = plan_sweep(arguments, settings)
    jobs = SweepJobs(main, arguments, settings, sweep.jobs, bool(_chosen(sweep.words, "sweeper")))
    argv = [sys.argv[0], *arguments.words, *sweep.words, *_engine_defaults(sweep.words)]
    start = partial(_run_jobs, jobs, argv, arguments)
    if sweep.folder is None or settings is not Settings:
        return _summed_up(start())
    with claim(sweep.folder, resume=True):
        try:
            ended = _run_sweep(sweep, start, jobs)
        except KeyboardInterrupt:
            say(screen(), "Resume the sweep:")
            say(screen(), "  ", train_command(*arguments.words, *arguments.overrides))
            raise
        if jobs.searches:
            _tell_best(sweep.folder, sweep.objective, arguments.overrides)
        if len(ended) > 1:
            _compare([job.folder for job in ended])
    return _summed_up(ended)


def _run_sweep(sweep: _Sweep, start: Callable[[], list[EndedJob]], jobs: SweepJobs[S]) -> list[EndedJob]:
    """Run a sweep of trainings; return how its jobs ended."""
    states = [_state(job) for job in sweep.jobs]
    finished, begun = states.count("finished"), states.count("unfinished")
    before = f" ({finished} of {len(states)} jobs are finished, {begun} resume)" if finished or begun else ""
    say(screen(), f"Sweep{before}: ", str(near(sweep.folder or Path())))
    launcher = _chosen(sweep.words, "launcher")
    if finished < len(states) or jobs.searches:
        if not launcher:
            return _start_here(start, jobs)
        with _elsewhere(sweep.jobs):
            _start_elsewhere(start, launcher, sweep.jobs)
    # What ran in another process is known by what it left. The trials of a search are known by their folders alone.
    runs = [(job.folder, job.frames) for job in sweep.jobs] or [
        (run, 1) for run in sorted(runs_below(sweep.folder or Path()))
    ]
    return [EndedJob(run, 0 if finished_frames(run) >= frames else FAILED, None) for run, frames in runs]


def _start_here(start: Callable[[], list[EndedJob]], jobs: SweepJobs[S]) -> list[EndedJob]:
    """Run jobs in this process.

    Raises:
        UserError: a sweeper can't search as it is told to; no job has begun.
    """
    try:
        return start()
    except Exception as error:  # sweepers raise what their libraries do
        if isinstance(error, UserError) or not jobs.searches or jobs.ended or jobs.bugs:
            raise
        reason = next(iter(str(error).splitlines()), "") or "it can't search so"
        raise UserError(f"hydra/sweeper: {type(error).__name__}: {reason}") from error


def _start_elsewhere(start: Callable[[], object], launcher: str, jobs: Sequence[PlannedJob]) -> None:
    """Have a launcher run jobs. What ends it after some have begun is told; these are judged by what they left.

    Raises:
        UserError: it can't run any.
    """
    try:
        start()
    except UserError:
        raise
    except Exception as error:  # launchers raise what their libraries do
        reason = next(iter(str(error).splitlines()), "")
        fault = f"hydra/launcher={launcher}: {type(error).__name__}: {reason}"
        if not any(has_run(job.folder) for job in jobs):
            raise UserError(fault) from error
        sys.stderr.write(f"{fault}\n")


def _state(job: PlannedJob) -> Literal["new", "unfinished", "finished"]:
    if finished_frames(job.folder) >= job.frames:
        return "finished"
    return "unfinished" if has_run(job.folder) else "new"


def _summed_up(ended: Sequence[EndedJob]) -> int:
    """Name the jobs that failed; return the worst status."""
    if len(ended) > 1 and (failed := [job for job in ended if job.status]):
        lines = [f"  {job.folder}: {_how(job)}\n" for job in failed]
        sys.stderr.write("".join([f"{len(failed)} of {len(ended)} jobs failed:\n", *lines]))
    return max((job.status for job in ended), default=0)


def _how(job: EndedJob) -> str:
    output = job.folder / OUTPUT
    return f"status {job.status}" + (f"; see {near(output)}" if output.exists() else "")


@contextmanager
def _elsewhere(jobs: Sequence[PlannedJob]) -> Iterator[None]:
    """Show the progress of jobs that run in processes of their own; a signal has those on this host stop first."""

    def stop(number: int, frame: FrameType | None) -> None:
        last = time.monotonic() + _STOP_SECONDS
        asked: set[int] = set()
        while (held := {pid for job in jobs if (pid := holder_here(job.folder))}) and time.monotonic() < last:
            for pid in held - asked:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            asked |= held
            time.sleep(0.1)
        raise KeyboardInterrupt(BY_SIGNAL + number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with watching([(job.folder, job.frames) for job in jobs], screen()) if jobs else nullcontext():
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if "joblib" in sys.modules:
            # Its idle processes would keep a pipe that this process writes to open for minutes.
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)


def _compare(folders: Sequence[Path]) -> None:
    """Compare the runs of a sweep."""
    from glideslope.evaluation.comparison.summary import compare_runs
    from glideslope.evaluation.comparison.table import print_table

    console = screen()
    print_table(compare_runs(folders), console)
    say(console, "The same with a picture and a page:")
    say(console, "  ", compare_command(Path(os.path.commonpath(folders))))


def plan_sweep(arguments: Arguments, settings: type[S]) -> _Sweep:
    """Check every job of a sweep over a grid, before the first begins. Makes at most the sweep's folder.

    Raises:
        SettingsError: with the faults of all jobs.
    """
    with arguments.initialized() as groups:
        overrides, faults = read_overrides(arguments.overrides, groups, sweeps=arguments.multirun)
        composer = Composer(groups)
        texts, folder, by_words = overrides.texts, None, False
        if arguments.multirun and not faults:
            texts.append(of_sweep(overrides.parsed))
            folder, by_words = composer.sweep_folder(overrides)
            if by_words and settings is not Settings:
                folder = first_free(folder)
        elif not faults:
            texts = composer.flattened(overrides)
        sweep_dir = [f"hydra.sweep.dir='{folder}'"] if by_words else []
        parsed = OverridesParser.create(groups.loader).parse_overrides([*texts, *sweep_dir])
    jobs: list[list[str]] = []
    if settings is not Settings:
        rules = {"sweeper": "only a training has an objective", "launcher": "only trainings run side by side"}
        for part in (part for part in rules if _chosen(overrides.texts, part)):
            faults.append(Fault(f"hydra/{part}", UNSET, f"goes with {program('train')}; {rules[part]}"))
    for key, address in _ray_addresses(overrides.texts):
        try:
            require_cluster(key, address)
        except SettingsError as error:
            faults += error.faults
    if _chosen(overrides.texts, "sweeper"):
        # The values to be tried are found as it goes; the others are to be sound.
        jobs = [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
    elif arguments.multirun:
        try:
            jobs = grid(parsed)
        except HydraException as error:
            raise SettingsError([*faults, explain(error)]) from error
    planned: list[PlannedJob] = []
    objective = ""
    for number, job in enumerate(jobs):
        try:
            composed = compose_job(arguments.for_job(job), settings, job=number)
        except SettingsError as error:
            faults += error.faults
            continue
        words = tuple(word for word in job if not word.startswith("hydra"))
        frames = composed.settings.num_train_frames if isinstance(composed.settings, Settings) else 0
        planned.append(PlannedJob(words, Path(os.path.abspath(composed.run_dir)), frames))
        objective = composed.objective
    if settings is SearchSettings and arguments.multirun:
        faults.append(Fault("-m", UNSET, "a search is a sweep by itself: leave this out"))
    elif arguments.multirun and not (jobs or faults):
        faults.append(Fault("-m", UNSET, f"no job is left of {' '.join(arguments.overrides)}"))
    if len({job.folder for job in planned}) < len(planned):
        twice = next(job for job in planned if sum(job.folder == other.folder for other in planned) > 1)
        named = " ".join(word.lstrip("+") for word in twice.words)
        faults.append(Fault(named, UNSET, "this job is in the sweep twice"))
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    if by_words and folder is not None:
        if settings is not Settings:
            folder = make_new(folder)
        texts.append(f"hydra.sweep.dir='{folder}'")
    return _Sweep(texts, () if _chosen(overrides.texts, "sweeper") else tuple(planned), folder, objective)


def _ray_addresses(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return keys and addresses of the Ray clusters that `overrides` name."""
    pairs = [text.lstrip("+").partition("=") for text in texts]
    key = "hydra.launcher.ray.init.address"
    return [(key, value.strip("'\"")) for found, _, value in pairs if found == key and value != "null"]


def _chosen(texts: Sequence[str], part: str) -> str:
    """Return which `sweeper` or `launcher` overrides choose; nothing where that is Hydra's own."""
    found = [match[1] for text in texts if (match := re.match(rf"\+*hydra/{part}=(\w+)", text))]
    return found[-1] if found and found[-1] != "basic" else ""


def _run_jobs(jobs: SweepJobs[S], argv: Sequence[str], arguments: Arguments) -> list[EndedJob]:
    """Let Hydra act on a command line; return the jobs that it ran in this process, in order.

    A job that fails hands back None, which sweepers take for a failed trial; the sweep continues.

    Raises:
        SettingsError: Hydra can't compose the configuration.
        KeyboardInterrupt: a job was stopped, which means the sweep.
    """

    def job(config: DictConfig) -> float | None:
        return jobs()

    start = hydra.main(config_path=str(CONFIG_DIR), config_name=arguments.config_name, version_base=VERSION_BASE)(job)
    own_argv, sys.argv = sys.argv, list(argv)
    try:
        # Hydra raises its errors with this variable.
        with mock.patch.dict(os.environ, HYDRA_FULL_ERROR="1"), found_first(arguments.folders[:-1]):
            start()
    except CONFIG_FAULTS as error:
        if not jobs.ended:
            raise SettingsError([explain(error)]) from error
        raise
    except (ValueError, RuntimeError):
        # Optuna's, after a last trial that failed: there is no best one to tell of, or a grid has come to its end.
        if not jobs.bugs and (not jobs.ended or jobs.ended[-1].value is not None):
            raise
    finally:
        sys.argv = own_argv
        for bug in jobs.bugs[1:]:  # the first one is raised
            traceback.print_exception(bug)
    if jobs.bugs:
        raise jobs.bugs[0]
    return jobs.ended


def _engine_defaults(overrides: Sequence[str]) -> list[str]:
    """Return our overrides for the sweeper and the launcher that are chosen, without those that the user gives."""
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    ours: dict[str, str] = {}
    if _chosen(overrides, "sweeper") == "optuna":
        ours |= _OPTUNA
        if any(re.fullmatch(r"\+*hydra/sweeper/sampler=grid", text) for text in overrides):
            given.add("hydra.sweeper.sampler.seed")  # which that one lacks
    if "hydra.launcher.ray.init.address" in given:
        ours |= _RUNNING_RAY
    return [f"{'+' * (key in _RUNNING_RAY)}{key}={value}" for key, value in ours.items() if key not in given]


def _tell_best(folder: Path, objective: str, words: Sequence[str]) -> None:
    """Tell what a search with the overrides ``words`` found best, and write it as a preset; Hydra's own log is off."""
    try:
        found = yaml.safe_load((folder / _RESULTS).read_text(encoding="utf-8"))
    except OSError:
        return
    if "best_params" not in found:
        return
    params = {key.lstrip("+"): typed(value) for key, value in found["best_params"].items()}
    say(screen(), f"Best {OBJECTIVE}: {found['best_value']:g} with {' '.join(f'{k}={v}' for k, v in params.items())}")
    trials = sorted(path.parent for path in folder.glob(f"*/{FINISHED}"))
    best = next((trial for trial in trials if read_objective(trial, objective) == found["best_value"]), None)
    if best is None or not has_run(best):
        return
    try:
        name = write_preset(folder, best, f"{objective} {found['best_value']:g}, the best of {len(trials)} trials")
    except OSError as error:
        raise UserError(f"the preset of the best rates can't be written: {failure(error)}") from error
    rest = [f"{key}={value}" for key, value in params.items() if not key.startswith(("lr", "decay_rate"))]
    typed_words = [word for word in map(Word, words) if word.is_setting and word.key not in params]
    kept = [word.typed for word in typed_words if not word.key.startswith("lr_schedule")]
    say(screen(), f"Its rates are the preset {name}. Train with it:")
    say(screen(), "  ", train_command(*kept, *rest, f"lr_schedule={name}"))
