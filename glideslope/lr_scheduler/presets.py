"""The presets of learning-rate schedules as plain data, for programs without the trainer's YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from glideslope.lr_scheduler.values import choices

_STAIRS = "1/6000"  # of training, between two decays: too small to see
_EXPONENTIAL = {"decay_rate": 0.9995, "decay_interval": _STAIRS}


def _stairs(*rates: str, ends: Sequence[str]) -> dict[str, Any]:
    """Return a step_decay with these rates, each to an end of its own but for the last."""
    starts: list[Any] = [0, *ends]
    places = [{"start": start, "end": end} for start, end in zip(starts, ends, strict=False)] + [{"start": starts[-1]}]
    return {
        "type": "step_decay",
        "intervals": [place | {"lr": rate} for place, rate in zip(places, rates, strict=True)],
    }


_ALIKE: dict[str, dict[str, Any]] = {
    "gentle_decay": _stairs("1x", "0.5x", "0.25x", ends=("1/3", "2/3")),
    "aggressive_decay": _stairs("1x", "0.5x", "0.25x", "0.1x", "0.05x", ends=("1/6", "1/3", "1/2", "2/3")),
    "exponential_smooth": {
        "type": "exponential_decay",
        "intervals": [{"start": 0, "init_lr": "1x", **_EXPONENTIAL}],
    },
    "stage_based": {
        "type": "step_decay",
        "intervals": [{"stage": stage, "lr": lr} for stage, lr in enumerate(("1.2x", "1x", "0.7x", "0.5x", "0.3x"))],
    },
    "warmup_cosine": {
        "type": "cosine_decay",
        "intervals": [{"start": 0, "init_lr": "1x", "final_lr": "0.05x", "warmup": "2%"}],
    },
    "wsd": {
        "type": "one_minus_sqrt",
        "intervals": [
            {"type": "constant", "start": 0, "end": "80%", "lr": "1x", "warmup": "2%"},
            {"start": "80%", "init_lr": "1x", "final_lr": "0.01x"},
        ],
    },
    "one_cycle": {
        "type": "cosine_decay",
        "intervals": [
            {"start": 0, "end": "30%", "init_lr": "0.04x", "final_lr": "1x"},
            {"start": "30%", "init_lr": "1x", "final_lr": "4.0e-6x"},
        ],
    },
}
_DIFFERENTIAL: dict[str, dict[str, Any]] = {
    "encoder": _stairs("0.8x", "0.4x", ends=("1/2",)),
    "actor": {"type": "exponential_decay", "intervals": [{"start": 0, "init_lr": "1.2x", **_EXPONENTIAL}]},
    "critic": _stairs("1.5x", "0.7x", "0.3x", ends=("1/6", "5/12")),
}
PRESETS = ("constant", *_ALIKE, "differential")


def load_preset(name: str, networks: Sequence[str] = ("encoder", "actor", "critic")) -> dict[str, Any] | None:
    """Return a preset's settings for `build_schedules`: the same as those of the trainer's `lr_schedule=<name>`.

    >>> load_preset("warmup_cosine", networks=["policy"])["policy"]["intervals"]
    [{'start': 0, 'init_lr': '1x', 'final_lr': '0.05x', 'warmup': '2%'}]

    Args:
        name: constant, gentle_decay, aggressive_decay, exponential_smooth, stage_based, warmup_cosine, wsd,
            one_cycle or differential.
        networks: names of the networks, alike but in `differential`, which has only `encoder`, `actor` and `critic`.

    Raises:
        ValueError: there is no such preset, or `differential` has none for a network.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name}; {choices(name, PRESETS, 'presets')}")
    if name == "constant":
        return None
    own = _DIFFERENTIAL if name == "differential" else dict.fromkeys(networks, _ALIKE.get(name))
    for network in networks:
        if network not in own:
            raise ValueError(f"differential has no schedule of {network}; {choices(network, own, 'networks')}")
    return {network: deepcopy(own[network]) for network in networks}
