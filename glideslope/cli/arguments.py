"""The command line of a program: its flags, checked, and its words, with the spelling that was meant."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra

from glideslope.cli.config_files import found_first
from glideslope.cli.groups import Groups
from glideslope.cli.hydra_internals import flag_parser
from glideslope.cli.overrides import COMMAND_KEYS, decoded
from glideslope.cli.spelling import Vocabulary, misspelt
from glideslope.errors import SettingsError, UserError
from glideslope.settings import CompareSettings, EvaluateSettings, PreviewSettings, Settings
from glideslope.settings.catalogue import groups_of, options_of, preset_folders
from glideslope.settings.checks import CheckedSettings

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
# What choices of Hydra's need to be installed; all are in the extra "sweep".
_PLUGINS = {"hydra/sweeper=optuna": "hydra-optuna-sweeper", "hydra/launcher=ray": "hydra-ray-launcher"}
VERSION_BASE = "1.3"
"""The version of Hydra whose defaults hold."""


def keys_of(settings: type[CheckedSettings]) -> set[str]:
    """Return the keys that the command line of a program has."""
    return {*settings.model_fields, *(COMMAND_KEYS if settings is Settings else ())}


@dataclass(frozen=True)
class Arguments:
    """A command line.

    Attributes:
        flags: the flags and the overrides, as Hydra's parser reads them.
        words: all words but the overrides.
        config_name: the primary configuration of the program, a file of `cfgs/` without its suffix.
        folders: where files of groups are looked for, the first one before the others.
    """

    flags: argparse.Namespace
    words: tuple[str, ...]
    config_name: str
    folders: tuple[Path, ...]

    @property
    def overrides(self) -> list[str]:
        """The overrides, as typed."""
        return list(self.flags.overrides)

    @property
    def multirun(self) -> bool:
        """Whether several jobs are asked for."""
        return bool(self.flags.multirun) or "hydra.mode=MULTIRUN" in self.overrides

    @property
    def plain(self) -> bool:
        """Whether one job is to be run, and nothing that Hydra does itself."""
        others = ("hydra_help", "cfg", "resolve", "shell_completion", "info")
        return not self.multirun and not any(getattr(self.flags, name) for name in others)

    def for_job(self, overrides: Sequence[str]) -> Arguments:
        """Return the plain command line of one job of a sweep."""
        flags = {**vars(self.flags), "multirun": False, "overrides": [decoded(text) for text in overrides]}
        return replace(self, flags=argparse.Namespace(**flags), words=())

    @contextmanager
    def initialized(self) -> Iterator[Groups]:
        """Initialize Hydra with the files that the command line names; give their groups."""
        *own, directory = self.folders
        # A job of a sweep runs inside Hydra, which allows one configuration at a time.
        instance = GlobalHydra.instance()
        outer = instance.hydra
        instance.clear()
        try:
            with (
                found_first(own),
                hydra.initialize_config_dir(str(directory), job_name="glideslope", version_base=VERSION_BASE),
            ):
                name = self.flags.config_name or self.config_name
                yield Groups(instance.config_loader(), name)
        finally:
            GlobalHydra.instance().hydra = outer


def read_arguments(argv: Sequence[str], config_name: str, settings: type[CheckedSettings]) -> Arguments:
    """Read the command line of a program.

    Raises:
        SettingsError: with every word that is not of the form key=value and has a right spelling.
        UserError: a flag is unknown, lacks its value, or excludes another.
    """
    parser = flag_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    everything = {"all"} if {"--help", "-h"} & set(argv) else set()
    words = [word for word in argv if word not in everything]
    if faults := list(misspelt(words, _vocabulary(config_name, settings, parser))):
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
    _require_plugins(flags.overrides)
    words = [word for word in argv if word not in flags.overrides]
    folders = preset_folders() if flags.config_path is None else (Path(flags.config_path).resolve(),)
    if flags.config_dir is not None:
        folders = (Path(flags.config_dir).resolve(), *folders)
    return Arguments(flags, tuple(words), config_name, folders)


def _vocabulary(config_name: str, settings: type[CheckedSettings], parser: argparse.ArgumentParser) -> Vocabulary:
    groups = groups_of(config_name)
    options: dict[str, list[str]] = {}
    for group in groups:
        for option in options_of(group):
            options.setdefault(option, []).append(group)
    return Vocabulary(
        keys={*keys_of(settings), *groups, "hydra"},
        options=options,
        path_keys={Settings: ["resume"], EvaluateSettings: ["run"]}.get(settings, []),
        parser=parser,
    )


def _refuse_flag(message: str) -> NoReturn:
    about_value = message.startswith("argument ")  # of a flag that there is, such as --cfg without `job`
    raise UserError(message if about_value else f"{message}; settings are written key=value, without dashes")


def _require_plugins(words: Sequence[str]) -> None:
    """Refuse a sweeper or launcher that is not installed, with the extra to install."""
    for choice, package in _PLUGINS.items():
        if choice in (word.lstrip("+") for word in words):
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError as error:
                rule = f"needs the package {package}; install it with pip install 'glideslope[sweep]'"
                raise UserError(f"{choice}: {rule}") from error
