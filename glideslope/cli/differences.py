"""Configurations as nested mappings and lists: where two of them differ, and reading and setting a value by path."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from glideslope.errors import UNSET, Fault, SettingsError

Route = tuple[str, ...]
"""The keys and indices that lead to a value."""


class _Absent:
    """Type of `ABSENT`."""


ABSENT = _Absent()
"""In place of a value: that there is none."""


def differing(one: Any, other: Any, path: Route = ()) -> Iterator[Route]:
    """Yield the paths at which two values differ; lists of unlike length, and of plain items, differ as one."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from differing(one.get(key, ABSENT), other.get(key, ABSENT), (*path, str(key)))
    elif _holds_items(one) and _holds_items(other) and len(one) == len(other):
        for i, (item, other_item) in enumerate(zip(one, other, strict=True)):
            yield from differing(item, other_item, (*path, str(i)))
    elif not _same(one, other):
        yield path


def _holds_items(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other or _number(one) == _number(other) is not None


def _number(value: Any) -> float | None:
    """Return the number that a value of a schedule is or spells."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def value_at(config: Any, path: Route) -> Any:
    """Return the value at `path`; `ABSENT` where there is none."""
    for part in path:
        if isinstance(config, Mapping):
            config = config.get(part, ABSENT)
        elif isinstance(config, list) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return ABSENT
    return config


def put(config: dict[str, Any], path: Route, value: Any) -> None:
    """Set the value at `path` in place; `ABSENT` removes it.

    Raises:
        SettingsError: the path leads to an item that its list doesn't have.
    """
    node: Any = config
    for depth, part in enumerate(path):
        if isinstance(node, list) and not (part.isdecimal() and int(part) < len(node)):
            numbers = f"the run's items of {'.'.join(path[:depth])} are numbered from 0 to {len(node) - 1}"
            raise SettingsError([Fault(".".join(path), UNSET if value is ABSENT else value, numbers)])
        place = int(part) if isinstance(node, list) else part
        if depth < len(path) - 1:
            if not isinstance(value_at(node, (part,)), dict | list):
                if value is ABSENT:
                    return
                node[place] = {}
            node = node[place]
        elif value is not ABSENT:
            node[place] = copy.deepcopy(value)
        elif isinstance(node, list):
            del node[int(part)]
        else:
            node.pop(place, None)
