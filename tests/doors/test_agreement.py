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

from glideslope.lr_scheduler import Schedule
from tests.support.lr_configurations import CONFIGURATIONS, LAST_PLACES, cooldown, falling_restarts, points


def optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def same(ours: Schedule, theirs: NDArray[np.float64], seed: int, first: int = 0) -> None:
    """Compare rates from the step `first` on."""
    rates = ours(np.arange(first, first + len(theirs)))
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
        drawn = falling_restarts(np.random.default_rng(seed))
        theirs = kind(
            optimizer(drawn.init), drawn.cycle, lr_min=drawn.low, cycle_decay=drawn.factor, cycle_limit=drawn.count
        )
        same(drawn.ours, np.array([theirs._get_lr(step)[0] for step in range(drawn.cycle * drawn.count)]), seed)


def test_warm_up_stable_and_decay_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    for seed in range(CONFIGURATIONS):
        drawn = cooldown(np.random.default_rng(seed))
        theirs = transformers.get_wsd_schedule(
            optimizer(drawn.init),
            num_warmup_steps=drawn.warm,
            num_stable_steps=drawn.stable,
            num_decay_steps=drawn.decay,
            decay_type="1-sqrt",
            min_lr_ratio=drawn.share,
        ).lr_lambdas[0]
        # Their warm-up begins at the lowest rate, ours at the one before it, 0.
        first = drawn.warm if drawn.share else 0
        same(drawn.ours, drawn.init * np.array([theirs(step) for step in range(first, drawn.steps + 9)]), seed, first)


def test_points_are_those_of_rllib() -> None:
    rllib = pytest.importorskip("ray.rllib.utils.schedules.piecewise_schedule")
    for seed in range(CONFIGURATIONS):
        drawn = points(np.random.default_rng(seed))
        endpoints = list(zip(drawn.places, drawn.rates, strict=True))
        theirs = rllib.PiecewiseSchedule(endpoints, outside_value=drawn.rates[-1], framework=None)
        same(drawn.ours, np.array([theirs(step) for step in range(2 * drawn.total)]), seed)
