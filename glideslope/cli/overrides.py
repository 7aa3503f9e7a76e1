"""The overrides of a command line: read into the form that Hydra takes, and checked one by one.

Values are forced (`++`): keys of free-form mappings need no `+` then, and unknown keys are found later,
together with all other faults. What Hydra says is told in the words of `glideslope.settings.checks`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import count
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from glideslope.cli.config_files import OWN, file_of
from glideslope.errors import UNSET, Fault, SettingsError, listed, meant, nearest, typed
from glideslope.settings.catalogue import CONFIG_DIR, groups_of
from glideslope.settings.yaml_files import YamlError

CONFIG_FAULTS = (HydraException, OmegaConfBaseException, YamlError)
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
    def choices(self) -> list[str]:
        """Those that choose a file or are Hydra's own, as text."""
        values = {id(override) for override in self.values}
        return [str(override.input_line) for override in self.parsed if id(override) not in values]

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


def read_overrides(words: Sequence[str], groups: Groups, *, sweeps: bool) -> tuple[Overrides, list[Fault]]:
    """Reads the overrides `words`, which choose files from `groups`: the sound ones, and the faults of the rest.

    sweeps: allow several values for a key.

    Raises:
        SettingsError: a faulty choice leaves open what the other overrides are about.
    """
    loader = groups.loader
    parser = OverridesParser.create(loader)
    encode = _encoder([normalised(word) for word in words]) if sweeps else None
    parsed: list[Override] = []
    values: list[Override] = []
    faults: list[Fault] = []
    undecided = False
    for word in words:
        text = normalised(word)
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            why = str(error).splitlines()[0]
            those = "" if "missing EQUAL" in why else f" ({why})"
            faults.append(Fault(word, UNSET, f"is not of the form key=value{those}"))
            continue
        override.config_loader = loader
        found = _form_faults(override, sweeps) or groups.faults(override)
        chooses = groups.concerns(override)
        if found:
            faults += found
            undecided = undecided or chooses
            continue
        if not chooses and not override.is_hydra_override():
            if encode is not None:
                text = encode(text)
            if not text.startswith(("~", "+")):
                text = f"++{text}"
            override = parser.parse_override(text)
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
    """Return an override as Hydra is to get it.

    Without `+`, unless it may append an item to a list; with .0 for [0], linear(1,0.1,100k) in quotes and the absolute
    path of a file that is chosen in a group.
    """
    key, equals, value = word.partition("=")
    added = key.startswith("+")
    key = re.sub(r"\[(\d+)\]", r".\1", key.lstrip("+"))
    if (key, value) == ("lr_schedule", "null"):
        value = "constant"
    if key in _PATHS:
        # Not every shell expands it behind an equals sign, and Hydra's grammar has no ~ in values.
        value = os.path.expanduser(value)
        value = _quoted(value, always=key in _RUN_FOLDERS and _UNTEXT.fullmatch(value) is not None)
    if (CONFIG_DIR / key.partition("@")[0]).is_dir() and value[:1] not in ("{", "'", '"'):
        files = ((part, file_of(part)) for part in value.split(","))
        value = ",".join(_quoted(str(file)) if file else part for part, file in files)
    if key == "stddev_schedule":
        value = _SCHEDULE_CALL.sub(r'"\1"', value)
    return f"{'+' * (added and _is_item(key))}{key}{equals}{value}"


def as_stored(word: str) -> str:
    """Return an override as a run folder keeps it: as typed, but so that it means the same from any folder."""
    text = normalised(word)
    plain = word.lstrip("+")
    if key_of(word) in _PATHS or "/" not in text:
        return f"+{plain}" if text.startswith("+") else plain
    return text if file_of(text.partition("=")[2].strip("'")) else plain


def spelled(value: object) -> str:
    """Return a plain value in Hydra's grammar, which reads it back as it is."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(spelled, value)) + "]"
    return (_quoted(value, always=True) or "''") if isinstance(value, str) else typed(value)


def _quoted(value: str, *, always: bool = False) -> str:
    """Return text in quotes where Hydra's grammar would not take it for text without."""
    plain = re.fullmatch(r"([\w/\\+.%*@?|:, -]|\$\{[^{}]*\})*", value, re.ASCII)
    if not value or value[0] in "'\"" or (plain and not always):
        return value
    # A backslash before a quote, and before the end, is written twice.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + "\\'" * bool(m[2]), value) + "'"


# --- Items of lists -------------------------------------------------------------------------------

_ENCODED = re.compile(r"\+*_(set|add|remove)\d+_\.(.*)", re.DOTALL)


def _is_item(key: str) -> bool:
    return key.rpartition(".")[2].isdecimal()


def has_index(key: str) -> bool:
    """Whether a dotted key leads into a list."""
    return any(part.isdecimal() for part in key.split("."))


