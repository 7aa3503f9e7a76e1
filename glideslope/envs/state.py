"""Saved states: nested dictionaries of arrays and plain data, checked against the layout that they must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, Any]


def conform(saved: object, present: Mapping[str, Any], path: str = "") -> State:
    """Return ``saved`` with every array as NumPy's, once it is laid out as ``present``; plain data is passed on unseen.

    Arrays may come as anything that NumPy reads, tensors in main memory included.

    Raises:
        ValueError: a key is missing or unknown, or an array has another shape or element type; the message begins
            with the key, as ``task.scenarios.heading``.
    """
    if not isinstance(saved, Mapping):
        raise ValueError(f"{path or 'state'}: a mapping is needed, got {type(saved).__name__}")
    prefix = f"{path}." if path else ""
    for key in saved:
        if key not in present:
            raise ValueError(f"{prefix}{key}: unknown here; the state is of an environment built otherwise")
    for key in present:
        if key not in saved:
            raise ValueError(f"{prefix}{key}: missing from the saved state")
    return {key: _leaf(saved[key], like, f"{prefix}{key}") for key, like in present.items()}


def restore(targets: Mapping[str, NDArray[Any]], state: State) -> None:
    """Copy each array of ``state`` that ``targets`` names into its target, in place."""
    for name, target in targets.items():
        target[...] = state[name]


def copies(arrays: Mapping[str, NDArray[Any]]) -> State:
    """Return a copy of every array."""
    return {name: array.copy() for name, array in arrays.items()}


def _leaf(saved: object, like: object, path: str) -> Any:
    if isinstance(like, Mapping):
        return conform(saved, like, path)
    if not isinstance(like, np.ndarray):
        return saved
    array = np.asarray(saved)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"{path}: {array.dtype} of shape {array.shape} where {like.dtype} of shape {like.shape} is needed"
        )
    return array


def joined(states: Sequence[State]) -> State:
    """Return the state of several environments as that of one that has them all, in this order.

    Arrays and lists have a row per environment, `num_envs` counts them; all else is the same in every state.
    """
    first = states[0]
    whole: State = {}
    for key, value in first.items():
        values = [state[key] for state in states]
        if isinstance(value, Mapping):
            whole[key] = joined(values)
        elif isinstance(value, np.ndarray):
            whole[key] = np.concatenate(values)
        elif isinstance(value, list):
            whole[key] = [entry for entries in values for entry in entries]
        else:
            whole[key] = sum(values) if key == "num_envs" else value
    return whole


def rows_of(state: Mapping[str, Any], rows: slice) -> State:
    """Return the state of some of the environments of one, of which `joined` makes it again."""
    part: State = {}
    for key, value in state.items():
        if isinstance(value, Mapping):
            part[key] = rows_of(value, rows)
        elif key == "num_envs":
            part[key] = len(range(*rows.indices(value)))
        else:
            part[key] = value if np.ndim(value) == 0 else value[rows]
    return part
