"""From a command line to checked settings; only this, `glideslope.composition` and `.overrides` know Hydra.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from glideslope.composition import Composer, Composition
from glideslope.lr_scheduler import ScheduleError
from glideslope.overrides import CONFIG_FAULTS, explain, read_overrides
from glideslope.resuming import KEYS as RESUME_KEYS
from glideslope.resuming import continued, place_of, read_run
from glideslope.schedules import exploration_noise, learning_rates
from glideslope.settings import PreviewSettings, Settings, SettingsError, UserError
from glideslope.validation import CheckedSettings, fault

CONFIG_DIR = Path(__file__).resolve().parent.parent / "cfgs"
TRAIN_CONFIG = "config_gimbal_curriculum"
EVALUATE_CONFIG = "config_evaluate"
PREVIEW_CONFIG = "config_preview"
COMPARE_CONFIG = "config_compare"
USER_FAULT = 2
_BY_SIGNAL = 128  # the status of a program that a signal has ended is this and the signal's number
INTERRUPTED = _BY_SIGNAL + 2

_VERSION_BASE = "1.3"
# Overrides that say where a training takes place and whether it goes on: no part of its settings.
_WHERE = re.compile(rf"[+~]*(hydra[./]|({'|'.join(RESUME_KEYS)})(=|$))")
_LONGEST_NAME = 80

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
        resume: whether `run_dir` holds a run, which is to go on.
        accept_schedule: whether that run's learning rates and exploration noise may be other ones than so far.
        changes: what that run is to have otherwise than so far, a line each.
    """

    settings: S
    mapping: Mapping[str, Any]
    choices: Mapping[str, str]
    run_dir: Path
    overrides: tuple[str, ...]
    given: frozenset[str]
    resume: bool = False
    accept_schedule: bool = False
    changes: tuple[str, ...] = ()


def run_cli(
    main: Callable[[Composed[S]], int],
    config_name: str,
    settings: type[S],
    argv: Sequence[str] | None = None,
) -> int:
    """Composes the settings that `argv` (by default the process's) asks for, and calls `main` with them.

    With `--multirun`, `main` is called for one job after the other, once all of them have been checked; `--help`,
    `--cfg` and the like are Hydra's. A fault of the user's, also one that `main` raises as UserError or
    ScheduleError, becomes a message on stderr and status 2. Returns the exit status, of a sweep the worst.
    """
    # Waiting threads that spin slow a busy machine down thirtyfold; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters that the terminal lacks
    try:
        arguments = _read_arguments(sys.argv[1:] if argv is None else argv)
        if arguments.plain:
            return main(_compose(arguments, config_name, settings))
        return _hand_over(main, arguments, config_name, settings)
    except (UserError, ScheduleError) as error:
        sys.stderr.write(_message(error))
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
    return _compose(_read_arguments(argv), config_name, settings)


def _message(error: Exception) -> str:
    faults = getattr(error, "faults", (str(error),))
    if len(faults) == 1:
        return f"Error: {faults[0]}\n"
    return "".join(
        [f"Error: {len(faults)} faults in the configuration:\n", *(f"  {line}\n" for line in faults)]
    )


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
    name, search_path = arguments.flags.config_name or config_name, tuple(arguments.search_path)
    with _hydra_for(arguments) as loader:
        composer = Composer(loader, name, search_path, job)
        if settings is Settings:
            return cast(Composed[S], _compose_training(composer, words, job_dir))
        asked = composer.compose(words)
        return _fresh(asked, settings, words, job_dir)


def _compose_training(composer: Composer, words: Sequence[str], job_dir: Path | None) -> Composed[Settings]:
    """A new training, or one that goes on."""
    asked, unfit = _asked(composer, words)
    single = composer.job is None and job_dir is None
    try:
        place = place_of(
            asked.mapping,
            job_dir or Path(asked.run_dir),
            typed_run_dir=single and any(re.match(r"[+]*hydra\.run\.dir=", word) for word in words),
        )
    except SettingsError as error:
        raise SettingsError([*error.faults, *(asked.faults if unfit is None else unfit.faults)]) from error
    if not place.goes_on:
        if unfit is not None:
            raise unfit
        return _fresh(asked, Settings, words, job_dir)

    def check(mapping: Mapping[str, Any]) -> Settings:
        return _check(mapping, Settings, [])

    run = read_run(place.folder, check)
    goes_on = continued(run, _of_settings(words), composer, check, accept_schedule=place.accept_schedule)
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


