"""The overrides of a command line: read into the form that Hydra takes, and checked one by one.

Values are forced (`++`): keys of free-form mappings need no `+` then, and unknown keys are found later,
together with all other faults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from glideslope.cli.config_files import file_of
from glideslope.cli.groups import Groups
from glideslope.errors import UNSET, Fault, SettingsError, typed
from glideslope.settings.catalogue import CONFIG_DIR
from glideslope.training.objective import KEY as OBJECTIVE

RESUME = "resume"
ACCEPT = "resume_lr_schedule"
COMMAND_KEYS = (RESUME, ACCEPT, OBJECTIVE)
"""Keys of the command line of a training that its configuration does not have."""

_RUN_FOLDERS = (RESUME, "hydra.run.dir")
_PATHS = ("run", "inspect", "out", *_RUN_FOLDERS)
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
# Hydra would read these names of folders as numbers or truth values.
_UNTEXT = re.compile(r"(?i)[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?|true|false|nan|[+-]?inf")
_ENCODED = re.compile(r"\+*_(set|add|remove)\d+_\.(.*)", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """An override as it was typed."""

    typed: str

    @cached_property
    def text(self) -> str:
        """The override as Hydra is to get it.

        Without `+`, unless it may append an item to a list; with .0 for [0], linear(1,0.1,100k) in quotes and the
        absolute path of a file that is chosen in a group.
        """
        given, equals, value = self.typed.partition("=")
        key = re.sub(r"\[(\d+)\]", r".\1", given.lstrip("+"))
        plus = "+" if given.startswith("+") and _is_item(key) else ""
        if (key, value) == ("lr_schedule", "null"):
            value = "constant"
        if key in _PATHS:
            # Not every shell expands it behind an equals sign, and Hydra's grammar has no ~ in values.
            value = os.path.expanduser(value)
            value = _quoted(value, always=key in _RUN_FOLDERS and _UNTEXT.fullmatch(value) is not None)
        if (CONFIG_DIR / key.partition("@")[0]).is_dir() and value[:1] not in ("{", "'", '"'):
            files = ((part, file_of(part)) for part in value.split(","))
            value = ",".join(_quoted(str(file)) if file else part for part, file in files)
        if key == "stddev_schedule" or key.startswith("schedules."):
            value = _SCHEDULE_CALL.sub(r'"\1"', value)
        return f"{plus}{key}{equals}{value}"

    @cached_property
    def key(self) -> str:
        """The dotted key, or the group of files, that it is about."""
        return self.text.partition("=")[0].lstrip("+~")

    @property
    def deletes(self) -> bool:
        """Whether it takes a setting away."""
        return self.text.startswith("~")

    @property
    def sets_mapping(self) -> bool:
        """Whether its value is a mapping, which is merged into what is there."""
        return self.text.partition("=")[2].startswith("{")

    @property
    def has_index(self) -> bool:
        """Whether its key leads into a list."""
        return any(part.isdecimal() for part in self.key.split("."))

    @property
    def changes_length(self) -> bool:
        """Whether it removes an item from a list or may append one."""
        return self.text.startswith(("~", "+")) and _is_item(self.key)

    @property
    def stored(self) -> str:
        """The override as a run folder keeps it: as typed, but so that it means the same from any folder."""
        if self.key not in _PATHS and file_of(self.text.partition("=")[2].strip("'")):
            return self.text
        return "+" * self.text.startswith("+") + self.typed.lstrip("+")

    @property
    def is_setting(self) -> bool:
        """Whether it is neither Hydra's own nor one of `COMMAND_KEYS`."""
        return not re.match(rf"[+~]*(hydra[./]|({'|'.join(COMMAND_KEYS)})(=|$))", self.typed)


def _is_item(key: str) -> bool:
    return key.rpartition(".")[2].isdecimal()


@dataclass(frozen=True)
class Overrides:
    """Overrides as Hydra is to get them, in order."""

    parsed: tuple[Override, ...]
    values: tuple[Override, ...]  # those that neither choose a file nor are Hydra's own

    @property
    def texts(self) -> list[str]:
        """All of them, as text."""
        return [str(override.input_line) for override in self.parsed]

    @property
    def choices(self) -> list[str]:
        """Those that choose a file or are Hydra's own, as text."""
        return [str(override.input_line) for override in self.parsed if override not in self.values]

    @property
    def keys(self) -> frozenset[str]:
        """The dotted keys of `values`."""
        return frozenset(override.key_or_group for override in self.values)

    @property
    def assignments(self) -> dict[tuple[str, ...], Any]:
        """What `values` set, by path; a mapping sets what is in it, and what is deleted becomes `UNSET`."""
        found: dict[tuple[str, ...], Any] = {}
        for override in self.values:
            path = tuple(override.key_or_group.split("."))
            found.update([(path, UNSET)] if override.is_delete() else _leaves(override.value(), path))
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


def read_overrides(typed: Sequence[str], groups: Groups, *, sweeps: bool = False) -> tuple[Overrides, list[Fault]]:
    """Read overrides: return the sound ones, and the faults of the rest; with `sweeps` a key may have several values.

    Raises:
        SettingsError: a faulty choice leaves open what the other overrides are about.
    """
    loader = groups.loader
    parser = OverridesParser.create(loader)
    encode = _encoder([Word(text) for text in typed]) if sweeps else None
    parsed: list[Override] = []
    values: list[Override] = []
    faults: list[Fault] = []
    undecided = False
    for word in map(Word, typed):
        try:
            override = parser.parse_override(word.text)
        except HydraException as error:
            why = str(error).splitlines()[0]
            those = "" if "missing EQUAL" in why else f" ({why})"
            faults.append(Fault(word.typed, UNSET, f"is not of the form key=value{those}"))
            continue
        override.config_loader = loader
        found = _form_faults(override, sweeps) or groups.faults(override)
        chooses = groups.concerns(override)
        if found:
            faults += found
            undecided = undecided or chooses
            continue
        if not chooses and not override.is_hydra_override():
            text = encode(word) if encode is not None else word.text
            override = parser.parse_override(text if text.startswith(("~", "+")) else f"++{text}")
            override.config_loader = loader
            values.append(override)
        parsed.append(override)
    if undecided:
        raise SettingsError(faults)
    return Overrides(tuple(parsed), tuple(values)), faults


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


def _encoder(words: Sequence[Word]) -> Callable[[Word], str]:
    """Return a function that writes overrides as Hydra can compose them in a sweep, where it can't edit lists.

    What removes a setting, or leads into a list whose length changes, is set below a key of its own: Hydra keeps it
    in order, and each job reads it with `decoded`.
    """
    shifted = any(word.changes_length for word in words)
    numbers = count()

    def encode(word: Word) -> str:
        kind = {"~": "remove", "+": "add"}.get(word.text[0], "set")
        if kind == "set" and not (shifted and word.has_index):
            return word.text
        value = word.text.partition("=")[2] if "=" in word.text else "null"
        return f"++_{kind}{next(numbers)}_.{word.key}={value}"

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
