"""A flight in a mirror is a flight: the mirrored start, flown by mirrored actions, is seen mirrored all the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.scenario import Scenarios
from glideslope.envs.symmetry import mirrors
from glideslope.settings import StageSettings
from tests.support.tasks import pinned_task

STAGE = StageSettings(name="S", start_offset=1.0, pad_speed=(0.1, 1.0), wind=2.0)
STEPS = 12


def mirrored_pair(monkeypatch: pytest.MonkeyPatch, axis: int, **options: Any) -> LandingVectorEnv:
    """Two environments whose scenarios are those of a seed, the second one's in the mirror that faces the axis."""
    draw = Scenarios.draw

    def drawn(self: Scenarios, env: int, *rest: Any) -> None:
        draw(self, env, *rest)
        self.heading[env] = 0.0
        if env == 1:
            for vectors in (self.start_position, self.start_velocity, self.wind_mean, self.gust, self.sun_direction):
                vectors[1, axis] *= -1.0
            self.pad_heading[1] = (np.pi if axis == 0 else 0.0) - self.pad_heading[1]
            self.pad_sway[1] *= -1.0
            self.pad_turn_rate[1] *= -1.0

    monkeypatch.setattr(Scenarios, "draw", drawn)
    return LandingVectorEnv(2, stage=STAGE, num_threads=1, privileged=True, oracle_gimbal=True, **options)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("stabilized", [False, True])
@pytest.mark.parametrize("control", ["position", "acceleration"])
@pytest.mark.parametrize("path", ["sinusoidal", "circular"])
def test_mirrored_flights_are_seen_mirrored(
    monkeypatch: pytest.MonkeyPatch, axis: int, stabilized: bool, control: str, path: str
) -> None:
    task = pinned_task(
        gimbal_stabilized=stabilized,
        gimbal_control=control,
        pad_paths=(path,),
        range_finder=True,
        range_finder_noise=0.0,
    )
    mirror = mirrors(task, 3, privileged=True, oracle_gimbal=True)[axis]
    env = mirrored_pair(monkeypatch, axis, task=task, pixels=False)
    seen, _ = env.reset(seed=[8, 8])
    rng = np.random.default_rng(axis)
    for _ in range(STEPS):
        state = seen["state"].reshape(2, -1)
        known = np.hstack([seen["privileged"], seen["oracle_gimbal"]])
        assert np.abs(state[0] - state[1]).max() > 0.01
        np.testing.assert_allclose(state[1], state[0] * mirror.state, atol=2e-3)
        np.testing.assert_allclose(known[1], known[0] * mirror.privileged, atol=2e-3)
        action = rng.uniform(-1.0, 1.0, 5).astype(np.float32)
        seen, reward, *_ = env.step(np.stack([action, action * mirror.action]))
        assert reward[1] == pytest.approx(reward[0], abs=2e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_views_are_flipped(monkeypatch: pytest.MonkeyPatch, axis: int) -> None:
    # One pad marking, the letter H, which a mirror leaves what it is; only the ground's grain tells them apart.
    task = pinned_task(image_size=48, randomize_visuals=False, start_height=(2.0, 2.1), pad_paths=("straight",))
    mirror = mirrors(task, 3, privileged=False, oracle_gimbal=False)[axis]
    assert mirror.privileged.size == 0
    env = mirrored_pair(monkeypatch, axis, task=task, pixels=True)
    env.reset(seed=[3, 3])
    action = np.array([0.5, -0.7, 0.0, 0.3, 0.4], np.float32)
    for _ in range(3):
        seen, *_ = env.step(np.stack([action, action * mirror.action]))
    view, other = seen["pixels"][:, -1].astype(float)
    flipped = np.flip(view, mirror.image_dim)
    assert np.corrcoef(flipped.ravel(), other.ravel())[0, 1] > 0.95
    assert np.corrcoef(view.ravel(), other.ravel())[0, 1] < 0.8


def test_values_that_are_not_stored_have_no_signs() -> None:
    task = pinned_task()
    assert mirrors(task, 1, privileged=False, oracle_gimbal=True)[0].privileged.tolist() == [-1, 1]
    assert mirrors(task, 1, privileged=False, oracle_gimbal=True)[1].privileged.tolist() == [1, -1]