def _fresh(asked: Composition, settings: type[S], words: Sequence[str], job_dir: Path | None) -> Composed[S]:
    """What a command line asks for, checked."""
    mapping = asked.named if "profile" in settings.model_fields else asked.mapping
    faults = [*asked.faults, *_of_other_programs(mapping, settings)]
    return Composed(
        settings=_check(mapping, settings, faults),
        mapping=mapping,
        choices=asked.choices,
        run_dir=job_dir or Path(asked.run_dir),
        overrides=tuple(word.lstrip("+") for word in _of_settings(words)),
        given=asked.overrides.keys - set(RESUME_KEYS),
    )


def _of_settings(words: Sequence[str]) -> list[str]:
    """The overrides without Hydra's own and those that say which run is to go on, and how."""
    return [word for word in words if not _WHERE.match(word)]


def _check(mapping: Mapping[str, Any], settings: type[S], faults: list[str]) -> S:
    """The checked settings; schedules are read too, so that their faults are in the same report."""
    checked: CheckedSettings | None
    try:
        checked = settings.from_config(mapping)
    except SettingsError as error:
        faults = [*faults, *error.faults]
        checked = error.repaired
    if isinstance(checked, Settings):
        faults = [*faults, *_schedule_faults(checked)]
    if faults:
        raise SettingsError(faults, checked)
    return cast(S, checked)


def _schedule_faults(settings: Settings) -> Iterator[str]:
    for build in (learning_rates, exploration_noise):
        try:
            build(settings)
        except ScheduleError as error:
            yield from error.faults


def _of_other_programs(mapping: dict[str, Any], settings: type[CheckedSettings]) -> Iterator[str]:
    """Settings that are another program's, and those of resumes; takes them out of `mapping`."""
    if settings is Settings:
        for key in sorted(
            mapping.keys() & (PreviewSettings.model_fields.keys() - Settings.model_fields.keys())
        ):
            yield fault(key, "is a setting of preview_lr_schedule.py; a training has none", mapping.pop(key))
    if issubclass(settings, Settings):
        for key in RESUME_KEYS:
            value = mapping.pop(key, None)
            if value is not None and settings is not Settings:
                yield fault(key, "is a setting of train_gimbal_curriculum.py; a preview has none", value)


# --- Flags, and what Hydra does itself ------------------------------------------------------------


@dataclass(frozen=True)
class _Arguments:
    """A command line: `flags` as Hydra's parser reads them, and `words`, all but the overrides."""

    flags: argparse.Namespace
    words: tuple[str, ...]

    @property
    def multirun(self) -> bool:
        """Whether several jobs are asked for."""
        return bool(self.flags.multirun) or "hydra.mode=MULTIRUN" in self.flags.overrides

    @property
    def plain(self) -> bool:
        """Whether one job is to be run, and nothing that Hydra does itself."""
        others = ("help", "hydra_help", "cfg", "resolve", "shell_completion", "info")
        return not self.multirun and not any(getattr(self.flags, name) for name in others)

    @property
    def search_path(self) -> list[str]:
        """The override that adds the folder of --config-dir."""
        folder = self.flags.config_dir
        return [] if folder is None else [f'hydra.searchpath=["file://{Path(folder).resolve()}"]']

    def for_job(self, overrides: Sequence[str]) -> _Arguments:
        """The plain command line of one job with these overrides."""
        flags = {**vars(self.flags), "multirun": False, "overrides": list(overrides)}
        return _Arguments(argparse.Namespace(**flags), ())


def _read_arguments(argv: Sequence[str]) -> _Arguments:
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(argv))
    if flags.experimental_rerun is not None:
        raise UserError("--experimental-rerun is not supported: it runs what is in a file")
    for flag, folder in (("--config-dir", flags.config_dir), ("--config-path", flags.config_path)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"{flag} {folder}: there is no such folder")
    if sum(map(bool, (flags.run, flags.multirun, flags.cfg, flags.info, flags.shell_completion))) > 1:
        raise UserError("--run, --multirun, --cfg, --info and --shell-completion exclude each other")
    if flags.resolve and not (flags.cfg or flags.help):
        raise UserError("--resolve goes with --cfg or --help")
    return _Arguments(flags, tuple(word for word in argv if word not in flags.overrides))


def _refuse_flag(message: str) -> NoReturn:
    raise UserError(f"{message}; settings are written key=value, without dashes")


