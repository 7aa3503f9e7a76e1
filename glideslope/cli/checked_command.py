"""What a command line asks for, composed and checked: a new training, a resumed one, or another program's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from glideslope.cli.arguments import PROGRAMS, Arguments, keys_of
from glideslope.cli.help_text import script_of
from glideslope.cli.hydra_composition import Composer, Composition
from glideslope.cli.overrides import COMMAND_KEYS, Word
from glideslope.cli.resume_merge import resumed
from glideslope.cli.resume_target import Place, place_of, read_run
from glideslope.errors import Fault, SettingsError
from glideslope.lr_scheduler import ScheduleError
from glideslope.runs.run_folder import first_free
from glideslope.settings import Settings
from glideslope.settings.checks import CheckedSettings
from glideslope.settings.schedules import exploration_noise, learning_rates, quantities
from glideslope.training.objective import DEFAULT as DEFAULT_OBJECTIVE
from glideslope.training.objective import KEY as OBJECTIVE
from glideslope.training.objective import check_objective

S = TypeVar("S", bound=CheckedSettings)


@dataclass(frozen=True)
class Composed(Generic[S]):
    """What a command line asks for."""

    settings: S
    mapping: Mapping[str, Any]  # plain, what `settings` were made from, interpolations resolved
    choices: Mapping[str, str]  # the file chosen in each group of `cfgs/`, such as {"lr_schedule": "gentle_decay"}
    run_dir: Path  # it is not created
    # As typed, without those of Hydra's own settings and those that say which run is resumed; of a run that is
    # resumed, all that were ever typed and count still.
    overrides: tuple[str, ...]
    given: frozenset[str]  # the dotted keys that they set
    new_folder: bool = False  # whether `run_dir` is to be a new one, with a number at its end where it is there already
    resume: bool = False  # whether `run_dir` holds a run, which is to be resumed
    accept_schedule: bool = False  # whether that run's learning rates and exploration noise may change
    changes: tuple[str, ...] = ()  # in that run, a line each
    objective: str = DEFAULT_OBJECTIVE  # the logged number that a sweep is to read of the training


def compose_job(
    arguments: Arguments, settings: type[S], *, job: int | None = None, job_dir: Path | None = None
) -> Composed[S]:
    """Compose and check what a plain command line asks for. Writes nothing.

    `job` is the number that it will have as the job of a sweep, `job_dir` the folder that a sweep has given it.

    Raises:
        SettingsError: with every fault of the command line and of the files that it names.
    """
    words = arguments.overrides
    with arguments.initialized() as groups:
        composer = Composer(groups, job)
        if settings is Settings:
            return cast(Composed[S], _training(composer, words, job_dir))
        asked = composer.compose(words)
        return _fresh(asked, settings, words, job_dir or Path(asked.run_dir))


def _training(composer: Composer, words: Sequence[str], job_dir: Path | None) -> Composed[Settings]:
    """Compose a new training, or one that resumes."""
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
    if place.resumes:
        choices = asked.choices if unfit is None else {}
        return _resumed(place, composer, words, choices, objective)
    if unfit is not None:
        raise unfit
    return replace(_fresh(asked, Settings, words, run_dir, objective), new_folder=new_folder)


def _asked(composer: Composer, words: Sequence[str]) -> tuple[Composition, SettingsError | None]:
    """Return what a command line asks for.

    Where that can't be composed, its values may be meant for a run that is resumed: return where that is, and the
    error.
    """
    try:
        return composer.compose(words), None
    except SettingsError as error:
        where = [word for word in words if not Word(word).is_setting]
        if any("${" in word for word in where):
            raise
        try:
            return composer.compose(where), error
        except SettingsError:
            raise error from None


def _fresh(
    asked: Composition, settings: type[S], words: Sequence[str], run_dir: Path, objective: object = DEFAULT_OBJECTIVE
) -> Composed[S]:
    """Check what a command line asks for, where no run is resumed."""
    mapping = asked.named if "profile" in settings.model_fields else asked.mapping
    faults = [*asked.faults, *_of_other_programs(mapping, settings)]
    return Composed(
        settings=_check(mapping, settings, faults, objective),
        mapping=mapping,
        choices=asked.choices,
        run_dir=run_dir,
        overrides=tuple(word.stored for word in map(Word, words) if word.is_setting),
        given=asked.overrides.keys - set(COMMAND_KEYS),
        objective=str(objective),
    )


def _resumed(
    place: Place, composer: Composer, words: Sequence[str], choices: Mapping[str, str], objective: object
) -> Composed[Settings]:
    """Compose and check the run in `place` with what the command line changes of it."""

    def check(mapping: Mapping[str, Any]) -> Settings:
        return _check(mapping, Settings)

    typed = [word for word in words if Word(word).is_setting]
    found = resumed(read_run(place.folder, check), typed, composer, check, schedules=place.schedules)
    return Composed(
        settings=found.settings,
        mapping=found.settings.to_plain(),
        choices=choices,
        run_dir=place.folder,
        overrides=found.overrides,
        given=found.given,
        resume=True,
        accept_schedule=place.schedules == "config",
        changes=found.changes,
        objective=check_objective(objective, found.settings),
    )


def _check(
    mapping: Mapping[str, Any], settings: type[S], faults: Sequence[Fault] = (), objective: object = DEFAULT_OBJECTIVE
) -> S:
    """Return the checked settings; schedules and the objective are read too, for one report of all faults."""
    checked: CheckedSettings | None
    faults = list(faults)
    try:
        checked = settings.from_config(mapping)
    except SettingsError as error:
        faults += error.faults
        checked = error.repaired
    if isinstance(checked, Settings):
        for check in (learning_rates, exploration_noise, quantities, partial(check_objective, objective)):
            try:
                check(checked)
            except (ScheduleError, SettingsError) as error:
                faults += error.faults
    if faults:
        raise SettingsError(faults, checked)
    return cast(S, checked)


def _of_other_programs(mapping: dict[str, Any], settings: type[CheckedSettings]) -> Iterator[Fault]:
    """Take the keys of other programs and of the command line out of `mapping`; yield the faults of the former."""
    if issubclass(settings, Settings):  # a preview's configuration is made of a training's
        for key in COMMAND_KEYS:
            if settings is Settings or mapping.get(key) in (None, DEFAULT_OBJECTIVE):
                mapping.pop(key, None)
    for key in sorted(mapping.keys() - settings.model_fields.keys()):
        owner = next((model for _, model in PROGRAMS.values() if key in keys_of(model)), None)
        if owner is None or owner is settings or isinstance(mapping[key], dict):
            continue
        rule = f"is a setting of {script_of(owner)}; {script_of(settings)} has none"
        if settings is Settings and key == "run":
            rule += "; a training is resumed with resume=<run folder>"
        yield Fault(key, mapping.pop(key), rule)
