"""The configuration that overrides ask for, as Hydra composes it from the files of `cfgs/`: plain, not yet checked."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from glideslope.cli.config_files import COMPOSITION_FAULTS, explain
from glideslope.cli.groups import Groups, misnamed
from glideslope.cli.overrides import Overrides, Word, read_overrides, spelled
from glideslope.errors import UNSET, Fault, SettingsError

Route = tuple[str, ...]
"""The keys and indices that lead to a value."""


@dataclass(frozen=True)
class Composition:
    """The configuration that overrides ask for."""

    mapping: dict[str, Any]  # plain, interpolations resolved, without Hydra's own settings
    choices: dict[str, str]  # the file chosen in each group of `cfgs/`
    run_dir: str
    dated: bool  # whether the time is in the name of `run_dir`: it is meant for a new run
    overrides: Overrides
    faults: tuple[Fault, ...]  # of overrides that Hydra has no complaint about

    @property
    def named(self) -> dict[str, Any]:
        """The mapping of a training, which has the name of its profile."""
        return {**self.mapping, "profile": self.choices.get("profile", "none")}


@dataclass(frozen=True)
class Composer:
    """Composes a primary config in a process where Hydra has been initialised."""

    groups: Groups
    job: int | None = None  # its number in a sweep, which its folder is named by; None for a plain run

    def compose(self, words: Sequence[str]) -> Composition:
        """Compose the configuration that the overrides `words` ask for.

        Raises:
            SettingsError: with the faults that nothing can be composed for.
        """
        overrides, faults = read_overrides(words, self.groups)
        chosen = overrides.choices
        try:
            config = hydra.compose(self.groups.config_name, chosen, return_hydra_config=True)
        except COMPOSITION_FAULTS as error:
            raise SettingsError([*faults, explain(error)]) from error
        keys = [str(key) for key in config]
        try:
            with open_dict(config):
                # The name of the run's folder is made of them.
                config.hydra.overrides.task = [
                    str(override.input_line) for override in overrides.parsed if not override.is_hydra_override()
                ]
            for override in overrides.values:
                _apply(config, override)
            run_dir = str(config.hydra.run.dir) if self.job is None else _job_dir(config, self.job)
            dated = self.job is None and "${now:" in _unresolved_dir(config.hydra.run)
            choices = {group: str(file) for group, file in config.hydra.runtime.choices.items()}
            with open_dict(config):
                del config["hydra"]
            mapping = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
        except COMPOSITION_FAULTS as error:
            blamed = _blamed(hydra.compose(self.groups.config_name, chosen), overrides) or [explain(error)]
            raise SettingsError([*faults, *blamed]) from error
        faults += misnamed(mapping, overrides.values, keys, self.groups)
        faults += [*_misplaced(mapping, overrides, choices), *_unused(config, overrides)]
        if not run_dir:
            faults.append(Fault("hydra.run.dir", run_dir, "must not be empty"))
        own = {group: file for group, file in choices.items() if not group.startswith("hydra/")}
        return Composition(mapping, own, run_dir, dated, overrides, tuple(faults))

    def flattened(self, overrides: Overrides) -> list[str]:
        """Return the overrides of one job as Hydra can compose them: lists whose length changes are set as a whole.

        Raises:
            SettingsError: with the faults that nothing can be composed for.
        """
        if not any(Word(text).changes_length for text in overrides.texts):
            return overrides.texts
        mapping = self.compose(overrides.texts).mapping
        edited = [override for override in overrides.values if Word(override.key_or_group).has_index]
        kept = [str(override.input_line) for override in overrides.parsed if override not in edited]
        lists = dict.fromkeys(re.split(r"\.\d+(?:\.|$)", override.key_or_group)[0] for override in edited)
        whole = {key: value_at(mapping, tuple(key.split("."))) for key in lists}
        return [*kept, *(f"++{key}={spelled(value)}" for key, value in whole.items())]

    def sweep_folder(self, overrides: Overrides) -> tuple[Path, bool]:
        """Return the folder of a sweep, and whether it is named by the overrides, as the user named none.

        Raises:
            SettingsError: there is something wrong with the overrides of Hydra's own settings.
        """
        own = [override for override in overrides.parsed if override.is_hydra_override()]
        words = [str(override.input_line) for override in own if not override.is_sweep_override()]
        try:
            config = hydra.compose(self.groups.config_name, words, return_hydra_config=True)
            by_words = "${run_name:" in _unresolved_dir(config.hydra.sweep)
            with open_dict(config):
                config.hydra.overrides.task = [str(o.input_line) for o in overrides.parsed if o not in own]
            return Path(os.path.abspath(str(config.hydra.sweep.dir))), by_words
        except COMPOSITION_FAULTS as error:
            raise SettingsError([explain(error)]) from error


def value_at(config: Any, path: Route) -> Any:
    """Return the value at `path`; `UNSET` where there is none."""
    for part in path:
        if isinstance(config, Mapping):
            config = config.get(part, UNSET)
        elif isinstance(config, list) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return UNSET
    return config


def _apply(config: DictConfig, override: Override) -> None:
    """Set, append or remove what `override` says, in place; an index means the list as the overrides before left it.

    Raises:
        SettingsError: there is no such place in `config`; with one fault.
    """
    key = override.key_or_group
    try:
        rule = _wrong_index(config, override) or _edit(config, override)
    except COMPOSITION_FAULTS as error:
        rule = explain(error).about(key)
    if rule is not None:
        raise SettingsError([Fault(key, UNSET if override.is_delete() else override.value(), rule)])


def _wrong_index(config: DictConfig, override: Override) -> str | None:
    """Return the rule that a key breaks which leads to an item that its list doesn't have."""
    parts = override.key_or_group.split(".")
    for depth, part in enumerate(parts):
        above = ".".join(parts[:depth])
        node = OmegaConf.select(config, above) if above else config
        if not isinstance(node, ListConfig):
            continue
        is_item = depth == len(parts) - 1
        length = len(node) + (is_item and bool(override.is_add()))
        if part.isdecimal() and int(part) < length:
            continue
        numbered = f"the items of {above} are numbered from 0 to {len(node) - 1}" if node else f"{above} has no items"
        if override.is_delete():
            return numbered
        return f"{numbered}; +{above}.{len(node)}=... appends one"
    return None


