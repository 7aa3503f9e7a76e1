"""The command line of a program: its flags, checked, and its words, with the spelling that was meant."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from glideslope.errors import UNSET, Fault, SettingsError, UserError, listed, nearest
from glideslope.settings import (
    CompareSettings,
    EvaluateSettings,
    ExportSettings,
    PlaySettings,
    PreviewSettings,
    SearchSettings,
    Settings,
)
from glideslope.settings.catalogue import groups_of, options_of, preset_folders
from glideslope.settings.checks import CheckedSettings

TRAIN_CONFIG = "config_gimbal_curriculum"
EVALUATE_CONFIG = "config_evaluate"
PREVIEW_CONFIG = "config_preview"
COMPARE_CONFIG = "config_compare"
TUNE_CONFIG = "config_tune"
EXPORT_CONFIG = "config_export"
PLAY_CONFIG = "config_play"
PROGRAMS: Mapping[str, tuple[str, type[Any]]] = {
    "train": (TRAIN_CONFIG, Settings),
    "evaluate": (EVALUATE_CONFIG, EvaluateSettings),
    "preview": (PREVIEW_CONFIG, PreviewSettings),
    "compare": (COMPARE_CONFIG, CompareSettings),
    "tune": (TUNE_CONFIG, SearchSettings),
    "export": (EXPORT_CONFIG, ExportSettings),
    "play": (PLAY_CONFIG, PlaySettings),
}
"""The configuration and the settings of each program."""
# What choices of Hydra's need to be installed; all are in the extra "sweep".
_PLUGINS = {
    "hydra/sweeper=optuna": "hydra-optuna-sweeper",
    "hydra/launcher=joblib": "hydra-joblib-launcher",
    "hydra/launcher=ray": "hydra-ray-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
}
VERSION_BASE = "1.3"
"""The version of Hydra whose defaults hold."""

_DASHED = re.compile(r"--?([A-Za-z][\w.@/-]*)(?:[=:]\s*(.*))?", re.DOTALL)
_COLON = re.compile(r"([A-Za-z][\w.@/]*):\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"-\.?\d.*")
_DELETION = re.compile(r"~[A-Za-z].*")  # takes a setting away; it needs no value


def keys_of(settings: type[CheckedSettings]) -> set[str]:
    """Return the keys that the command line of a program has."""
    return {*settings.model_fields, *(COMMAND_KEYS if settings is Settings else ())}


@dataclass(frozen=True)
class Arguments:
    """A command line."""

    flags: argparse.Namespace  # and the overrides, as Hydra's parser reads them
    words: tuple[str, ...]  # all but the overrides
    config_name: str  # the primary configuration of the program, a file of `cfgs/` without its suffix
    folders: tuple[Path, ...]  # where files of groups are looked for, the first one before the others

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
        raise UserError("--run, --multirun, --cfg, --info and --shell-completion can't be combined")
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
        path_keys=["resume"] if settings is Settings else ["run"] if "run" in settings.model_fields else [],
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


@dataclass(frozen=True)
class Vocabulary:
    """What the words of a program's command line can be."""

    keys: Collection[str]  # and the groups of files
    options: Mapping[str, Sequence[str]]  # the groups that an option belongs to, such as {"smoke": ["profile"]}
    path_keys: Sequence[str]  # those whose values are run folders or snapshots
    parser: argparse.ArgumentParser  # knows the flags; raises UserError where it refuses one

    def has(self, key: str) -> bool:
        """Return whether `key`, or what it is a part of, is known."""
        return key in self.keys or key.partition(".")[0] in self.keys

    def flag_length(self, words: Sequence[str]) -> int:
        """Return how many of one or two words are a flag and its value; 0 where there is no such flag."""
        alone = True
        try:
            if self.parser.parse_known_args(words[:1])[1]:
                return 0
        except UserError:
            alone = False  # its value is missing
        try:
            flags, others = self.parser.parse_known_args(list(words))
        except UserError:
            return 1 if alone else len(words)
        return 1 if alone and (flags.overrides or others) else len(words)


def misspelt(words: Sequence[str], known: Vocabulary) -> Iterator[Fault]:
    """Yield a fault for each word that is not of the form key=value and has a right spelling, which it names."""
    at = 0
    while at < len(words):
        word, rest = words[at], list(words[at + 1 :])
        fault, taken = None, 0
        if _DELETION.fullmatch(word):
            pass
        elif word.startswith("-") and not _NUMBER.fullmatch(word):
            fault, taken = _dashed(word, rest, known)
        elif "=" not in word.strip("=") or _COLON.fullmatch(word.partition("=")[0]):
            fault, taken = _bare(word, rest, known)
        if fault is not None:
            yield fault
        at += 1 + taken


def _dashed(word: str, rest: list[str], known: Vocabulary) -> tuple[Fault | None, int]:
    """Return the fault of a word with dashes, and how many of the next words belong to it."""
    match, length = _DASHED.fullmatch(word), known.flag_length([word, *rest[:1]])
    if match is None:
        return (None, length - 1) if length else (Fault(word, UNSET, "unknown flag"), 0)
    key, value = match[1], match[2]
    key = key if known.has(key) else key.replace("-", "_")
    taken = 0
    if value is None and rest and _is_value(rest[0]):
        value, taken = rest[0], 1
    # --run is a flag as well as a key; -profile=x would be the flag -p.
    means_key = known.has(key) and (value is not None or not word.startswith("--"))
    if length and not means_key:
        return None, length - 1
    typed = " ".join([word, *rest[:taken]])
    rule = "settings are written key=value, without dashes"
    if known.has(key):
        named = f"{key}={'...' if value is None else value}"
        return Fault(typed, UNSET, f"{rule}; did you mean {named}?"), taken
    near = nearest(key, sorted(known.keys))
    hint = f"; did you mean {near}=...?" if near else ""
    return Fault(typed, UNSET, f"unknown flag; {rule}{hint}"), taken


def _bare(word: str, rest: list[str], known: Vocabulary) -> tuple[Fault | None, int]:
    """Return the fault of a word without dashes and without an equals sign inside it, as of `_dashed`."""
    key, value, taken = word, None, 0
    colon = _COLON.fullmatch(word)
    if colon and known.has(colon[1]):
        key, value = colon[1], colon[2] or None
    elif word.endswith("=") and known.has(word[:-1]):
        key = word[:-1]
        if not (rest and _is_value(rest[0])):
            return None, 0
    if value is None and rest:
        if rest[0] == "=" and len(rest) > 1:
            value, taken = rest[1], 2
        elif rest[0].startswith("=") and rest[0] != "=":
            value, taken = rest[0][1:], 1
        elif _is_value(rest[0]):
            value, taken = rest[0], 1
    if value is not None:
        name = key if known.has(key) else nearest(key, sorted(known.keys))
        if name:
            typed = " ".join([word, *rest[:taken]])
            return _unlike(typed, f"{name}={value}"), taken
    is_path = os.path.exists(os.path.expanduser(word))
    keys = (is_path and known.path_keys) or known.options.get(word, ())
    return (_unlike(word, listed([f"{key}={word}" for key in keys])) if keys else None), 0


def _unlike(typed: str, meant: str) -> Fault:
    return Fault(typed, UNSET, f"is not of the form key=value; did you mean {meant}?")


def _is_value(word: str) -> bool:
    """Return whether a word can only be the value of the one before it."""
    if "=" in word or _DELETION.fullmatch(word):
        return False
    return not word.startswith("-") or bool(_NUMBER.fullmatch(word))
