"""What Hydra acts on itself: sweeps, whose jobs are all checked before the first runs, and flags such as `--cfg`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from glideslope.cli.arguments import VERSION_BASE, Arguments
from glideslope.cli.checked_command import Composed, S, compose_job
from glideslope.cli.config_files import CONFIG_FAULTS, explain, found_first
from glideslope.cli.entry import BY_SIGNAL, FAILED, USER_FAULT, message
from glideslope.cli.hydra_composition import Composer
from glideslope.cli.hydra_internals import grid
from glideslope.cli.overrides import read_overrides
from glideslope.cli.run_names import of_sweep
from glideslope.display.commands import compare_command, program, sweep_command
from glideslope.display.console import say, screen
from glideslope.errors import UNSET, Fault, SettingsError, UserError, typed
from glideslope.lr_scheduler import ScheduleError
from glideslope.runs.run_folder import first_free, make_new
from glideslope.settings import Settings
from glideslope.settings.catalogue import CONFIG_DIR
from glideslope.training.objective import KEY as OBJECTIVE
from glideslope.training.objective import read_objective

# The objective is to be large, each trial is to know the ones before it, and the sweep is to survive a failed job.
_OPTUNA = {
    "hydra.sweeper.direction": "maximize",
    "hydra.sweeper.n_jobs": "1",
    "hydra.sweeper.max_failure_rate": "1.0",
}
_RESULTS = "optimization_results.yaml"  # of the optuna sweeper


@dataclass(frozen=True)
class _Job:
    """A job that has ended: its folder, its exit status, and the objective, None where it has none."""

    folder: Path
    status: int
    value: float | None


def run_by_hydra(main: Callable[[Composed[S]], int], arguments: Arguments, settings: type[S]) -> int:
    """Let Hydra act on a command line; return the worst exit status of the jobs that it runs.

    Raises:
        SettingsError: before the first job, with the faults of all jobs.
        KeyboardInterrupt: a job was stopped, which means the sweep.
    """
    words, planned, folder = arguments.overrides, list[list[str]](), None
    if not arguments.flags.shell_completion:
        words, planned, folder = _check_jobs(arguments, settings)

    def run(overrides: list[str], job_dir: Path) -> tuple[int, float | None]:
        """Run a job in its folder; return its exit status and its objective."""
        if overrides in planned and len(planned) > 1:
            own = [word for word in overrides if not all(word in job for job in planned)]
            number = planned.index(overrides) + 1
            say(screen(), f"\nJob {number} of {len(planned)}: {' '.join(word.lstrip('+') for word in own)}")
        composed = compose_job(arguments.for_job(overrides), settings, job_dir=job_dir)
        status = main(composed)
        if status or settings is not Settings:
            return status, None
        value = read_objective(job_dir, composed.objective)
        if value is None and _chooses_sweeper(words):
            sys.stderr.write(f"{OBJECTIVE}={composed.objective}: this run has no such number: {job_dir}\n")
        return status, value

    argv = [sys.argv[0], *arguments.words, *words, *_sweeper_defaults(words)]
    try:
        with found_first(arguments.folders[:-1]):
            jobs = _run_jobs(run, argv, arguments.config_name)
    except KeyboardInterrupt:
        # A sweeper that finds its values as it goes would begin anew.
        if settings is Settings and arguments.multirun and not _chooses_sweeper(words):
            say(screen(), "Resume the sweep:")
            say(screen(), "  ", sweep_command([*arguments.words, *arguments.overrides], folder))
        raise
    if len(jobs) > 1:
        if settings is Settings:
            _compare([job.folder for job in jobs])
        if failed := [job for job in jobs if job.status]:
            lines = [f"  {job.folder}: status {job.status}\n" for job in failed]
            sys.stderr.write("".join([f"{len(failed)} of {len(jobs)} jobs failed:\n", *lines]))
    return max((job.status for job in jobs), default=0)


def _compare(folders: Sequence[Path]) -> None:
    """Compare the runs of a sweep."""
    from glideslope.evaluation.comparison.summary import compare_runs
    from glideslope.evaluation.comparison.table import print_table

    console = screen()
    print_table(compare_runs(folders), console)
    say(console, "The same with a picture and a page:")
    say(console, "  ", compare_command(Path(os.path.commonpath(folders))))


def _check_jobs(arguments: Arguments, settings: type[S]) -> tuple[list[str], list[list[str]], Path | None]:
    """Check every job of a sweep over a grid.

    Returns:
        The overrides as Hydra is to get them, those of each job without Hydra's own, and the sweep's new folder; None
        where the user named it.
    """
    with arguments.initialized() as groups:
        overrides, faults = read_overrides(arguments.overrides, groups, sweeps=arguments.multirun)
        composer = Composer(groups)
        texts, folder = overrides.texts, None
        if arguments.multirun and not faults:
            texts.append(of_sweep(overrides.parsed))
            folder = composer.sweep_folder(overrides)
        elif not faults:
            texts = composer.flattened(overrides)
        sweep_dir = [] if folder is None else [f"hydra.sweep.dir='{first_free(folder)}'"]
        parsed = OverridesParser.create(groups.loader).parse_overrides([*texts, *sweep_dir])
    jobs: list[list[str]] = []
    if _chooses_sweeper(overrides.texts):
        if settings is not Settings:
            rule = f"goes with {program('train')}; only a training has an objective"
            faults.append(Fault("hydra/sweeper", UNSET, rule))
        # The values to be tried are found as it goes; the others are to be sound.
        jobs = [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
    elif arguments.multirun:
        try:
            jobs = grid(parsed)
        except HydraException as error:
            raise SettingsError([*faults, explain(error)]) from error
    for number, job in enumerate(jobs):
        try:
            compose_job(arguments.for_job(job), settings, job=number)
        except SettingsError as error:
            faults += error.faults
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    if folder is not None:
        folder = make_new(folder)
        texts.append(f"hydra.sweep.dir='{folder}'")
    return texts, [[word for word in job if not word.startswith("hydra")] for job in jobs], folder


def _chooses_sweeper(texts: Sequence[str]) -> bool:
    """Return whether overrides choose a sweeper that finds the values as it goes, rather than a grid."""
    return any(re.match(r"\+*hydra/sweeper=(?!basic$)", text) for text in texts)


def _run_jobs(
    run: Callable[[list[str], Path], tuple[int, float | None]], argv: Sequence[str], config_name: str
) -> list[_Job]:
    """Let Hydra act on a command line; return the jobs that it ran, in order.

    A job that fails hands back None, which sweepers take for a failed trial; the sweep continues. `run` runs the job
    of some overrides in a folder, and returns the exit status and the objective.

    Raises:
        SettingsError: Hydra can't compose the configuration.
        KeyboardInterrupt: a job was stopped, which means the sweep.
    """
    jobs: list[_Job] = []
    bugs: list[Exception] = []
    sweep_dir: list[Path] = []
    process = os.getpid()

    def job(_: DictConfig) -> float | None:
        own = HydraConfig.get()
        folder, words = Path(own.runtime.output_dir), list(own.overrides.task)
        sweep_dir[:] = [Path(own.sweep.dir)]
        status, value = FAILED, None
        try:
            status, value = run(words, folder)
        except (UserError, ScheduleError) as error:
            status = USER_FAULT
            sys.stderr.write(message(error))
        except Exception as error:
            bugs.append(error)
            raise
        finally:
            jobs.append(_Job(folder, status, value))
        if status > BY_SIGNAL:
            raise KeyboardInterrupt(status)
        if status and os.getpid() != process:
            # Of a launcher with processes of its own: what is appended here stays here, an error gets through.
            raise UserError(f"{folder}: ended with status {status}")
        return value

    start = hydra.main(config_path=str(CONFIG_DIR), config_name=config_name, version_base=VERSION_BASE)(job)
    own_argv, sys.argv = sys.argv, list(argv)
    try:
        with mock.patch.dict(os.environ, HYDRA_FULL_ERROR="1"):  # Hydra raises its errors then
            start()
    except CONFIG_FAULTS as error:
        if not jobs:
            raise SettingsError([explain(error)]) from error
        raise
    except (ValueError, RuntimeError):
        # Optuna's, after a last trial that failed: there is no best one to tell of, or a grid has come to its end.
        if not bugs and (not jobs or jobs[-1].value is not None):
            raise
    finally:
        sys.argv = own_argv
        for bug in bugs[1:]:  # the first one is raised
            traceback.print_exception(bug)
    if bugs:
        raise bugs[0]
    if sweep_dir:
        _tell_best(sweep_dir[0])
    return jobs


def _sweeper_defaults(overrides: Sequence[str]) -> list[str]:
    """Return our overrides for the sweeper that is chosen, without those that the user gives."""
    if not any(re.fullmatch(r"\+*hydra/sweeper=optuna", text) for text in overrides):
        return []
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    return [f"{key}={value}" for key, value in _OPTUNA.items() if key not in given]


def _tell_best(folder: Path) -> None:
    """Tell what an optimizing sweeper found best; Hydra's own log is off."""
    try:
        found = yaml.safe_load((folder / _RESULTS).read_text(encoding="utf-8"))
    except OSError:
        return
    if "best_params" in found:
        words = " ".join(f"{key.lstrip('+')}={typed(value)}" for key, value in found["best_params"].items())
        sys.stdout.write(f"Best {OBJECTIVE}: {found['best_value']:g} with {words}\n")