def _edit(config: DictConfig, override: Override) -> str | None:
    """Set, append or remove; return the rule that a removal breaks."""
    key, value = override.key_or_group, override.value()
    above, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, above) if above else config
    is_list = isinstance(parent, ListConfig)
    if not override.is_delete():
        if is_list and int(name) == len(parent):
            parent.append(value)
        else:
            OmegaConf.update(config, key, value, merge=True, force_add=True)
        return None
    place: Any = int(name) if is_list else name
    if not is_list and not (isinstance(parent, DictConfig) and name in parent):
        return "does not exist, so it can't be removed"
    if value is not None and value != parent[place]:
        return f"is {parent[place]}, not {value}"
    with open_dict(config):
        del parent[place]
    return None


def _blamed(files: DictConfig, overrides: Overrides) -> list[Fault]:
    """Return the faults of the overrides that can't be applied to the composed files, one after the other."""
    faults: list[Fault] = []
    of_files = _unresolved(files)  # a fault of the files themselves, for which no override is to be blamed
    for override in overrides.values:
        changed = copy.deepcopy(files)
        try:
            _apply(changed, override)
        except SettingsError as error:
            faults += error.faults
            continue
        key = override.key_or_group
        problem = _unresolved(changed)
        if problem is None or problem == of_files:
            files = changed
        else:
            faults.append(Fault(key, UNSET if override.is_delete() else override.value(), problem.about(key)))
    return faults


def _unresolved(config: DictConfig) -> Fault | None:
    """Return what keeps the interpolations of a configuration from being resolved."""
    try:
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except COMPOSITION_FAULTS as error:
        return explain(error)
    return None


def _unresolved_dir(folder: DictConfig) -> str:
    """Return where Hydra puts a folder, with its interpolations."""
    return str(cast("dict[str, Any]", OmegaConf.to_container(folder, resolve=False))["dir"])


def _job_dir(config: DictConfig, job: int) -> str:
    """Return the folder that Hydra's launcher gives a job of a sweep."""
    with open_dict(config):
        config.hydra.job.num = job
        config.hydra.job.id = str(job)
    return str(Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir))


def _misplaced(mapping: dict[str, Any], overrides: Overrides, choices: dict[str, str]) -> Iterator[Fault]:
    """Yield chosen files whose content is below the name of their group; take it out of `mapping`."""
    rule = "its file must begin with the line `# @package _global_`; add it there"
    schedule = mapping.get("lr_schedule")
    if isinstance(schedule, dict) and "lr_schedule" in schedule:
        mapping["lr_schedule"] = None
        yield Fault("lr_schedule", choices.get("lr_schedule"), rule)
    for group in ("profile", "curriculum_preset", "curriculum_stages"):
        typed = [key for key in sorted(overrides.keys) if key.startswith(f"{group}.")]
        yield from (Fault(key, UNSET, f"{group} is the name of a file; it has no keys") for key in typed)
        if mapping.pop(group, None) is not None and not typed:
            yield Fault(group, choices.get(group), rule)


def _unused(config: DictConfig, overrides: Overrides) -> Iterator[Fault]:
    """Yield overrides that nothing would read."""
    raw = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
    if "decay_rate" in overrides.keys and "${decay_rate}" not in repr(raw.get("lr_schedule")):
        rule = "the lr_schedule chosen does not use it; lr_schedule=exponential_smooth does"
        yield Fault("decay_rate", raw["decay_rate"], rule)
    if raw.get("run") is not None:
        for root in sorted(overrides.roots & {"task", "curriculum", "curriculum_preset", "curriculum_stages"}):
            rule = "goes with policy=...; a run plays the task and the stages it was trained on"
            yield Fault(root, UNSET, rule)
