"""From a command line to checked settings; only this, `glideslope.cli.composition` and `.overrides` know Hydra.

Hydra composes the files of `cfgs/` without its side effects: no folder, no log, no change of directory.
Every fault, Hydra's own included, becomes a line `key=value: rule`; together they are one message and exit
status 2.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from glideslope.cli.composition import Composer, Composition
from glideslope.cli.config_files import found_first
from glideslope.cli.help_text import help_text, script_of
from glideslope.cli.overrides import Groups, as_stored, decoded, explain, read_overrides
from glideslope.cli.resume import KEYS as RESUME_KEYS
from glideslope.cli.resume import continued, place_of, read_run
from glideslope.cli.run_names import of_sweep
from glideslope.cli.spelling import Vocabulary, misspelt
from glideslope.cli.sweeps import (
    BY_SIGNAL,
    USER_FAULT,
    chooses_sweeper,
    finish_sweep,
    message,
    require_plugins,
    run_jobs,
)
from glideslope.display.commands import compare_command, program, sweep_command
from glideslope.display.console import say, screen
from glideslope.errors import UNSET, Fault, SettingsError, UserError
from glideslope.lr_scheduler import ScheduleError
from glideslope.runs.folder import first_free, make_new
from glideslope.settings import CompareSettings, EvaluateSettings, PreviewSettings, Settings
from glideslope.settings.catalogue import CONFIG_DIR, groups_of, options_of, preset_folders
from glideslope.settings.checks import CheckedSettings
from glideslope.settings.schedules import exploration_noise, learning_rates
from glideslope.training.objective import DEFAULT as DEFAULT_OBJECTIVE
from glideslope.training.objective import KEY as OBJECTIVE
from glideslope.training.objective import check_objective, read_objective

TRAIN_CONFIG = "config_gimbal_curriculum"
EVALUATE_CONFIG = "config_evaluate"
PREVIEW_CONFIG = "config_preview"
COMPARE_CONFIG = "config_compare"
PROGRAMS: Mapping[str, tuple[str, type[Any]]] = {
    "train": (TRAIN_CONFIG, Settings),
    "evaluate": (EVALUATE_CONFIG, EvaluateSettings),
    "preview": (PREVIEW_CONFIG, PreviewSettings),
    "compare": (COMPARE_CONFIG, CompareSettings),
}
"""The configuration and the settings of each program."""
INTERRUPTED = BY_SIGNAL + 2

_VERSION_BASE = "1.3"
# Keys of the command line that a run's configuration does not have.
_COMMAND_KEYS = (*RESUME_KEYS, OBJECTIVE)
# Overrides that say where a training takes place, whether it resumes and what a sweep reads of it: no settings.
_WHERE = re.compile(rf"[+~]*(hydra[./]|({'|'.join(_COMMAND_KEYS)})(=|$))")

S = TypeVar("S", bound=CheckedSettings)


@dataclass(frozen=True)
class Composed(Generic[S]):
    """What a command line asks for.

    Attributes:
        settings: the checked settings.
        mapping: the plain mapping that they were made from, interpolations resolved.
        choices: the file chosen in each group of `cfgs/`, such as {"lr_schedule": "gentle_decay"}.
        run_dir: the run's folder; it is not created.
        overrides: the overrides as typed, without those of Hydra's own settings and those that say which
            run is to go on; of a run that goes on, all that were ever typed and count still.
        given: the dotted keys that they set.
        new_folder: whether `run_dir` is to be a new folder, with a number at its end where there is one already.
        resume: whether `run_dir` holds a run, which is to go on.
        accept_schedule: whether that run's learning rates and exploration noise may be other ones than so far.
        changes: what that run is to have otherwise than so far, a line each.
        objective: the logged number that a sweep is to read of the training.
    """

    settings: S
    mapping: Mapping[str, Any]
    choices: Mapping[str, str]
    run_dir: Path
    overrides: tuple[str, ...]
    given: frozenset[str]
    new_folder: bool = False
    resume: bool = False
    accept_schedule: bool = False
    changes: tuple[str, ...] = ()
    objective: str = DEFAULT_OBJECTIVE


def run_cli(
    main: Callable[[Composed[S]], int],
    config_name: str,
    settings: type[S],
    argv: Sequence[str] | None = None,
) -> int:
    """Composes the settings that `argv` (by default the process's) asks for, and calls `main` with them.

    With `--multirun`, `main` is called for one job after the other, once all of them have been checked; `--cfg`
    and the like are Hydra's. A fault of the user's, also one that `main` raises as UserError or ScheduleError,
    becomes a message on stderr and status 2. Returns the exit status, of a sweep the worst.
    """
    # Waiting threads that spin slow a busy machine down thirtyfold; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters that the terminal lacks
    try:
        arguments = _read_arguments(sys.argv[1:] if argv is None else argv, config_name, settings)
        if arguments.flags.help:
            sys.stdout.write(_help(arguments, config_name, settings))
            return 0
        if arguments.plain:
            return main(_compose(arguments, config_name, settings))
        return _hand_over(main, arguments, config_name, settings)
    except (UserError, ScheduleError) as error:
        sys.stderr.write(message(error))
        return USER_FAULT
    except KeyboardInterrupt as error:
        sys.stderr.write("\nInterrupted.\n")
        return next(iter(error.args), INTERRUPTED)


def compose(config_name: str, argv: Sequence[str], settings: type[S]) -> Composed[S]:
    """Composes and checks the settings that a plain command line asks for. Writes nothing.

    config_name: a file of `cfgs/`, without its suffix.

    Raises:
        SettingsError: with every fault of the command line and of the files that it names.
        UserError: the command line has an unknown flag.
    """
    return _compose(_read_arguments(argv, config_name, settings), config_name, settings)


# --- One job --------------------------------------------------------------------------------------


def _compose(
    arguments: _Arguments,
    config_name: str,
    settings: type[S],
    *,
    job: int | None = None,
    job_dir: Path | None = None,
) -> Composed[S]:
    """Composes and checks; of a sweep, `job` is the number of the job to be, `job_dir` the folder it was given."""
    words = arguments.flags.overrides
    with _hydra_for(arguments, config_name) as groups:
        composer = Composer(groups, job)
        if settings is Settings:
            return cast(Composed[S], _compose_training(composer, words, job_dir))
        asked = composer.compose(words)
        return _fresh(asked, settings, words, job_dir)


def _compose_training(composer: Composer, words: Sequence[str], job_dir: Path | None) -> Composed[Settings]:
    """A new training, or one that resumes."""
    asked, unfit = _asked(composer, words)
    objective = asked.mapping.pop(OBJECTIVE, DEFAULT_OBJECTIVE)
    single = composer.job is None and job_dir is None
    typed_run_dir = single and any(re.match(r"[+]*hydra\.run\.dir=", word) for word in words)
    run_dir = job_dir or Path(asked.run_dir)
    new_folder = single and asked.dated and not typed_run_dir
    if new_folder:
        run_dir = first_free(run_dir)  # one that is there is a run's that began in the same second
    try:
        place = place_of(asked.mapping, run_dir, typed_run_dir=typed_run_dir)
    except SettingsError as error:
        raise SettingsError([*error.faults, *(asked.faults if unfit is None else unfit.faults)]) from error
    if not place.goes_on:
        if unfit is not None:
            raise unfit
        fresh = _fresh(asked, Settings, words, job_dir, objective)
        return replace(fresh, run_dir=run_dir, new_folder=new_folder, objective=objective)

    def check(mapping: Mapping[str, Any]) -> Settings:
        return _check(mapping, Settings, [])

    run = read_run(place.folder, check)
    goes_on = continued(
        run,
        _of_settings(words),
        composer,
        check,
        accept_schedule=place.accept_schedule,
        hold_schedule=place.hold_schedule,
    )
    return Composed(
        settings=goes_on.settings,
        mapping=goes_on.settings.to_plain(),
        choices={} if unfit else asked.choices,
        run_dir=place.folder,
        overrides=goes_on.overrides,
        given=goes_on.given,
        resume=True,
        accept_schedule=place.accept_schedule,
        changes=goes_on.changes,
        objective=check_objective(objective, goes_on.settings),
    )


def _asked(composer: Composer, words: Sequence[str]) -> tuple[Composition, SettingsError | None]:
    """What a command line asks for; or only where, and why no more, as its values may be meant for a run there."""
    try:
        return composer.compose(words), None
    except SettingsError as error:
        where = [word for word in words if _WHERE.match(word)]
        if any("${" in word for word in where):
            raise
        try:
            return composer.compose(where), error
        except SettingsError:
            raise error from None


def _fresh(
    asked: Composition,
    settings: type[S],
    words: Sequence[str],
    job_dir: Path | None,
    objective: object = DEFAULT_OBJECTIVE,
) -> Composed[S]:
    """What a command line asks for, checked."""
    mapping = asked.named if "profile" in settings.model_fields else asked.mapping
    faults = [*asked.faults, *_of_other_programs(mapping, settings)]
    return Composed(
        settings=_check(mapping, settings, faults, objective),
        mapping=mapping,
        choices=asked.choices,
        run_dir=job_dir or Path(asked.run_dir),
        overrides=tuple(as_stored(word) for word in _of_settings(words)),
        given=asked.overrides.keys - set(_COMMAND_KEYS),
    )


def _of_settings(words: Sequence[str]) -> list[str]:
    """The overrides without Hydra's own and those of `_COMMAND_KEYS`."""
    return [word for word in words if not _WHERE.match(word)]


def _check(
    mapping: Mapping[str, Any],
    settings: type[S],
    faults: list[Fault],
    objective: object = DEFAULT_OBJECTIVE,
) -> S:
    """The checked settings; schedules and the objective are read too, so that their faults are in the same report."""
    checked: CheckedSettings | None
    try:
        checked = settings.from_config(mapping)
    except SettingsError as error:
        faults = [*faults, *error.faults]
        checked = error.repaired
    if isinstance(checked, Settings):
        faults = [*faults, *_schedule_faults(checked)]
        try:
            check_objective(objective, checked)
        except SettingsError as error:
            faults += error.faults
    if faults:
        raise SettingsError(faults, checked)
    return cast(S, checked)


def _schedule_faults(settings: Settings) -> Iterator[Fault]:
    for build in (learning_rates, exploration_noise):
        try:
            build(settings)
        except ScheduleError as error:
            yield from error.faults


def _of_other_programs(mapping: dict[str, Any], settings: type[CheckedSettings]) -> Iterator[Fault]:
    """Keys that are another program's, and those of the command line; takes them out of `mapping`."""
    if issubclass(settings, Settings):  # a preview's configuration is made of a training's
        for key in _COMMAND_KEYS:
            if settings is Settings or mapping.get(key) in (None, DEFAULT_OBJECTIVE):
                mapping.pop(key, None)
    for key in sorted(mapping.keys() - settings.model_fields.keys()):
        owner = next((model for _, model in PROGRAMS.values() if key in _keys_of(model)), None)
        if owner is None or owner is settings or isinstance(mapping[key], dict):
            continue
        rule = f"is a setting of {script_of(owner)}; {script_of(settings)} has none"
        if settings is Settings and key == "run":
            rule += "; a training goes on with resume=<run folder>"
        yield Fault(key, mapping.pop(key), rule)


def _keys_of(settings: type[CheckedSettings]) -> set[str]:
    return {*settings.model_fields, *(_COMMAND_KEYS if settings is Settings else ())}


# --- Flags, and what Hydra does itself ------------------------------------------------------------


@dataclass(frozen=True)
class _Arguments:
    """A command line.

    Attributes:
        flags: the flags as Hydra's parser reads them.
        words: all but the overrides.
        folders: where files of groups are looked for, the first one before the others.
    """

    flags: argparse.Namespace
    words: tuple[str, ...]
    folders: tuple[Path, ...]

    @property
    def multirun(self) -> bool:
        """Whether several jobs are asked for."""
        return bool(self.flags.multirun) or "hydra.mode=MULTIRUN" in self.flags.overrides

    @property
    def plain(self) -> bool:
        """Whether one job is to be run, and nothing that Hydra does itself."""
        others = ("hydra_help", "cfg", "resolve", "shell_completion", "info")
        return not self.multirun and not any(getattr(self.flags, name) for name in others)

    def for_job(self, overrides: Sequence[str]) -> _Arguments:
        """The plain command line of one job with these overrides."""
        flags = {**vars(self.flags), "multirun": False, "overrides": [decoded(word) for word in overrides]}
        return replace(self, flags=argparse.Namespace(**flags), words=())


def _read_arguments(argv: Sequence[str], config_name: str, settings: type[CheckedSettings]) -> _Arguments:
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    everything = {"all"} if {"--help", "-h"} & set(argv) else set()
    words = [word for word in argv if word not in everything]
    faults = misspelt(words, _vocabulary(config_name, settings, parser))
    if faults:
        raise SettingsError(faults)
    flags = parser.parse_intermixed_args(list(argv))
    if flags.experimental_rerun is not None:
        raise UserError("--experimental-rerun is not supported: it runs what is in a file")
    for flag, folder in (("--config-dir", flags.config_dir), ("--config-path", flags.config_path)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"{flag} {folder}: there is no such folder")
    if sum(map(bool, (flags.run, flags.multirun, flags.cfg, flags.info, flags.shell_completion))) > 1:
        raise UserError("--run, --multirun, --cfg, --info and --shell-completion exclude each other")
    if flags.resolve and not flags.cfg:
        raise UserError("--resolve goes with --cfg")
    if flags.package is not None and not flags.cfg:
        raise UserError(f"--package {flags.package}: goes with --cfg")
    completion = ("install=", "uninstall=", "query=")
    if flags.shell_completion and not any(word.startswith(completion) for word in flags.overrides):
        raise UserError("--shell-completion: goes with install=bash, install=zsh or install=fish")
    require_plugins(flags.overrides)
    folders = preset_folders() if flags.config_path is None else (Path(flags.config_path).resolve(),)
    if flags.config_dir is not None:
        folders = (Path(flags.config_dir).resolve(), *folders)
    return _Arguments(flags, tuple(word for word in argv if word not in flags.overrides), folders)


def _vocabulary(
    config_name: str, settings: type[CheckedSettings], parser: argparse.ArgumentParser
) -> Vocabulary:
    groups = groups_of(config_name)
    options: dict[str, list[str]] = {}
    for group in groups:
        for option in options_of(group):
            options.setdefault(option, []).append(group)
    return Vocabulary(
        keys={*_keys_of(settings), *groups, "hydra"},
        options=options,
        path_keys={Settings: ["resume"], EvaluateSettings: ["run"]}.get(settings, []),
        flag_length=lambda words: _flag_length(parser, words),
    )


def _flag_length(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """How many of one or two words Hydra's parser takes for a flag and its value; 0 where it knows no such flag."""
    try:
        if parser.parse_known_args(words[:1])[1]:
            return 0
        alone = True
    except UserError:
        alone = False  # its value is missing
    try:
        flags, others = parser.parse_known_args(list(words))
    except UserError:
        return 1 if alone else len(words)
    return 1 if alone and (flags.overrides or others) else len(words)


def _refuse_flag(message: str) -> NoReturn:
    about_value = message.startswith("argument ")  # of a flag that there is, such as --cfg without `job`
    raise UserError(message if about_value else f"{message}; settings are written key=value, without dashes")


@contextmanager
def _hydra_for(arguments: _Arguments, config_name: str) -> Iterator[Groups]:
    *own, directory = arguments.folders
    # A job of a sweep runs inside Hydra, which allows one configuration at a time.
    instance = GlobalHydra.instance()
    outer = instance.hydra
    instance.clear()
    try:
        with (
            found_first(own),
            hydra.initialize_config_dir(str(directory), job_name="glideslope", version_base=_VERSION_BASE),
        ):
            name = arguments.flags.config_name or config_name
            yield Groups(instance.config_loader(), name)
    finally:
        GlobalHydra.instance().hydra = outer


def _help(arguments: _Arguments, config_name: str, settings: type[CheckedSettings]) -> str:
    """What --help shows, with the values that the other overrides make the defaults."""
    words = [word for word in arguments.flags.overrides if word != "all"]
    with _hydra_for(arguments, config_name) as groups:
        asked = Composer(groups).compose(words)
    everything = "all" in arguments.flags.overrides
    return help_text(settings, asked.mapping, asked.choices, arguments.folders, everything=everything)


def _hand_over(
    main: Callable[[Composed[S]], int], arguments: _Arguments, config_name: str, settings: type[S]
) -> int:
    """Let Hydra act on the command line; return the worst status of the jobs that it runs."""
    words: list[str] = list(arguments.flags.overrides)
    planned: list[list[str]] = []
    folder: Path | None = None
    if not arguments.flags.shell_completion:
        words, jobs, folder = _check_jobs(arguments, config_name, settings)
        planned = [[word for word in job if not word.startswith("hydra")] for job in jobs]

    def run(overrides: Sequence[str], folder: Path) -> tuple[int, float | None]:
        if list(overrides) in planned and len(planned) > 1:
            own = [word for word in overrides if not all(word in job for job in planned)]
            number = planned.index(list(overrides)) + 1
            say(screen(), f"\nJob {number} of {len(planned)}: {' '.join(word.lstrip('+') for word in own)}")
        composed = _compose(arguments.for_job(overrides), config_name, settings, job_dir=folder)
        status = main(composed)
        if status or settings is not Settings:
            return status, None
        value = read_objective(folder, composed.objective)
        if value is None and chooses_sweeper(words):
            sys.stderr.write(f"{OBJECTIVE}={composed.objective}: this run has no such number: {folder}\n")
        return status, value

    try:
        with found_first(arguments.folders[:-1]):
            ended = run_jobs(run, [sys.argv[0], *arguments.words], words, CONFIG_DIR, config_name)
    except KeyboardInterrupt:
        # A sweeper that finds its values as it goes would begin anew.
        if settings is Settings and arguments.multirun and not chooses_sweeper(words):
            typed = [*arguments.words, *arguments.flags.overrides]
            say(screen(), "Go on with the sweep:")
            say(screen(), "  ", sweep_command(typed, folder))
        raise
    if settings is Settings and len(ended) > 1:
        from glideslope.evaluation.comparison import show

        console, folders = screen(), [job.folder for job in ended]
        show(folders, console)
        say(console, "The same with a picture and a page:")
        say(console, "  ", compare_command(Path(os.path.commonpath(folders))))
    return finish_sweep(ended)


def _check_jobs(
    arguments: _Arguments, config_name: str, settings: type[S]
) -> tuple[list[str], list[list[str]], Path | None]:
    """Check every job of a sweep over a grid.

    Returns the overrides as Hydra is to get them, the jobs, and the sweep's new folder; None where the user named it.
    """
    with _hydra_for(arguments, config_name) as groups:
        overrides, faults = read_overrides(arguments.flags.overrides, groups, sweeps=arguments.multirun)
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
    if chooses_sweeper(overrides.texts):
        if settings is not Settings:
            rule = f"goes with {program('train')}; only a training has an objective"
            faults.append(Fault("hydra/sweeper", UNSET, rule))
        # The values to be tried are found as it goes; the others are to be sound.
        jobs = [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
    elif arguments.multirun:
        try:
            jobs = BasicSweeper.split_arguments(parsed, None)[0]
        except HydraException as error:
            raise SettingsError([*faults, explain(error)]) from error
    for number, job in enumerate(jobs):
        try:
            _compose(arguments.for_job(job), config_name, settings, job=number)
        except SettingsError as error:
            faults += error.faults
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    if folder is not None:
        folder = make_new(folder)
        texts.append(f"hydra.sweep.dir='{folder}'")
    return texts, jobs, folder
