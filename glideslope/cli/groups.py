"""The groups of files that overrides choose from, and overrides that choose a file under another name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode

from glideslope.cli.config_files import CONFIG_FAULTS, OWN, explain, file_of
from glideslope.errors import UNSET, Fault, SettingsError, listed, meant, nearest
from glideslope.settings.catalogue import groups_of


class Groups:
    """The groups of files that a primary config chooses from; each is listed once, which takes Hydra a while."""

    def __init__(self, loader: ConfigLoader, config_name: str) -> None:
        self.loader, self.config_name = loader, config_name
        self._options: dict[str, list[str]] = {}

    @cached_property
    def _names(self) -> set[str]:
        shipped = (source for source in self._sources if source.provider != OWN)
        return {name for source in shipped for name in source.list("", ObjectType.GROUP)}

    @cached_property
    def _sources(self) -> list[ConfigSource]:
        """Where files are looked for."""
        return [source for source in self.loader.get_sources() if source.available()]

    @cached_property
    def _chosen(self) -> list[str]:
        """Those that it chooses from, as on the command line: lr_schedule, encoder_bundle@agent, ..."""
        try:
            defaults = self.loader.compute_defaults_list(self.config_name, [], RunMode.RUN)
        except CONFIG_FAULTS as error:
            raise SettingsError([explain(error)]) from error
        return [name for name in defaults.overrides.known_choices if not name.startswith("hydra/")]

    def concerns(self, override: Override) -> bool:
        """Return whether an override chooses a file; lr_schedule={...} sets values instead."""
        is_group = override.key_or_group in self._names
        return override.package is not None or (is_group and not isinstance(override.value(), dict))

    def faults(self, override: Override) -> list[Fault]:
        """Return what is wrong with an override that chooses a file."""
        if not self.concerns(override):
            return []
        key, group = override.get_key_element().lstrip("~"), override.key_or_group
        # Hydra's own list of the groups takes a composition; most choices are of those that our file names.
        if key not in groups_of(self.config_name) and key not in self._chosen:
            same = [name for name in self._chosen if name.split("@")[0] == group]
            if same and not override.is_delete():
                rule = f"is written {same[0]}={override.get_value_string()}"
                return [Fault(str(override.input_line), UNSET, rule)]
            rule = f"unknown group of files; there are {listed(self._chosen, 'and')}{meant(key, self._chosen)}"
            return [Fault(key, UNSET if override.is_delete() else override.value(), rule)]
        return [] if override.is_delete() else self._choice_faults(key, group, override)

    def _choice_faults(self, key: str, group: str, override: Override) -> list[Fault]:
        choices = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        faults = []
        for choice in (getattr(choice, "text", choice) for choice in choices):
            name = str(choice)
            if self._is_ours(group, name) or name in self.options(group) or self._is_nested(group, name):
                continue
            options = self.options(group)
            file = file_of(name)
            if file is None:
                rule = f"must be {listed(options)}{meant(name, options)}"
            elif file.is_file() or file.with_name(f"{file.name}.yaml").is_file():
                continue
            else:
                those = f"cfgs/{group}/ has {listed(options, 'and')}"
                rule = f"there is no such file; {those}{meant(file.stem, options)}"
            faults.append(Fault(key, choice, rule))
        return faults

    def of_choice(self, key: str, value: str) -> str | None:
        """Return the group that has the file `value`; of several, the one whose name is most like `key`."""
        found = [name for name in self._chosen if value in self.options(name.partition("@")[0])]
        return max(found, key=lambda name: SequenceMatcher(None, name, key).ratio(), default=None)

    def of_name(self, key: str) -> str | None:
        """Return the one group whose name has `key` in it as a word or several."""
        found = [name for name in self._chosen if f"_{key}_" in f"_{name.partition('@')[0]}_"]
        return found[0] if len(found) == 1 else None

    def options(self, group: str) -> list[str]:
        """Return the files of a group."""
        if group not in self._options:
            self._options[group] = self.loader.get_group_options(group, config_name=self.config_name)
        return self._options[group]

    def _is_ours(self, group: str, name: str) -> bool:
        """Whether a choice is among the files of every training; `options`, which has them too, takes much longer."""
        return name.isidentifier() and any(source.is_config(f"{group}/{name}") for source in self._sources)

    def _is_nested(self, group: str, choice: object) -> bool:
        """Whether a choice such as mine/preset exists: the options of a group leave its folders out."""
        folder, slash, name = str(choice).rpartition("/")
        return bool(slash) and name in self.options(f"{group}/{folder}")


def misnamed(
    mapping: dict[str, Any], overrides: Sequence[Override], known: Sequence[str], groups: Groups
) -> Iterator[Fault]:
    """Yield the faults of overrides that were meant to choose a file; take what they set out of `mapping`.

    `overrides` are those that set a value, `known` the top-level keys of the composed files.
    """
    for override in overrides:
        key = override.key_or_group
        if "." in key or key in known or override.is_delete():
            continue
        fault = _meant_group(key, str(getattr(override.value(), "text", override.value())), known, groups)
        if fault is not None and mapping.pop(key, None) is not None:
            yield fault


def _meant_group(key: str, value: str, known: Sequence[str], groups: Groups) -> Fault | None:
    """Return the fault of a key that stands for a group: `encoder=enc_A` does, `encodr=3` is a slip of the pen."""
    chosen, named = groups.of_choice(key, value), groups.of_name(key)
    if chosen is not None:
        if nearest(key, known) == chosen != named:
            return None  # told of as for any other key
        return Fault(key, value, f"is written {chosen}={value}")
    if named is None:
        return None
    options = groups.options(named.partition("@")[0])
    return Fault(key, value, f"is chosen with {named}=...; there are {listed(options, 'and')}")