def changes_length(text: str) -> bool:
    """Whether a normalised override removes an item from a list or may append one."""
    return text.startswith(("~", "+")) and _is_item(key_of(text))


def _encoder(texts: Sequence[str]) -> Callable[[str], str]:
    """Return a function that writes overrides as Hydra can compose them in a sweep, where it can't edit lists.

    What removes a setting, or leads into a list whose length changes, is set below a key of its own: Hydra keeps it
    in order, and each job reads it with `decoded`.
    """
    shifted = any(changes_length(text) for text in texts)
    numbers = count()

    def encode(text: str) -> str:
        key, equals, value = text.lstrip("~+").partition("=")
        kind = "remove" if text.startswith("~") else "add" if text.startswith("+") else "set"
        if kind == "set" and not (shifted and has_index(key)):
            return text
        return f"++_{kind}{next(numbers)}_.{key}={value if equals else 'null'}"

    return encode


def decoded(word: str) -> str:
    """Return an override of a sweep's job as it was typed."""
    match = _ENCODED.fullmatch(word)
    if match is None:
        return word
    kind, text = match.groups()
    if kind == "remove":
        return f"~{text.removesuffix('=null')}"
    return f"+{text}" if kind == "add" else str(text)


def _form_faults(override: Override, sweeps: bool) -> list[Fault]:
    key, element = override.key_or_group, override.get_key_element()
    if not key:
        return [Fault(str(override.input_line), UNSET, "has no key; write key=value")]
    if override.is_sweep_override() and not sweeps:
        rule = "several values need --multirun; a list is written [1,2], and text with commas in quotes"
        return [Fault(element, override.get_value_string(), rule)]
    if key in _CHOSEN_BY and not override.is_delete() and not isinstance(override.value(), dict):
        return [Fault(key, override.value(), f"is chosen with {_CHOSEN_BY[key]}=...")]
    return []


class Groups:
    """The groups of files that a primary config chooses from; each is listed once, which takes Hydra a while."""

    def __init__(self, loader: ConfigLoader, config_name: str) -> None:
        """config_name: a file of `cfgs/`, without its suffix."""
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
        """Whether an override chooses a file; lr_schedule={...} sets values instead."""
        is_group = override.key_or_group in self._names
        return override.package is not None or (is_group and not isinstance(override.value(), dict))

    def faults(self, override: Override) -> list[Fault]:
        """What is wrong with an override that chooses a file."""
        if not self.concerns(override):
            return []
        key, group = override.get_key_element().lstrip("~"), override.key_or_group
        # Hydra's own list of the groups takes a composition; most choices are of those that our file names.
        if key not in groups_of(self.config_name) and key not in self._chosen:
            same = [name for name in self._chosen if name.split("@")[0] == group]
            if same and not override.is_delete():
                rule = f"is written {same[0]}={override.get_value_string()}"
                return [Fault(str(override.input_line), UNSET, rule)]
            rule = (
                f"unknown group of files; there are {listed(self._chosen, 'and')}{meant(key, self._chosen)}"
            )
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
        """The group that has the file `value`; of several, the one whose name is most like `key`."""
        found = [name for name in self._chosen if value in self.options(name.partition("@")[0])]
        return max(found, key=lambda name: SequenceMatcher(None, name, key).ratio(), default=None)

    def of_name(self, key: str) -> str | None:
        """The one group whose name has `key` in it as a word or several."""
        found = [name for name in self._chosen if f"_{key}_" in f"_{name.partition('@')[0]}_"]
        return found[0] if len(found) == 1 else None

    def options(self, group: str) -> list[str]:
        """The files of a group."""
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


def misnamed(override: Override, known: Sequence[str], groups: Groups) -> Fault | None:
    """Return the fault of an override whose key, none of the `known` ones, stands for a group of files.

    None where it stands for none: `encoder=enc_A` is meant for encoder_bundle@agent, `encodr=3` is not.
    """
    key, value = override.key_or_group, str(getattr(override.value(), "text", override.value()))
    group = groups.of_choice(key, value)
    if group is not None:
        if nearest(key, known) == group and groups.of_name(key) != group:
            return None  # a slip of the pen, which is told of as for any other key
        return Fault(key, value, f"is written {group}={value}")
    group = groups.of_name(key)
    if group is None:
        return None
    options = groups.options(group.partition("@")[0])
    return Fault(key, value, f"is chosen with {group}=...; there are {listed(options, 'and')}")


# --- What kept Hydra from composing ---------------------------------------------------------------


def explain(error: Exception) -> Fault:
    """Return what a message of Hydra's, OmegaConf's or a file reader's says, in one line."""
    if isinstance(error, YamlError):
        return Fault("", UNSET, str(error))
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(source).partition("Config search path")[0]
    details = ("See https", "full_key:", "object_type=", "reference_type=")
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith(details)]
    about = str(getattr(source, "full_key", None) or "")
    return Fault(about, UNSET, " ".join(" ".join(lines).split()))
