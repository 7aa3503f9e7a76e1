"""Parameter groups whose learning rates are shares of the network's: by module, or decaying from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from glideslope.lr_scheduler.faults import Fault, listed, nearest
from glideslope.lr_scheduler.values import ScheduleError

if TYPE_CHECKING:
    import torch


def parameter_groups(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], scales: Mapping[str, float], key: str = "lr_scale"
) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer, each with the `lr_scale` that `write_lr` multiplies rates by.

    Groups come in the order of `scales`, behind that of all other parameters, whose `lr_scale` is 1, if there are any.

    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> groups = parameter_groups(network.named_parameters(), {"0": 0.1})
    >>> [(group["lr_scale"], len(group["params"])) for group in groups]
    [(1.0, 2), (0.1, 2)]

    Args:
        parameters: names and parameters, such as `module.named_parameters()`.
        scales: by the name of a module or of a parameter, in which `*` stands for any text.
        key: the name of these settings, for messages.

    Raises:
        ScheduleError: with every name that no parameter has, parameter that two names claim, and scale that is
            negative or not finite.
    """
    named = dict(parameters)
    owners: dict[str, str] = {}
    faults = []
    for pattern, scale in scales.items():
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < math.inf:
            faults.append(Fault(f"{key}.{pattern}", scale, "must be a number that is finite and not negative"))
        claimed = [name for name in named if _is_of(name, pattern)]
        if not claimed:
            faults.append(Fault(f"{key}.{pattern}", scale, f"no parameter is of that name; {_names(pattern, named)}"))
        for name in claimed:
            if owners.setdefault(name, pattern) != pattern:
                rule = f"{name} is claimed by {owners[name]}, too; name it once"
                faults.append(Fault(f"{key}.{pattern}", scale, rule))
                break
    if faults:
        raise ScheduleError(faults)
    groups = [{"params": [named[name] for name in named if name not in owners], "lr_scale": 1.0}]
    groups += [
        {"params": [named[name] for name in named if owners.get(name) == pattern], "lr_scale": float(scale)}
        for pattern, scale in scales.items()
    ]
    return [group for group in groups if group["params"]]


def layerwise_decay(layers: Sequence[str], decay: float) -> dict[str, float]:
    """Return scales for `parameter_groups`: 1 for the last layer, and `decay` times the next one's for each before.

    As for fine-tuning (Howard and Ruder 2018, arXiv:1801.06146, "discriminative fine-tuning"), where early layers are
    to change less than late ones.

    >>> layerwise_decay(["embedding", "blocks.0", "blocks.1", "head"], 0.5)
    {'embedding': 0.125, 'blocks.0': 0.25, 'blocks.1': 0.5, 'head': 1.0}

    Raises:
        ValueError: `decay` is negative or not finite.
    """
    if not 0 <= decay < math.inf:
        raise ValueError(f"decay must be finite and not negative, not {decay}")
    return {layer: float(decay ** (len(layers) - 1 - place)) for place, layer in enumerate(layers)}


def _is_of(name: str, pattern: str) -> bool:
    """Return whether a parameter's name, or that of a module that it is in, matches."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def _names(pattern: str, named: Iterable[str]) -> str:
    """Return which module was meant, or which there are at its depth."""
    known = sorted({".".join(name.split(".")[:length]) for name in named for length in range(1, name.count(".") + 2)})
    near = nearest(pattern, known)
    if near:
        return f"did you mean {near}?"
    return f"the names begin with {listed(sorted({name.split('.')[0] for name in named}), 'and')}"
