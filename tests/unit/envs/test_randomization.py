"""Drones and cameras that differ from the nominal ones: against other models of MuJoCo, by hand, episode by episode."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from glideslope.envs.landing import LandingTask
from glideslope.envs.layout import ACTION_DIM
from glideslope.envs.optics import expose
from glideslope.envs.physics import Physics, build_model, read_airframe
from glideslope.envs.rotors import Rotors
from glideslope.envs.scenario import Scenarios
from glideslope.errors import SettingsError
from glideslope.settings import FULL_TASK, RandomizationSettings, TaskSettings
from tests.support.environments import RANDOMIZATION as ALL
from tests.support.tasks import pinned_task


def begin(num: int = 4, seed: int = 0, **ranges: Any) -> LandingTask:
    settings = pinned_task(randomization=RandomizationSettings(**ranges))
    task = LandingTask(num, settings, FULL_TASK, pixels=False, num_threads=1)
    task.reset(np.arange(num), [np.random.default_rng([seed, env]) for env in range(num)])
    return task


def drawn(num: int, ranges: RandomizationSettings) -> Scenarios:
    task = pinned_task(randomization=ranges)
    scenarios = Scenarios.empty(num, task)
    for env in range(num):
        scenarios.draw(env, np.random.default_rng([1, env]), task, FULL_TASK)
    return scenarios


# --- what is drawn ---


def test_everything_is_drawn_evenly_between_its_bounds() -> None:
    scenarios = drawn(400, ALL)
    for name in ("mass", "thrust", "motor_lag", "exposure", "blur"):
        low, high = getattr(ALL, name)
        values = getattr(scenarios, name)
        assert values.min() >= low
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
        assert np.ptp(values) > 0.95 * (high - low)
    assert scenarios.late.mean() == pytest.approx(0.4, abs=0.02)
    assert scenarios.late.mean(axis=1).std() > 0.08  # each episode has a probability of its own
    assert np.ptp(scenarios.exposure, axis=1).min() > 0.4  # each image has an exposure of its own


def test_nothing_is_randomised_unless_asked_for() -> None:
    scenarios = drawn(20, RandomizationSettings())
    for name in ("mass", "thrust", "exposure"):
        np.testing.assert_array_equal(getattr(scenarios, name), 1.0)
    for name in ("motor_lag", "late", "blur"):
        np.testing.assert_array_equal(getattr(scenarios, name), 0)


def test_a_range_more_changes_no_other_draw() -> None:
    plain, one, every = (drawn(10, r) for r in (RandomizationSettings(), RandomizationSettings(blur=ALL.blur), ALL))
    np.testing.assert_array_equal(one.blur, every.blur)
    for name in ("start_position", "sun_ambient", "range_error"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(every, name))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("mass", [1.1, 0.9], "the lowest value must not be above the highest"),
        ("mass", [0.4, 1.0], "at least 0.5"),
        ("thrust", [1.0, 1.6], "at most 1.5"),
        ("motor_lag", [0.0, 1.5], "at most 1"),
        ("latency", [0.0, 1.2], "at most 1"),
        ("exposure", [0.0, 1.0], "at least 0.1"),
        ("blur", [-1.0, 1.0], "at least 0"),
    ],
)
def test_ranges_without_sense_are_refused(key: str, value: list[float], rule: str) -> None:
    with pytest.raises(SettingsError, match=rf"randomization\.{key}") as caught:
        TaskSettings.from_config({"randomization": {key: value}})
    assert rule in str(caught.value)


# --- what it does ---


@pytest.mark.parametrize("what", ["mass", "thrust"])
def test_a_heavier_drone_and_stronger_rotors_fly_as_mujocos(what: str) -> None:
    """Against a model with that mass and inertia, or those rotors, down onto the pad."""
    model = build_model(physics_hz=240, pad_size=1.4, camera_fov_deg=60)
    other = build_model(physics_hz=240, pad_size=1.4, camera_fov_deg=60)
    if what == "mass":
        body = other.body("drone").id
        other.body_mass[body] *= 1.2
        other.body_inertia[body] *= 1.2
        mujoco.mj_setConst(other, mujoco.MjData(other))
    else:
        other.actuator_gear[:] *= 1.2
    physics, expected = Physics(model, 1, 1), Physics(other, 1, 1)
    rng, wind = np.random.default_rng(0), np.array([[1.0, -0.5, 0.0]])
    first, upright = np.array([0]), np.array([[1.0, 0, 0, 0]])
    for one in (physics, expected):
        one.reset(first, np.array([[0.1, 0.0, 1.2]]), upright, np.zeros((1, 3)))
        one.refresh()
    touched = 0
    for _ in range(60):
        thrusts = rng.uniform(0.9, 1.25, (1, 4))
        if what == "mass":
            physics.step(thrusts, wind, 4, mass=np.array([1.2]))
        else:
            physics.step(1.2 * thrusts, wind, 4)
        expected.step(thrusts, wind, 4)
        np.testing.assert_allclose(physics.position, expected.position, atol=1e-6)
        np.testing.assert_allclose(physics.attitude, expected.attitude, atol=1e-6)
        touched += bool(physics.touches_pad[0])
        np.testing.assert_array_equal(physics.touches_pad, expected.touches_pad)
    assert touched or what == "thrust"


def test_rotors_beyond_their_nominal_limit_push_harder() -> None:
    task = begin(2, thrust=(1.5, 1.5))
    task.physics.velocity[:] = 0.0
    task.physics.step(np.full((2, 4), 4.5), np.zeros((2, 3)), 1)
    np.testing.assert_allclose(task.physics.velocity[:, 2], (18.0 / 0.5 - 9.81) / 240, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 5, 60])
def test_a_rotors_thrust_approaches_its_command_exponentially(steps: int) -> None:
    airframe = read_airframe(build_model(physics_hz=240, pad_size=1.4, camera_fov_deg=60))
    rotors = Rotors(3, airframe, 0.3 / steps)
    hover = 0.5 * 9.81 / 4
    command = np.tile([0.0, 1.0, 2.0, 3.0], (3, 1))
    for _ in range(steps):
        thrusts = rotors.follow(command, np.array([0.0, 0.1, 0.3]))
    remaining = np.array([0.0, np.exp(-3.0), np.exp(-1.0)])[:, None]
    np.testing.assert_allclose(thrusts, command + (hover - command) * remaining, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(thrusts[0], command[0])


def test_an_action_that_is_late_is_that_of_the_decision_before() -> None:
    late, plain = begin(latency=(1.0, 1.0)), begin()
    rng = np.random.default_rng(5)
    played = rng.uniform(-1, 1, (12, 4, ACTION_DIM))
    before = np.zeros((4, ACTION_DIM))
    for actions in played:
        late.step(actions)
        plain.step(before)
        np.testing.assert_array_equal(late.state(), plain.state())
        before = actions


def test_some_actions_are_late() -> None:
    task = begin(1, latency=(0.5, 0.5))
    late = task.scenarios.late[0].copy()
    assert 0.3 < late.mean() < 0.7
    plain, before = begin(1), np.zeros((1, ACTION_DIM))
    for k in range(10):
        actions = np.random.default_rng(k).uniform(-1, 1, (1, ACTION_DIM))
        task.step(actions)
        plain.step(before if late[k] else actions)
        np.testing.assert_array_equal(task.state(), plain.state())
        before = actions


def test_an_episode_forgets_the_last_ones_action() -> None:
    task = begin(2, latency=(1.0, 1.0))
    fresh = begin(2, latency=(1.0, 1.0))
    for _ in range(3):
        task.step(np.ones((2, ACTION_DIM)))
    task.reset(np.arange(2), [np.random.default_rng([0, env]) for env in range(2)])
    for one in (task, fresh):
        one.step(np.zeros((2, ACTION_DIM)))
    np.testing.assert_array_equal(task.state(), fresh.state())


@pytest.mark.parametrize(("exposure", "expected"), [(1.0, 100), (1.5, 150), (0.333, 33), (3.0, 255)])
def test_exposure_is_a_factor_on_the_brightness(exposure: float, expected: int) -> None:
    views = np.full((1, 4, 4), 100, np.uint8)
    found = expose(views, np.zeros(1), np.array([exposure]))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_a_blur_spreads_by_its_standard_deviation_and_each_image_by_its_own() -> None:
    views = np.zeros((2, 61, 61), np.uint8)
    views[:, 24:37, 30] = 255
    sharp, blurred = expose(views, np.array([0.0, 3.0]), np.ones(2)).astype(float)
    np.testing.assert_array_equal(sharp, views[0])
    across = blurred[30] / blurred[30].sum()
    places = np.arange(61) - 30
    assert (across * places).sum() == pytest.approx(0.0, abs=1e-9)
    assert np.sqrt((across * places**2).sum()) == pytest.approx(3.0, rel=0.03)
    np.testing.assert_array_equal(views[1], views[0])  # what was drawn is left as it was
