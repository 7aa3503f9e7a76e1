"""What a frame of a training is estimated to cost."""

from __future__ import annotations

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.settings import Settings
from glideslope.training import estimate


def cost_of_learning(
    monkeypatch: pytest.MonkeyPatch, step: float, update: float, *more: float, processors: int = 2, words: str = ""
) -> float:
    """The estimated seconds per frame where a vector step of 16 environments and an update take so long."""
    pinned = "update_every_steps=2 num_eval_episodes=20 save_video=false parallel=true"
    overrides = ["profile=cpu", "encoder_bundle@agent=state", *pinned.split(), *words.split()]
    settings = compose(TRAIN_CONFIG, overrides, Settings).settings
    assert (settings.num_envs, settings.update_every_steps) == (16, 2)

    measured = iter([step, step, update, *more])  # 16 environments, 10 or 20, an update; one of the critic
    monkeypatch.setattr(estimate, "_seconds", lambda *arguments: next(measured))
    monkeypatch.setattr(estimate, "usable_processors", lambda: processors)
    return estimate.measure_costs(settings, "cpu")["learn"]


def test_collection_beside_the_updates_costs_what_the_longer_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # Eight updates belong to a vector step.
    words = "critic_observation=pixels actor_every_updates=1"
    assert cost_of_learning(monkeypatch, 0.032, 0.02, words=words) == pytest.approx(0.16 / 16)
    assert cost_of_learning(monkeypatch, 0.32, 0.02, words=words) == pytest.approx(0.32 / 16)


def test_one_processor_does_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "critic_observation=pixels actor_every_updates=1"
    assert cost_of_learning(monkeypatch, 0.032, 0.02, processors=1, words=words) == pytest.approx(0.192 / 16)


def test_an_actor_beside_a_privileged_critic_learns_behind_the_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 20 ms the critic takes 8: eight of those, or a vector step and four of the actor's 12.
    assert cost_of_learning(monkeypatch, 0.032, 0.02, 0.008) == pytest.approx((0.032 + 4 * 0.012) / 16)
    assert cost_of_learning(monkeypatch, 0.002, 0.02, 0.008) == pytest.approx(8 * 0.008 / 16)
    alone = cost_of_learning(monkeypatch, 0.032, 0.02, 0.008, processors=1)
    assert alone == pytest.approx((0.032 + 8 * 0.008 + 4 * 0.012) / 16)


def test_an_actor_that_is_updated_seldom_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "critic_observation=pixels actor_every_updates=4 parallel=false"
    cost = cost_of_learning(monkeypatch, 0.032, 0.02, 0.012, words=words)
    assert cost == pytest.approx((0.032 + 8 * 0.012 + 2 * 0.008) / 16)
