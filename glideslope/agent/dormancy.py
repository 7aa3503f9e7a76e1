"""Dormant units: hidden units that hardly answer to anything any more (Sokar et al. 2023, arXiv:2302.12902).

Shapes: B batch, C channels, H x W image, U units.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from glideslope.agent.networks.actor_critic import TwinReLU

THRESHOLD = 0.025  # tau: a dormant unit has at most this share of its layer's mean activity
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh)


class DormantUnits:
    """Finds the dormant units of networks in those of their forward passes that run under `watch`.

    Hidden units are the outputs of a network's activation modules (one of `ACTIVATIONS`, not a function), so
    a network needs no naming of its layers. Nothing of the pass is changed and nothing is drawn.

    networks: those to be watched, by name; a watch over any other does nothing.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._networks = networks
        self._activities: dict[str, list[Tensor]] = {name: [] for name in networks}

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Take in what the network `name` computes meanwhile."""
        seen = self._activities.get(name, [])

        def record(module: nn.Module, _: Any, output: Tensor) -> None:
            seen.append(unit_activity(module, output))

        network = self._networks.get(name)
        parts = [] if network is None else network.modules()
        hooks = [part.register_forward_hook(record) for part in parts if isinstance(part, ACTIVATIONS)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def ratios(self, average: Callable[[list[Tensor]], object] | None = None) -> dict[str, Tensor]:
        """Return the share of dormant units among all hidden units of each network watched, in [0, 1]: 0-d tensors.

        A network without hidden units is left out. `average` replaces mean activities by those over a larger batch.
        """
        if average is not None:
            average([activity for seen in self._activities.values() for activity in seen])
        found = {name: [dormant(activity).flatten() for activity in seen] for name, seen in self._activities.items()}
        return {name: torch.cat(parts).float().mean() for name, parts in found.items() if parts}


@torch.no_grad()
def unit_activity(module: nn.Module, output: Tensor) -> Tensor:
    """Return the mean absolute output of each unit, (U,); of a TwinReLU (2, U), its two layers.

    output: (B, C, H, W), whose units are the channels, or (B, ..., U).
    """
    if isinstance(module, TwinReLU):
        return output.abs().mean(dim=1)
    if output.dim() == 4:
        return output.abs().mean(dim=(0, 2, 3))
    return output.abs().flatten(0, -2).mean(dim=0)


def dormant(activity: Tensor) -> Tensor:
    """Return which units have at most `THRESHOLD` of their layer's mean activity: (..., U) to bool (..., U).

    All units of a silent layer are dormant.
    """
    return activity <= THRESHOLD * activity.mean(dim=-1, keepdim=True)
