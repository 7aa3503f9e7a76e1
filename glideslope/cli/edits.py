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
