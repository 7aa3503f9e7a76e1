"""The number that a training hands back to a sweep: the objective of hyperparameter optimization.

It is a held-out figure of the curriculum's last stage, from finished.json, or the last value of a column of
train.csv or eval.csv.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from glideslope.errors import Fault, SettingsError, listed, meant
from glideslope.runs.run_folder import FINISHED
from glideslope.settings import NETWORKS, REWARD_TERMS, Settings

KEY = "objective"
DEFAULT = "success_rate"

_SCORE = (
    *("crash_rate", "timeout_rate", "touchdown_error_m", "touchdown_speed"),
    *("episode_reward", "episode_length"),
)
HELD_OUT = ("success_rate", "low", "high", *_SCORE)
"""Figures of the last stage on held-out scenarios, the names of `Score`'s numbers."""
EVAL = ("stage", "success_rate", *_SCORE)
"""Figures of an evaluation during training, the names of `Score`'s numbers."""

_DIAGNOSTICS = ("grad_norm", "update_to_weight", "param_norm", "dormant_ratio", "effective_lr")
_TRAIN = (
    *("critic_loss", "actor_loss", "critic_q1", "critic_q2", "target_q", "batch_reward", "actor_pretanh"),
    *("stddev", "buffer_size", "fps", "episode_reward", "episode_length", "success_rate"),
)
_AUXILIARY = {
    "gimbal_angles": ("train/auxiliary_loss", "train/auxiliary_error_deg"),
    "pad_motion": ("train/auxiliary_loss", "train/auxiliary_error_m", "train/auxiliary_error_mps"),
}


def objectives(settings: Settings) -> tuple[str, ...]:
    """Return the names that ``objective=`` can have in a training with these settings."""
    stages = range(len(settings.curriculum.stage_names))
    return (
        *HELD_OUT,
        *(f"lr_{network}" for network in NETWORKS),
        *("curriculum/stage", "curriculum/success_rate_window"),
        *(f"train/{name}" for name in _TRAIN),
        *(_AUXILIARY[settings.auxiliary_task] if settings.auxiliary_task else ()),
        *(f"train/reward/{term}" for term in REWARD_TERMS),
        *(f"diagnostics/{network}_{name}" for network in NETWORKS for name in _DIAGNOSTICS),
        *(f"eval/{name}" for name in (*EVAL, "forgetting")),
        *(f"eval/{name}_stage{stage}" for stage in stages for name in ("success_rate", "forgetting")),
    )


def check_objective(name: object, settings: Settings) -> str:
    """Return ``name``, the value of ``objective=``.

    Raises:
        SettingsError: no such number is logged.
    """
    names = objectives(settings)
    if name in names:
        return str(name)
    near = meant(name, names)
    rule = f"must be {listed(HELD_OUT)}, or a column of train.csv or eval.csv such as eval/success_rate{near}"
    raise SettingsError([Fault(KEY, name, rule)])


def read_objective(run_dir: Path, name: str) -> float | None:
    """Return the objective ``name`` of the finished run in ``run_dir``; None where the run has no such number.

    A touchdown speed, for example, exists only where something landed.
    """
    value: Any
    try:
        if name in HELD_OUT:
            finished = json.loads((run_dir / FINISHED).read_text(encoding="utf-8"))
            value = finished["stages"][-1][name]
        else:
            table = "eval.csv" if name.startswith("eval/") else "train.csv"
            with open(run_dir / table, encoding="utf-8", newline="") as file:
                logged = [row[name] for row in csv.DictReader(file) if row.get(name)]
            value = logged[-1] if logged else None
    except FileNotFoundError:
        value = None
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
