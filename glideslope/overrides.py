"""The overrides of a command line: read into the form that Hydra takes, and checked one by one.

Values are forced (`++`): keys of free-form mappings need no `+` then, and unknown keys are found later,
together with all other faults. What Hydra says is told in the words of `glideslope.validation`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glideslope.settings import SettingsError
from glideslope.validation import fault, listed, meant

CONFIG_FAULTS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
# Hydra and OmegaConf report some malformed overrides, such as a.x=1 for a list a, with Python's own errors.
COMPOSITION_FAULTS = (*CONFIG_FAULTS, ValueError, TypeError)

_CHOSEN_BY = {
    "curriculum": "curriculum_preset",
    "agent": "encoder_bundle@agent",
    "agent.encoder": "encoder_bundle@agent",
    "agent.encoder.name": "encoder_bundle@agent",
    "agent.encoder_bundle": "encoder_bundle@agent",
    "agent.actor_critic": "actor_critic_bundle@agent",
    "agent.actor_critic.name": "actor_critic_bundle@agent",
    "agent.actor_critic_bundle": "actor_critic_bundle@agent",
}
# Text to Hydra, which has functions of its own.
_SCHEDULE_CALL = re.compile(
    r"(?<![\w\"'])(?!(?:choice|range|interval|glob|sort|shuffle|tag|str|int|float|bool)\()(\w+\([^()]*\))"
)


class _Absent:
    """Type of `ABSENT`."""


ABSENT = _Absent()
"""In place of a value: that there is none."""


@dataclass(frozen=True)
class Overrides:
    """Overrides as Hydra is to get them, in order.

    Attributes:
        parsed: all of them.
        values: those that neither choose a file nor are Hydra's own.
    """

    parsed: tuple[Override, ...]
    values: tuple[Override, ...]

    @property
    def texts(self) -> list[str]:
        """All of them, as text."""
        return [str(override.input_line) for override in self.parsed]

    @property
    def keys(self) -> frozenset[str]:
        """The dotted keys of `values`."""
        return frozenset(override.key_or_group for override in self.values)

    @property
    def assignments(self) -> dict[tuple[str, ...], Any]:
        """What `values` set, by path; a mapping sets what is in it, and what is deleted becomes `ABSENT`."""
        found: dict[tuple[str, ...], Any] = {}
        for override in self.values:
            path = tuple(override.key_or_group.split("."))
            found.update([(path, ABSENT)] if override.is_delete() else _leaves(override.value(), path))
        return found

    @property
    def roots(self) -> frozenset[str]:
        """The first part of every key and the name of every group."""
        return frozenset(override.key_or_group.split(".")[0] for override in self.parsed)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    else:
        yield path, value


def read_overrides(
    words: Sequence[str],
    loader: ConfigLoader,
    config_name: str,
    search_path: Sequence[str] = (),
    *,
    sweeps: bool,
) -> tuple[Overrides, list[str]]:
    """Reads the overrides `words` of the primary config `config_name`: the sound ones, and the faults of the rest.

    search_path: Hydra's override that adds folders of config files. sweeps: allow several values for a key.

    Raises:
        SettingsError: a faulty choice leaves open what the other overrides are about.
    """
    parser = OverridesParser.create(loader)
    groups = _Groups(loader, config_name, list(search_path))
    parsed: list[Override] = []
    values: list[Override] = []
    faults: list[str] = []
    undecided = False
    for word in words:
        text = normalised(word)
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            faults.append(f"{word}: is not of the form key=value ({str(error).splitlines()[0]})")
            continue
        override.config_loader = loader
        found = _form_faults(override, sweeps) or groups.faults(override)
        chooses = groups.concerns(override)
        if found:
            faults += found
            undecided = undecided or chooses
            continue
        if not chooses and not override.is_hydra_override():
            if not override.is_delete():
                override = parser.parse_override(f"++{text}")
                override.config_loader = loader
            values.append(override)
        parsed.append(override)
    if undecided:
        raise SettingsError(faults)
    return Overrides(tuple(parsed), tuple(values)), faults


_RUN_FOLDERS = ("resume", "hydra.run.dir")
_PATHS = ("run", "inspect", "out", *_RUN_FOLDERS)
# Hydra would read these names of folders as numbers or truth values.
_UNTEXT = re.compile(r"(?i)[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?|true|false|nan|[+-]?inf")


def key_of(word: str) -> str:
    """The dotted key, or the group of files, that an override is about."""
    return re.sub(r"\[(\d+)\]", r".\1", word.partition("=")[0].lstrip("+~"))


def normalised(word: str) -> str:
    """The override as Hydra is to get it: without `+`, with .0 for [0], and linear(1,0.1,100k) in quotes."""
    key, equals, value = word.partition("=")
    key = re.sub(r"\[(\d+)\]", r".\1", key.lstrip("+"))
    if (key, value) == ("lr_schedule", "null"):
        value = "constant"
    if key in _PATHS:
        # Not every shell expands it behind an equals sign, and Hydra's grammar has no ~ in values.
        value = os.path.expanduser(value)
        plain = re.fullmatch(r"([\w/\\+.%*@?|:, -]|\$\{[^{}]*\})*", value, re.ASCII)
        unlike = not plain or (key in _RUN_FOLDERS and _UNTEXT.fullmatch(value))
        if value and value[0] not in "'\"" and unlike:
            # Hydra's grammar takes these in quotes only, and a backslash before a quote twice.
            value = "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + "\\'" * bool(m[2]), value) + "'"
    if key == "stddev_schedule":
        value = _SCHEDULE_CALL.sub(r'"\1"', value)
    return f"{key}{equals}{value}"


def _form_faults(override: Override, sweeps: bool) -> list[str]:
    key, element = override.key_or_group, override.get_key_element()
    if not key:
        return [f"{override.input_line}: has no key; write key=value"]
    if override.is_sweep_override() and not sweeps:
        rule = "several values need --multirun; a list is written [1,2], and text with commas in quotes"
        return [fault(element, rule, override.get_value_string())]
    if key in _CHOSEN_BY and not override.is_delete() and not isinstance(override.value(), dict):
        return [fault(key, f"is chosen with {_CHOSEN_BY[key]}=...", override.value())]
    return []


class _Groups:
    """The groups of files that a primary config chooses from."""

    def __init__(self, loader: ConfigLoader, config_name: str, search_path: list[str]) -> None:
        self._loader, self._config_name, self._search_path = loader, config_name, search_path
        self._names = set(loader.list_groups(""))

    @cached_property
    def _chosen(self) -> list[str]:
        """Those that it chooses from, as on the command line: lr_schedule, encoder_bundle@agent, ..."""
        try:
            defaults = self._loader.compute_defaults_list(self._config_name, self._search_path, RunMode.RUN)
        except CONFIG_FAULTS as error:
            raise SettingsError([explain(error)]) from error
        return [name for name in defaults.overrides.known_choices if not name.startswith("hydra/")]

    def concerns(self, override: Override) -> bool:
        """Whether an override chooses a file; lr_schedule={...} sets values instead."""
        is_group = override.key_or_group in self._names
        return override.package is not None or (is_group and not isinstance(override.value(), dict))

    def faults(self, override: Override) -> list[str]:
        """What is wrong with an override that chooses a file."""
        if not self.concerns(override):
            return []
        key, group = override.get_key_element().lstrip("~"), override.key_or_group
        if key not in self._chosen:
            same = [name for name in self._chosen if name.split("@")[0] == group]
            if same and not override.is_delete():
                return [f"{override.input_line}: is written {same[0]}={override.get_value_string()}"]
            rule = (
                f"unknown group of files; there are {listed(self._chosen, 'and')}{meant(key, self._chosen)}"
            )
            return [fault(key, rule)]
        return [] if override.is_delete() else self._choice_faults(key, group, override)

    def _choice_faults(self, key: str, group: str, override: Override) -> list[str]:
        options = self._options(group)
        choices = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        return [
            fault(key, f"must be {listed(options)}{meant(choice, options)}", choice)
            for choice in (getattr(choice, "text", choice) for choice in choices)
            if str(choice) not in options and not self._is_nested(group, choice)
        ]

    def _options(self, group: str) -> list[str]:
        return self._loader.get_group_options(
            group, config_name=self._config_name, overrides=self._search_path
        )

    def _is_nested(self, group: str, choice: object) -> bool:
        """Whether a choice such as mine/preset exists: the options of a group leave its folders out."""
        folder, slash, name = str(choice).rpartition("/")
        return bool(slash) and name in self._options(f"{group}/{folder}")


# --- What kept Hydra from composing ---------------------------------------------------------------


def blame(error: Exception, config_name: str, search_path: Sequence[str], overrides: Overrides) -> list[str]:
    """The faults behind an error of the composition: those of single overrides, else what the error says."""
    values = [str(override.input_line) for override in overrides.values]
    others = [*search_path, *(text for text in overrides.texts if text not in values)]
    try:
        files = hydra.compose(config_name, others)
        raw = OmegaConf.to_container(files, resolve=False)
    except COMPOSITION_FAULTS as other_error:
        return [explain(other_error)]
    of_files = None  # a fault of the files themselves, for which no override is to be blamed
    try:
        OmegaConf.to_container(files, resolve=True, throw_on_missing=True)
    except COMPOSITION_FAULTS as file_error:
        of_files = explain(file_error)
    faults = []
    for override in overrides.values:
        try:
            config = hydra.compose(config_name, [*others, str(override.input_line)])
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except COMPOSITION_FAULTS as own_error:
            if explain(own_error) == of_files:
                continue
            key, value = override.key_or_group, override.value()
            rule = _missing_item(raw, key) or explain(own_error, key)
            faults.append(fault(key, rule, *(() if override.is_delete() else (value,))))
    return faults or [explain(error)]


def _missing_item(config: Any, key: str) -> str | None:
    """The rule for a key that leads to an item that its list does not have."""
    node, parts = config, key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                return f"the items of {'.'.join(parts[:depth])} are numbered from 0 to {len(node) - 1}"
            node = node[int(part)]
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return None


def explain(error: Exception, key: str = "") -> str:
    """One line from a message of Hydra's, OmegaConf's or the YAML reader's; `key` is known to be its subject."""
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(source).partition("Config search path")[0]
    details = ("See https", "full_key:", "object_type=", "reference_type=")
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith(details)]
    about = str(getattr(source, "full_key", None) or "")
    line = " ".join(" ".join(lines).split())
    return f"{about}: {line}" if about not in ("", key) else line
