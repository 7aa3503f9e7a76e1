"""Shapes agree with the schedulers of timm, transformers and RLlib themselves, where these are installed.

A hundred random configurations of each (a thousand with CONFIGURATIONS=1000 in the environment), to 1e-12 relative, or
to four units in the last place of the largest rate where the other subtracts nearly equal numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glideslope.lr_scheduler import Schedule, build_schedules

CONFIGURATIONS = int(os.environ.get("CONFIGURATIONS", "100"))
LAST_PLACES = 4 * np.finfo(np.float64).eps


def build(*intervals: dict[str, Any], total: int, shape: str) -> Schedule:
    config = {"actor": {"type": shape, "intervals": list(intervals)}}
    return build_schedules(config, base={"actor": 1.0}, total_steps=total, max_rate=None)["actor"]


def rate_of(rng: np.random.Generator) -> float:
    return float(10 ** rng.uniform(-6, 0))


def optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def same(ours: Schedule, theirs: NDArray[np.float64], seed: int) -> None:
    rates = ours(np.arange(len(theirs)))
    np.testing.assert_allclose(rates, theirs, rtol=1e-12, atol=LAST_PLACES * theirs.max(), err_msg=f"seed {seed}")


def scheduler_of_timm(name: str) -> Any:
    """The module without the rest of timm, which needs torchvision."""
    spec = importlib.util.find_spec("timm")
    if spec is None:
        pytest.skip("timm is not installed")
    for package in ("timm", "timm.scheduler"):
        module = types.ModuleType(package)
        places = list(spec.submodule_search_locations or [])
        module.__path__ = [os.path.join(place, *package.split(".")[1:]) for place in places]
        sys.modules.setdefault(package, module)
    return importlib.import_module(f"timm.scheduler.{name}")


def test_cosines_that_restart_lower_are_those_of_timm() -> None:
    kind = scheduler_of_timm("cosine_lr").CosineLRScheduler
    for seed in range(CONFIGURATIONS):
        rng = np.random.default_rng(seed)
        cycle, count, factor = int(rng.integers(2, 50)), int(rng.integers(1, 8)), float(rng.uniform(0.2, 1.2))
        init, low = rate_of(rng), float(rng.choice([0.0, rate_of(rng)]))
        interval = {"end": cycle * count, "init_lr": init, "final_lr": low, "repeat": count, "restart_factor": factor}
        theirs = kind(optimizer(init), cycle, lr_min=low, cycle_decay=factor, cycle_limit=count)
        rates = np.array([theirs._get_lr(step)[0] for step in range(cycle * count)])
        same(build(interval, total=1000, shape="cosine_decay"), rates, seed)


def test_warm_up_stable_and_decay_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    for seed in range(CONFIGURATIONS):
        rng = np.random.default_rng(seed)
        warm, stable, decay = (int(count) for count in rng.integers(1, 133, 3))
        init, share = rate_of(rng), float(rng.choice([0.0, rng.uniform(0, 1)]))
        ours = build(
            {"type": "constant", "end": warm + stable, "lr": init, "warmup": warm},
            {"init_lr": init, "final_lr": share * init, "end": warm + stable + decay},
            total=warm + stable + decay,
            shape="one_minus_sqrt",
        )
        theirs = transformers.get_wsd_schedule(
            optimizer(init),
            num_warmup_steps=warm,
            num_stable_steps=stable,
            num_decay_steps=decay,
            decay_type="1-sqrt",
            min_lr_ratio=share,
        ).lr_lambdas[0]
        rates = np.array([init * theirs(step) for step in range(warm, warm + stable + decay + 9)])
        # Their warm-up begins at the lowest rate, ours at the one before it, 0.
        shifted = ours(np.arange(warm, warm + len(rates)))
        np.testing.assert_allclose(shifted, rates, rtol=1e-12, atol=LAST_PLACES * init, err_msg=f"seed {seed}")
        if share == 0:
            same(ours, init * np.array([theirs(step) for step in range(warm)]), seed)


def test_points_are_those_of_rllib() -> None:
    rllib = pytest.importorskip("ray.rllib.utils.schedules.piecewise_schedule")
    for seed in range(CONFIGURATIONS):
        rng = np.random.default_rng(seed)
        total, count = int(rng.integers(10, 400)), int(rng.integers(1, 8))
        places = [0, *sorted(1 + rng.choice(total - 1, count, replace=False))]
        points = [(int(place), float(rng.choice([0.0, rate_of(rng), rate_of(rng)]))) for place in places]
        theirs = rllib.PiecewiseSchedule(points, outside_value=points[-1][1], framework=None)
        rates = np.array([theirs(step) for step in range(2 * total)])
        same(build({"points": [list(point) for point in points]}, total=total, shape="piecewise_linear"), rates, seed)