@contextmanager
def _hydra_for(arguments: _Arguments) -> Iterator[ConfigLoader]:
    folder = arguments.flags.config_path
    directory = CONFIG_DIR if folder is None else Path(folder).resolve()
    # A job of a sweep runs inside Hydra, which allows one configuration at a time.
    instance = GlobalHydra.instance()
    outer = instance.hydra
    instance.clear()
    try:
        with hydra.initialize_config_dir(str(directory), job_name="glideslope", version_base=_VERSION_BASE):
            yield instance.config_loader()
    finally:
        GlobalHydra.instance().hydra = outer


def _hand_over(
    main: Callable[[Composed[S]], int], arguments: _Arguments, config_name: str, settings: type[S]
) -> int:
    """Lets Hydra act on the command line; returns the worst status of the jobs that it runs."""
    words = list(arguments.flags.overrides)
    if not arguments.flags.shell_completion:
        words = _check_jobs(arguments, config_name, settings)
    statuses = [0]

    def job(_: DictConfig) -> int:
        own = HydraConfig.get()
        place = Path(own.runtime.output_dir)
        composed = _compose(arguments.for_job(own.overrides.task), config_name, settings, job_dir=place)
        status = main(composed)
        statuses.append(status)
        if status > _BY_SIGNAL:
            raise KeyboardInterrupt(status)  # whoever stops a job means the sweep
        return status

    start = hydra.main(config_path=str(CONFIG_DIR), config_name=config_name, version_base=_VERSION_BASE)(job)
    try:
        with _process(argv=[sys.argv[0], *arguments.words, *words]):
            start()
    except CONFIG_FAULTS as error:
        raise SettingsError([explain(error)]) from error
    return max(statuses)


def _check_jobs(arguments: _Arguments, config_name: str, settings: type[S]) -> list[str]:
    """The overrides as Hydra is to get them, once every job of a sweep over a grid has been checked."""
    name = arguments.flags.config_name or config_name
    with _hydra_for(arguments) as loader:
        overrides, faults = read_overrides(
            arguments.flags.overrides, loader, name, arguments.search_path, sweeps=arguments.multirun
        )
    # Other sweepers choose the values as they go.
    over_grid = not any(re.match(r"hydra/sweeper=(?!basic$)", text) for text in overrides.texts)
    if arguments.multirun and over_grid:
        try:
            jobs = BasicSweeper.split_arguments(list(overrides.parsed), None)[0]
        except HydraException as error:
            raise SettingsError([*faults, explain(error)]) from error
        for number, job in enumerate(jobs):
            try:
                _compose(arguments.for_job(job), config_name, settings, job=number)
            except SettingsError as error:
                faults += error.faults
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return overrides.texts


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


# --- Names of run folders -------------------------------------------------------------------------


def run_name(prefix: object, overrides: Sequence[str]) -> str:
    """Prefix and overrides as the name of a folder: [A-Za-z0-9._-], at most 80 characters, easy to type back.

    Of what is too long the names of config groups are left out, then all but the last part of each key; then it is cut.

    >>> run_name("101500", ["lr_schedule=gentle_decay", "++lr_schedule.encoder.intervals.0.lr=2.0e-4"])
    '101500_lr_schedule-gentle_decay_lr_schedule.encoder.intervals.0.lr-2.0e-4'
    >>> choices = ["lr_schedule=gentle_decay", "curriculum_preset=balanced", "encoder_bundle@agent=enc_B"]
    >>> run_name("101500", [*choices, "profile=cpu", "agent.encoder.d_model=96"])
    '101500_gentle_decay_balanced_enc_B_cpu_agent.encoder.d_model-96'
    """
    words = [override.lstrip("+~") for override in overrides] or ["defaults"]
    for spell in (_without_package, _choice, _last_part):
        name = "_".join([str(prefix), *(_typable(spell(word)) for word in words)])
        if len(name) <= _LONGEST_NAME:
            break
    return name[:_LONGEST_NAME].rstrip("-._")


def _typable(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-")


def _without_package(override: str) -> str:
    key, equals, value = override.partition("=")
    return key.partition("@")[0] + equals + value


def _choice(override: str) -> str:
    """What is chosen in a config group, by itself."""
    group, _, value = _without_package(override).partition("=")
    chosen = value and re.fullmatch(r"\w+", group) and (CONFIG_DIR / group).is_dir()
    return value if chosen else override


def _last_part(override: str) -> str:
    key, equals, value = _choice(override).partition("=")
    return key.rpartition(".")[2] + equals + value if equals else key


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
