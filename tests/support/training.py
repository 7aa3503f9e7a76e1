"""Runs trainings in this process and reads their logs back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glideslope.cli.main import TRAIN_CONFIG, run_cli
from glideslope.cli.train import main
from glideslope.settings import Settings
from glideslope.training import launch


def train(run_dir: Path, *overrides: str, pictures: bool = False) -> int:
    """What ``python train_gimbal_curriculum.py`` does with these overrides; the exit status.

    Its costs are not measured beforehand, nor its pictures drawn unless asked for: each takes longer than the training.
    """
    arguments = [*overrides, f"hydra.run.dir={run_dir}", "num_threads=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "measure_costs", lambda *arguments: {})
        if not pictures:
            patch.setattr(launch, "plot_run", lambda *arguments, **named: None)
        return run_cli(main, TRAIN_CONFIG, Settings, arguments)


def read_tags(run_dir: Path) -> dict[str, dict[int, float]]:
    """Every scalar of a run's TensorBoard file: tag → frame → value."""
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def approx(value: float) -> object:
    """Equal to ``value`` as far as TensorBoard's float32 can tell."""
    return pytest.approx(value, rel=3e-7 if math.isfinite(value) else None)
