"""What overrides do to a composed configuration: they set and remove settings, and items of lists.

The indices of an override mean the list as the overrides to its left have left it.
"""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from glideslope.cli.hydra_faults import COMPOSITION_FAULTS, explain
from glideslope.errors import UNSET, Fault, SettingsError


def apply(config: DictConfig, override: Override) -> None:
    """Set, append or remove what `override` says, in place.

    Raises:
        SettingsError: there is no such place in `config`; with one fault.
    """
    key = override.key_or_group
    try:
        rule = _wrong_index(config, override)
        if rule is None:
            rule = _remove(config, override) if override.is_delete() else _set(config, override)
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
        numbered = (
            f"the items of {above} are numbered from 0 to {len(node) - 1}"
            if node
            else f"{above} has no items"
        )
        if override.is_delete():
            return numbered
        return f"{numbered}; +{above}.{len(node)}=... appends one"
    return None


def _set(config: DictConfig, override: Override) -> str | None:
    parent, name = _parent(config, override.key_or_group)
    if isinstance(parent, ListConfig) and int(name) == len(parent):
        parent.append(override.value())
    else:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=True)
    return None


def _remove(config: DictConfig, override: Override) -> str | None:
    parent, name = _parent(config, override.key_or_group)
    if isinstance(parent, ListConfig):
        place: Any = int(name)
    elif isinstance(parent, DictConfig) and name in parent:
        place = name
    else:
        return "does not exist, so it can't be removed"
    value = override.value()
    if value is not None and value != parent[place]:
        return f"is {parent[place]}, not {value}"
    with open_dict(config):
        del parent[place]
    return None


def _parent(config: DictConfig, key: str) -> tuple[Any, str]:
    """Return what holds the value at `key`, and its name or index there."""
    above, _, name = key.rpartition(".")
    return (OmegaConf.select(config, above) if above else config), name
