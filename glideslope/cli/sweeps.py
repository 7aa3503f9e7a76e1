"""The jobs of a sweep: what each one hands back to the sweeper, and what came of all of them."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from glideslope.cli.overrides import CONFIG_FAULTS, explain
from glideslope.errors import SettingsError, UserError, typed
from glideslope.lr_scheduler import ScheduleError
from glideslope.training.objective import KEY as OBJECTIVE

FAILED, USER_FAULT = 1, 2
BY_SIGNAL = 128  # the status of a program that a signal has ended is this and the signal's number
# What choices of Hydra's need to be installed; all are in the extra "sweep".
_PLUGINS = {"hydra/sweeper=optuna": "hydra-optuna-sweeper", "hydra/launcher=ray": "hydra-ray-launcher"}
# The objective is to be large, each trial is to know the ones before it, and the sweep is to survive a failed job.
_OPTUNA = {
    "hydra.sweeper.direction": "maximize",
    "hydra.sweeper.n_jobs": "1",
    "hydra.sweeper.max_failure_rate": "1.0",
}
_RESULTS = "optimization_results.yaml"  # of the optuna sweeper


@dataclass(frozen=True)
class Job:
    """A job that has ended.

    Attributes:
        folder: its folder, absolute.
        overrides: its own command line.
        status: its exit status.
        value: the objective that it handed back; None for a failed job, and where a run has no such number.
    """

    folder: Path
    overrides: tuple[str, ...]
    status: int
    value: float | None


def require_plugins(words: Sequence[str]) -> None:
    """Refuse a sweeper or launcher that is not installed.

    Raises:
        UserError: with the extra to install.
    """
    for choice, package in _PLUGINS.items():
        if choice in (word.lstrip("+") for word in words):
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError as error:
                rule = f"needs the package {package}; install it with pip install 'glideslope[sweep]'"
                raise UserError(f"{choice}: {rule}") from error


def chooses_sweeper(texts: Sequence[str]) -> bool:
    """Return whether overrides choose a sweeper that finds the values as it goes, rather than a grid."""
    return any(re.match(r"\+*hydra/sweeper=(?!basic$)", text) for text in texts)


def run_jobs(
    run: Callable[[Sequence[str], Path], tuple[int, float | None]],
    argv: Sequence[str],
    overrides: Sequence[str],
    config_dir: Path,
    config_name: str,
) -> list[Job]:
    """Let Hydra act on a command line, and return the jobs that it ran, in order.

    A job that fails hands back None, which sweepers take for a failed trial; the sweep goes on.

    Args:
        run: runs the job of some overrides in a folder; returns the exit status and the objective.
        argv: the program's name and the flags.
        overrides: the overrides.
        config_dir: the folder of the configuration files.
        config_name: the primary one, without its suffix.

    Raises:
        SettingsError: Hydra can't compose the configuration.
        KeyboardInterrupt: a job was stopped, which means the sweep.
    """
    jobs: list[Job] = []
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
            jobs.append(Job(folder, tuple(words), status, value))
        if status > BY_SIGNAL:
            raise KeyboardInterrupt(status)
        if status and os.getpid() != process:
            # Of a launcher with processes of its own: what is appended here stays here, an error gets through.
            raise UserError(f"{folder}: ended with status {status}")
        return value

    start = hydra.main(config_path=str(config_dir), config_name=config_name, version_base="1.3")(job)
    try:
        with _process([*argv, *overrides, *_sweeper_defaults(overrides)]):
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
        for bug in bugs[1:]:  # the first one is raised
            traceback.print_exception(bug)
    if bugs:
        raise bugs[0]
    if sweep_dir:
        _tell_best(sweep_dir[0])
    return jobs


def _sweeper_defaults(overrides: Sequence[str]) -> list[str]:
    """Overrides of ours for the sweeper that is chosen, without those that the user gives."""
    if not any(re.fullmatch(r"\+*hydra/sweeper=optuna", text) for text in overrides):
        return []
    given = {text.lstrip("+").partition("=")[0] for text in overrides}
    return [f"{key}={value}" for key, value in _OPTUNA.items() if key not in given]


def finish_sweep(jobs: Sequence[Job]) -> int:
    """Say which jobs failed; return the exit status of the sweep, the worst of its jobs'."""
    failed = [job for job in jobs if job.status]
    if failed and len(jobs) > 1:
        lines = [f"  {job.folder}: status {job.status}\n" for job in failed]
        sys.stderr.write("".join([f"{len(failed)} of {len(jobs)} jobs failed:\n", *lines]))
    return max((job.status for job in jobs), default=0)


def _tell_best(folder: Path) -> None:
    """Tell what an optimizing sweeper found best; Hydra's own log is off."""
    try:
        found = yaml.safe_load((folder / _RESULTS).read_text(encoding="utf-8"))
    except OSError:
        return
    if "best_params" in found:
        words = " ".join(f"{key.lstrip('+')}={typed(value)}" for key, value in found["best_params"].items())
        sys.stdout.write(f"Best {OBJECTIVE}: {found['best_value']:g} with {words}\n")


def message(error: Exception) -> str:
    """Return what is told of a user's fault, all of its lines."""
    faults = getattr(error, "faults", (str(error),))
    if len(faults) == 1:
        return f"Error: {faults[0]}\n"
    return "".join(
        [f"Error: {len(faults)} faults in the configuration:\n", *(f"  {fault}\n" for fault in faults)]
    )


@contextmanager
def _process(argv: list[str]) -> Iterator[None]:
    """A process that Hydra takes the command line from and raises its errors in, instead of printing them."""
    own_argv, own_setting = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = own_argv
        if own_setting is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = own_setting
