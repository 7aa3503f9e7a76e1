"""The run that a command line resumes: which folder is meant, and what is stored in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from glideslope.cli.overrides import ACCEPT, RESUME
from glideslope.cli.resume_rules import first_few
from glideslope.errors import Fault, SettingsError, meant, reason
from glideslope.runs.run_folder import CONFIG, read_config, runs_below, typed_overrides
from glideslope.settings import Settings

CHOICES = ("config", "hold")
"""Values of `resume_lr_schedule`: take the new schedules, or keep the length of the old ones."""


def holds_run(folder: Path) -> bool:
    """Return whether a run began in `folder`."""
    return os.path.exists(folder / CONFIG)


def run_folder_of(value: object) -> Path:
    """Return the run folder that `resume=value` means.

    Raises:
        SettingsError: it isn't one; with what is there instead.
    """
    if not isinstance(value, str) or not value:
        raise SettingsError([Fault(RESUME, value, "must be a run folder")])
    path = Path(os.path.expanduser(value))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SettingsError([Fault(RESUME, value, f"no such run folder{_nearest(path)}")]) from error
    except OSError as error:
        raise SettingsError([Fault(RESUME, value, f"can't be read: {reason(error)}")]) from error
    if not path.is_dir():
        near = f"; give the run folder, resume={path.parent}" if holds_run(path.parent) else ""
        raise SettingsError([Fault(RESUME, value, f"is a file, not a run folder{near}")])
    if not holds_run(path):
        runs = [str(run.relative_to(path)) for run in runs_below(path)]
        near = f"; there are runs in it: {first_few(runs)}" if runs else ""
        raise SettingsError([Fault(RESUME, value, f"is not a run folder: it has no {CONFIG}{near}")])
    return path


def _nearest(path: Path) -> str:
    """Return what there is in place of the first part of `path` that isn't there."""
    missing = next((part for part in (*reversed(path.parents), path) if not os.path.lexists(part)), path)
    try:
        names = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        return f"; {missing.parent} is no folder" if missing.parent.is_file() else ""
    if str(missing.parent) == missing.anchor:
        return ""  # folders of the system are never meant
    close = get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f"; did you mean {missing.parent / close[0]}?" if close else ""


@dataclass(frozen=True)
class Place:
    """Where a training takes place.

    Attributes:
        schedules: what a run does with changed learning rates and exploration noise: None refuses them, `config`
            takes them, `hold` keeps the length of the old ones in a longer training.
    """

    folder: Path
    resumes: bool  # whether the folder holds a run, which is to be resumed
    schedules: str | None


def place_of(mapping: Mapping[str, Any], run_dir: Path, *, typed_run_dir: bool) -> Place:
    """Return where the training of a composed command line takes place; `run_dir` is the folder that Hydra has for it.

    Raises:
        SettingsError: there is no such run, or two are named.
    """
    resume, choice = mapping.get(RESUME), mapping.get(ACCEPT)
    faults: list[Fault] = []
    if choice not in (None, *CHOICES):
        rule = f"must be null, config or hold{meant(choice, (*CHOICES, 'null'))}"
        faults.append(Fault(ACCEPT, choice, rule))
    try:
        folder = run_dir if resume is None else run_folder_of(resume)
    except SettingsError as error:
        raise SettingsError([*faults, *error.faults]) from error
    if typed_run_dir and os.path.realpath(folder) != os.path.realpath(run_dir):
        rule = f"is another folder than {RESUME}={resume}, the run to resume; leave one of them out"
        faults.append(Fault("hydra.run.dir", run_dir, rule))
    resumes = resume is not None or holds_run(run_dir)
    if choice in CHOICES and not resumes:
        rule = f"there is no run to resume; it goes with {RESUME}=<run folder>"
        faults.append(Fault(ACCEPT, choice, rule))
    if faults:
        raise SettingsError(faults)
    return Place(folder, resumes, choice)


@dataclass(frozen=True)
class Run:
    """A run to resume."""

    folder: Path
    config: Mapping[str, Any]  # as `Settings.to_plain` gives it
    overrides: tuple[str, ...]  # those that led to it, as typed


def read_run(folder: Path, check: Callable[[Mapping[str, Any]], Settings]) -> Run:
    """Return the run in `folder`; `check` makes settings of its configuration.

    Raises:
        UserError: a file can't be read, is damaged, or holds a setting that this version doesn't know.
    """
    try:
        config = check(read_config(folder)).to_plain()
    except SettingsError as error:
        where = f"{folder / CONFIG} does not fit this version"
        faults = [replace(fault, key=f"{where}: {fault.key}") for fault in error.faults]
        raise SettingsError(faults) from error
    return Run(folder, config, typed_overrides(folder))
