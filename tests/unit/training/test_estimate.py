"""What a frame of a training is estimated to cost."""

from __future__ import annotations

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.settings import Settings
from glideslope.training import estimate


def cost_of_learning(monkeypatch: pytest.MonkeyPatch, step: float, update: float, *, processors: int = 2) -> float:
    """The estimated seconds per frame where a vector step of 16 environments and an update take so long."""
    overrides = ["profile=cpu", "encoder_bundle@agent=state", "save_video=false", "parallel=true"]
    settings = compose(TRAIN_CONFIG, overrides, Settings).settings
    assert (settings.num_envs, settings.update_every_steps) == (16, 2)

    measured = iter([step, step, update])  # of training, of evaluation, and an update
    monkeypatch.setattr(estimate, "_seconds", lambda *arguments: next(measured))
    monkeypatch.setattr(estimate, "usable_processors", lambda: processors)
    return estimate.measure_costs(settings, "cpu")["learn"]


def test_collection_beside_the_updates_costs_what_the_longer_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # Eight updates belong to a vector step.
    assert cost_of_learning(monkeypatch, step=0.032, update=0.02) == pytest.approx(0.16 / 16)
    assert cost_of_learning(monkeypatch, step=0.32, update=0.02) == pytest.approx(0.32 / 16)


def test_one_processor_does_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cost_of_learning(monkeypatch, step=0.032, update=0.02, processors=1) == pytest.approx(0.192 / 16)
