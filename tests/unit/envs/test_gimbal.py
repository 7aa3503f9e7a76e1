"""How actions move the gimbal, in every mode: closed forms, limits, and what the task makes of it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glideslope.cli.main import EVALUATE_CONFIG, TRAIN_CONFIG, compose
from glideslope.envs import ENV_ID
from glideslope.envs.baselines import expert, fixed_camera
from glideslope.envs.gimbal import (
    ANGLE_LIMITS,
    PITCH_LIMIT,
    AccelerationGimbal,
    Gimbal,
    PositionGimbal,
    VelocityGimbal,
    accelerate,
    angles_towards,
)
from glideslope.envs.gym import LandingEnv, LandingVectorEnv
from glideslope.envs.landing import LandingTask, Outcome
from glideslope.envs.layout import ACTION_DIM, privileged_dim
from glideslope.evaluation.scoring import play, summarise
from glideslope.settings import FULL_TASK, EvaluateSettings, Settings, StageSettings, TaskSettings
from tests.support.paths import ROOT
from tests.support.tasks import pinned_task

Array = NDArray[np.float64]
Mode = Literal["position", "velocity", "acceleration"]

MODES: tuple[Mode, ...] = ("position", "velocity", "acceleration")
TASKS = {"position": "gimbal_landing"} | {mode: f"gimbal_landing_{mode}" for mode in MODES[1:]}
RATE, ACCELERATION = 3.0, 10.0
OPEN = np.ones((1, 2))
MOVING = np.array([True])
STEPS = [1 / 60, 1 / 120, 0.04, 0.011, 0.5]
EPISODES = 100
PAGE = (ROOT / "docs" / "gimbal.md").read_text(encoding="utf-8")


def gimbal(mode: Mode, num: int = 1) -> Gimbal:
    builds: dict[Mode, Callable[[], Gimbal]] = {
        "position": lambda: PositionGimbal(num, RATE),
        "velocity": lambda: VelocityGimbal(num, RATE),
        "acceleration": lambda: AccelerationGimbal(num, RATE, ACCELERATION),
    }
    return builds[mode]()


def held(mode: Mode, action: float, dt: float, steps: int) -> Array:
    """Pitch after each of ``steps`` steps of the same action, from rest."""
    one = gimbal(mode)
    angles = []
    for _ in range(steps):
        one.advance(np.full((1, 2), action), OPEN, dt, MOVING)
        angles.append(one.angles[0, 0])
    return np.array(angles)


def flight(mode: Mode, num: int = 1, stage: StageSettings = FULL_TASK, **changes: Any) -> LandingTask:
    """Episodes that have just begun, high enough for seconds of any action."""
    settings = pinned_task(gimbal_control=mode, start_height=(5.0, 5.0), **changes)
    task = LandingTask(num, settings, stage, pixels=False, num_threads=1)
    task.reset(np.arange(num), [np.random.default_rng(env) for env in range(num)])
    return task


def gimbal_action(pitch: float, yaw: float, num: int = 1) -> Array:
    """Hovering, with this gimbal action."""
    action = np.zeros((num, ACTION_DIM))
    action[:, 3:] = pitch, yaw
    return action


def rates_of(one: Gimbal) -> Array:
    return one.rates if isinstance(one, AccelerationGimbal) else np.zeros_like(one.angles)


# --- closed forms ---


@pytest.mark.parametrize("dt", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_angles_follow_the_closed_form_at_every_step_length(mode: Mode, dt: float) -> None:
    """From rest, with the action 0.9 held: 0.9 of 47°, of 3 rad/s or of 10 rad/s²."""
    time = dt * np.arange(1, 2 + math.ceil(0.6 / dt))
    rise = RATE / (0.9 * ACCELERATION)  # s until the top rate
    ramp = 0.45 * ACCELERATION * np.minimum(time, rise) ** 2 + RATE * np.maximum(time - rise, 0.0)
    expected = {
        "position": np.minimum(RATE * time, 0.9 * PITCH_LIMIT),
        "velocity": np.minimum(0.9 * RATE * time, PITCH_LIMIT),
        "acceleration": np.minimum(ramp, PITCH_LIMIT),
    }[mode]
    np.testing.assert_allclose(held(mode, 0.9, dt, len(time)), expected, atol=1e-12)
    np.testing.assert_allclose(held(mode, -0.9, dt, len(time)), -expected, atol=1e-12)


SWINGS: dict[Mode, float] = {  # s for 47°
    "position": PITCH_LIMIT / RATE,
    "velocity": PITCH_LIMIT / RATE,
    "acceleration": RATE / ACCELERATION + (PITCH_LIMIT - RATE**2 / (2 * ACCELERATION)) / RATE,
}


@pytest.mark.parametrize("controller_hz", [60, 120])
@pytest.mark.parametrize("mode", MODES)
def test_a_swing_takes_the_time_that_the_limits_allow(mode: Mode, controller_hz: int) -> None:
    assert SWINGS[mode] == pytest.approx(0.4256 if mode == "acceleration" else 0.2756, abs=1e-4)
    task = flight(mode, controller_hz=controller_hz, decision_hz=controller_hz, physics_hz=240)
    decisions = 0
    while task.gimbal.angles[0, 0] < PITCH_LIMIT - 1e-9:
        task.step(gimbal_action(1.0, 0.0))
        decisions += 1
    assert 0.0 <= decisions / controller_hz - SWINGS[mode] < 1.0 / controller_hz + 1e-9


@pytest.mark.parametrize("mode", MODES)
def test_the_controllers_rate_does_not_matter(mode: Mode) -> None:
    slow, fast = flight(mode, controller_hz=60), flight(mode, controller_hz=120)
    rng = np.random.default_rng(0)
    for _ in range(12):
        action = gimbal_action(*rng.uniform(-1, 1, 2))
        slow.step(action)
        fast.step(action)
        np.testing.assert_allclose(slow.gimbal.angles, fast.gimbal.angles, atol=1e-12)


def test_acceleration_agrees_with_a_fine_integration() -> None:
    """Random accelerations, held for up to 0.5 s, in 200 gimbals of all ranges: Euler's method with 10 µs steps."""
    rng = np.random.default_rng(1)
    reach = rng.uniform(0.0, 1.0, (200, 1)) * ANGLE_LIMITS
    angle = rng.uniform(-1.0, 1.0, (200, 2)) * reach
    rate = rng.uniform(-RATE, RATE, (200, 2))
    for held_for in (0.1, 0.5, 1 / 60, 0.3):
        acceleration = rng.uniform(-ACCELERATION, ACCELERATION, (200, 2))
        exact_angle, exact_rate = accelerate(angle, rate, acceleration, reach, RATE, held_for)
        steps = round(held_for / 1e-5)
        for _ in range(steps):
            rate = np.clip(rate + held_for / steps * acceleration, -RATE, RATE)
            angle = angle + held_for / steps * rate
            beyond = np.abs(angle) > reach
            angle = np.clip(angle, -reach, reach)
            rate = np.where(beyond, 0.0, rate)
        np.testing.assert_allclose(exact_angle, angle, atol=1e-3)
        at_end = np.abs(exact_angle) > reach - 1e-3  # where the rate jumps
        np.testing.assert_allclose(exact_rate[~at_end], rate[~at_end], atol=5e-3)
        at_top = np.abs(exact_rate) == RATE
        assert min(at_end.sum(), at_top.sum(), (~at_end & ~at_top).sum()) > 15  # all that can happen did
        angle, rate = exact_angle, exact_rate


def test_at_the_end_of_the_range_it_stops_dead_and_leaves_from_rest() -> None:
    one = AccelerationGimbal(1, RATE, ACCELERATION)
    one.angles[:], one.rates[:] = [PITCH_LIMIT - 0.01, 0.0], [2.0, 0.0]
    out, back = np.array([[1.0, 0.0]]), np.array([[-0.5, 0.0]])
    one.advance(out, OPEN, 0.1, MOVING)
    assert (one.angles[0, 0], one.rates[0, 0]) == (PITCH_LIMIT, 0.0)
    one.advance(back, OPEN, 0.2, MOVING)
    assert one.angles[0, 0] == pytest.approx(PITCH_LIMIT - 0.5 * 5.0 * 0.2**2)
    assert one.rates[0, 0] == pytest.approx(-1.0)


def test_a_motion_that_meets_the_end_while_it_is_braked_goes_back_from_there() -> None:
    """At 2 rad/s, braked by 5 rad/s², it meets the end 0.1 rad on at √3 rad/s, after (2 − √3) / 5 s."""
    one = AccelerationGimbal(1, RATE, ACCELERATION)
    one.angles[:], one.rates[:] = [PITCH_LIMIT - 0.1, 0.0], [2.0, 0.0]
    one.advance(np.array([[-0.5, 0.0]]), OPEN, 0.25, MOVING)
    left = 0.25 - (2.0 - math.sqrt(3.0)) / 5.0
    assert one.angles[0, 0] == pytest.approx(PITCH_LIMIT - 2.5 * left**2)
    assert one.rates[0, 0] == pytest.approx(-5.0 * left)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_without_acceleration_it_turns_on_until_the_end_of_the_range(side: float) -> None:
    one = AccelerationGimbal(1, RATE, ACCELERATION)
    one.rates[:] = 0.5 * side
    for seconds, turned in ((0.2, 0.1), (1.3, 0.75), (1.0, PITCH_LIMIT)):
        one.advance(np.zeros((1, 2)), OPEN, seconds, MOVING)
        assert one.angles[0, 0] == pytest.approx(side * turned)
    np.testing.assert_array_equal(one.rates, [[0.0, 0.5 * side]])


# --- what holds for every action ---

UNIT = st.one_of(st.floats(-1.0, 1.0), st.sampled_from([-1.0, 0.0, 1.0]))
SHARE = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0]))
STEP = st.floats(1e-4, 1.0)


@pytest.mark.parametrize("mode", MODES)
@given(st.lists(st.tuples(UNIT, UNIT, STEP), min_size=1, max_size=12), SHARE, SHARE)
def test_neither_range_nor_rate_is_ever_exceeded(
    mode: Mode, actions: list[tuple[float, float, float]], pitch: float, yaw: float
) -> None:
    one, share = gimbal(mode), np.array([[pitch, yaw]])
    for first, second, dt in actions:
        before = one.angles.copy()
        one.advance(np.array([[first, second]]), share, dt, MOVING)
        assert np.all(np.abs(one.angles) <= share * ANGLE_LIMITS + 1e-15)
        assert np.all(np.abs(one.angles - before) <= RATE * dt + 1e-12)
        assert np.all(np.abs(rates_of(one)) <= RATE)
        assert np.all(rates_of(one)[share == 0.0] == 0.0)


@pytest.mark.parametrize("mode", MODES)
@given(UNIT, UNIT, UNIT, SHARE, STEP, STEP)
def test_a_step_equals_the_two_that_it_is_made_of(
    mode: Mode, start: float, rate: float, action: float, share: float, first: float, second: float
) -> None:
    once, twice = moving_at(mode, start * share, rate), moving_at(mode, start * share, rate)
    actions, shares = np.full((1, 2), action), np.full((1, 2), share)
    once.advance(actions, shares, first + second, MOVING)
    twice.advance(actions, shares, first, MOVING)
    twice.advance(actions, shares, second, MOVING)
    # Where the end is only grazed, rounding decides whether it is met: an error of 1e-16 rad becomes its root.
    np.testing.assert_allclose(once.angles, twice.angles, atol=1e-6)
    inside = np.abs(once.angles) < shares * ANGLE_LIMITS - 1e-6
    np.testing.assert_allclose(rates_of(once)[inside], rates_of(twice)[inside], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@given(UNIT, UNIT, UNIT, SHARE, STEP)
def test_the_mirrored_motion_is_the_mirror_image_bit_for_bit(
    mode: Mode, start: float, rate: float, action: float, share: float, dt: float
) -> None:
    one, other = moving_at(mode, start * share, rate), moving_at(mode, -start * share, -rate)
    one.advance(np.full((1, 2), action), np.full((1, 2), share), dt, MOVING)
    other.advance(np.full((1, 2), -action), np.full((1, 2), share), dt, MOVING)
    np.testing.assert_array_equal(one.angles, -other.angles)
    np.testing.assert_array_equal(rates_of(one), -rates_of(other))


def moving_at(mode: Mode, start: float, rate: float) -> Gimbal:
    """A gimbal at shares of its limits of angle and, where it has one of its own, of rate."""
    one = gimbal(mode)
    one.angles[:] = start * ANGLE_LIMITS
    if isinstance(one, AccelerationGimbal):
        one.rates[:] = rate * RATE
    return one


@pytest.mark.parametrize("mode", MODES)
def test_a_gimbal_moves_alike_among_others_and_alone(mode: Mode) -> None:
    rng = np.random.default_rng(3)
    share = rng.uniform(0.2, 1.0, (17, 2))
    many, alone = gimbal(mode, 17), [gimbal(mode) for _ in range(17)]
    for _ in range(60):
        actions = rng.uniform(-1, 1, (17, 2))
        still = rng.random(17) < 0.2
        before = many.angles.copy(), rates_of(many).copy()
        many.advance(actions, share, 1 / 60, ~still)
        np.testing.assert_array_equal(many.angles[still], before[0][still])
        np.testing.assert_array_equal(rates_of(many)[still], before[1][still])
        for env, one in enumerate(alone):
            one.advance(actions[[env]], share[[env]], 1 / 60, ~still[[env]])
            np.testing.assert_array_equal(one.angles[0], many.angles[env])
            np.testing.assert_array_equal(rates_of(one)[0], rates_of(many)[env])


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_brings_some_to_rest_and_leaves_the_others(mode: Mode) -> None:
    one = gimbal(mode, 3)
    one.advance(np.full((3, 2), 0.8), np.ones((3, 2)), 0.1, np.ones(3, bool))
    before = one.state_dict()
    assert list(before) == (["angles", "rates"] if mode == "acceleration" else ["angles"])
    one.reset(np.array([0, 2]))
    for name, row in one.state_dict().items():
        assert not row[[0, 2]].any()
        np.testing.assert_array_equal(row[1], before[name][1])


# --- in the task ---


def test_an_action_of_zero_looks_down_stays_or_goes_on() -> None:
    tasks = {mode: flight(mode) for mode in MODES}
    for task in tasks.values():
        task.step(gimbal_action(0.5, -0.5))
    before = {mode: task.gimbal.angles.copy() for mode, task in tasks.items()}
    assert all(angles.all() for angles in before.values())
    for task in tasks.values():
        task.step(gimbal_action(0.0, 0.0))
    np.testing.assert_allclose(tasks["position"].gimbal.angles, 0.0, atol=1e-15)
    np.testing.assert_array_equal(tasks["velocity"].gimbal.angles, before["velocity"])
    turned = tasks["acceleration"].gimbal.angles - before["acceleration"]
    np.testing.assert_allclose(turned, [[0.5 * ACCELERATION / 36, -0.5 * ACCELERATION / 36]])


@pytest.mark.parametrize("mode", MODES)
def test_the_stage_decides_how_far_it_goes(mode: Mode) -> None:
    stage = StageSettings(name="S", scale=(0.3, 0.0, 0.5), yaw_only=True)
    task = flight(mode, stage=stage)
    for _ in range(8):
        task.step(gimbal_action(1.0, -1.0))
    np.testing.assert_array_equal(task.gimbal.angles, [[0.0, -0.5 * ANGLE_LIMITS[1]]])
    assert not rates_of(task.gimbal).any()


@pytest.mark.parametrize("mode", MODES)
def test_the_limits_are_those_configured(mode: Mode) -> None:
    task = flight(mode, gimbal_max_rate=1.2, gimbal_max_acceleration=4.0)
    task.step(gimbal_action(1.0, 1.0))
    turned = 0.5 * 4.0 / 36 if mode == "acceleration" else 1.2 / 6
    np.testing.assert_allclose(task.gimbal.angles, [[turned, turned]])


@pytest.mark.parametrize("mode", MODES)
def test_it_stands_still_once_the_episode_has_ended(mode: Mode) -> None:
    task = flight(mode, num=2)
    task.step(gimbal_action(0.6, 0.6, num=2))
    task.stop(np.array([0]))
    before, rates = task.gimbal.angles.copy(), rates_of(task.gimbal).copy()
    task.step(gimbal_action(-0.6, 0.9, num=2))
    np.testing.assert_array_equal(task.gimbal.angles[0], before[0])
    np.testing.assert_array_equal(rates_of(task.gimbal)[0], rates[0])
    assert np.all(task.gimbal.angles[1] != before[1])


@pytest.mark.parametrize("mode", MODES)
def test_turning_is_penalised_by_the_angle_turned(mode: Mode) -> None:
    task = flight(mode, stage=StageSettings(name="S", smooth_penalty=0.4))
    for _ in range(3):
        before = task.gimbal.angles.copy()
        result = task.step(gimbal_action(0.4, -0.7))
        turned = np.sum((task.gimbal.angles - before) ** 2, axis=1)
        assert turned[0] > 0
        np.testing.assert_allclose(result.terms["smoothness"], -0.4 * turned)


@pytest.mark.parametrize("mode", MODES)
def test_the_privileged_state_tells_all_that_moves_the_gimbal(mode: Mode) -> None:
    """Two gimbals at the same angles, one of which is turning: only acceleration control lets it go on by itself."""
    task = flight(mode, num=2)
    still = task.privileged()
    assert still.shape[1] == privileged_dim(task.task) == (22 if mode == "acceleration" else 20)
    if isinstance(task.gimbal, AccelerationGimbal):
        task.gimbal.rates[1] = 1.5, -3.0
        np.testing.assert_array_equal(task.privileged()[:, 20:], [[0.0, 0.0], [0.5, -1.0]])
        np.testing.assert_array_equal(task.privileged()[:, :20], still[:, :20])
    env = LandingVectorEnv(2, task=task.task, pixels=False, privileged=True, frame_stack=1, num_threads=1)
    assert env.observation_space.contains(env.reset(seed=0)[0])


@pytest.mark.parametrize("mode", MODES)
def test_vector_and_single_environments_are_the_same(mode: Mode) -> None:
    task = pinned_task(gimbal_control=mode, episode_seconds=3.0, start_height=(0.6, 1.4))
    many = LandingVectorEnv(3, task=task, pixels=False, num_threads=1)
    alone = [LandingEnv(task=task, pixels=False, num_threads=1) for _ in range(3)]
    many.reset(seed=7)
    for env, one in enumerate(alone):
        one.reset(seed=7 + env)
    running = np.ones(3, bool)
    rng = np.random.default_rng(0)
    for _ in range(17):
        actions = rng.uniform(-1, 1, (3, ACTION_DIM)).astype(np.float32)
        observations, reward, terminated, truncated, _ = many.step(actions)
        for env in np.flatnonzero(running):
            observation, own_reward, *_ = alone[env].step(actions[env])
            assert own_reward == reward[env]
            if not (terminated | truncated)[env]:
                np.testing.assert_array_equal(observation["state"], observations["state"][env])
        running &= ~(terminated | truncated)
    assert running.any()


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_checker_finds_nothing(mode: Mode) -> None:
    task = pinned_task(gimbal_control=mode, image_size=20, episode_seconds=3.0)
    env = gym.make(ENV_ID, render_mode="rgb_array", task=task, num_threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_task_file(mode: Mode) -> None:
    expected = TaskSettings(gimbal_control=mode)
    assert compose(TRAIN_CONFIG, [f"task={TASKS[mode]}"], Settings).settings.task == expected
    played = compose(EVALUATE_CONFIG, ["policy=expert", f"task={TASKS[mode]}"], EvaluateSettings)
    assert played.settings.task == expected
    changed = compose(TRAIN_CONFIG, [f"task={TASKS[mode]}", "profile=cpu", "task.gimbal_max_acceleration=4"], Settings)
    plain = compose(TRAIN_CONFIG, ["profile=cpu"], Settings).settings.task
    assert changed.settings.task == plain.model_copy(update={"gimbal_control": mode, "gimbal_max_acceleration": 4.0})


# --- the scripted policies ---


@pytest.mark.parametrize("mode", MODES)
def test_the_expert_lands_and_sees_the_pad_in_every_mode(mode: Mode) -> None:
    """A hundred scenarios of the whole task with a moving pad."""
    task = TaskSettings(gimbal_control=mode, pad_paths=("straight", "sinusoidal", "circular"))
    env = LandingVectorEnv(EPISODES, task=task, stage=FULL_TASK, pixels=False, num_threads=1)
    seen = []

    def act(env: LandingVectorEnv, _: object) -> Array:
        late = (env.task.outcome == Outcome.RUNNING) & (env.task.decisions >= 4)  # it needs time to get there
        seen.append(env.task.pad_in_view()[1][late])
        return expert(env.task)

    assert summarise(play(env, act, FULL_TASK, 0, range(EPISODES)), FULL_TASK, 0).success_rate >= 0.95
    assert np.concatenate(seen).mean() > 0.97


@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_the_experts_rate_is_for_as_long_as_an_action_is_held(repeat: int) -> None:
    """Meant for one decision and held for two, it would swing past the pad as far as it had been off."""
    settings = pinned_task(gimbal_control="velocity", start_height=(5.0, 5.0))
    task = LandingTask(20, settings, FULL_TASK, pixels=False, num_threads=1, action_repeat=repeat)
    task.reset(np.arange(20), [np.random.default_rng(env) for env in range(20)])
    goal, started = angles_towards(task.pad_relative()[0]), task.gimbal.angles.copy()
    task.step(expert(task))
    within = (np.abs(goal) < ANGLE_LIMITS) & (np.abs(goal - started) < RATE * repeat / settings.decision_hz)
    assert within.sum() > 30
    np.testing.assert_allclose(task.gimbal.angles[within], goal[within], atol=1e-9)


def test_a_fixed_camera_is_the_same_in_every_mode() -> None:
    tasks = [flight(mode, num=8) for mode in MODES]
    for _ in range(40):
        for task in tasks:
            task.step(fixed_camera(task))
            np.testing.assert_array_equal(task.gimbal.angles, 0.0)
            np.testing.assert_array_equal(task.physics.position, tasks[0].physics.position)
    assert (tasks[0].outcome == Outcome.LANDED).any()


@pytest.mark.parametrize("mode", MODES)
def test_the_expert_leaves_locked_axes_alone(mode: Mode) -> None:
    task = flight(mode, num=10, stage=StageSettings(name="S", yaw_only=True, start_offset=2.5))
    actions = []
    for _ in range(4):
        actions.append(expert(task)[:, 3:])
        task.step(expert(task))
    np.testing.assert_array_equal(np.array(actions)[..., 0], 0.0)
    assert np.abs(actions[0]).max() > 0.2


@pytest.mark.parametrize(("mode", "actions"), [("position", 1), ("velocity", 1), ("acceleration", 2)])
def test_a_near_target_is_reached_at_rest_in_the_fewest_actions(mode: Mode, actions: int) -> None:
    one, target = gimbal(mode), np.array([[0.1, -0.12]])
    for _ in range(actions):
        action = one.action_towards(target, OPEN, 1 / 6)
        assert np.abs(action).max() <= 1.0
        for _ in range(10):
            one.advance(action, OPEN, 1 / 60, MOVING)
    np.testing.assert_allclose(one.angles, target, atol=0.02 if mode == "acceleration" else 1e-9)
    np.testing.assert_allclose(rates_of(one), 0.0, atol=0.2)


@pytest.mark.parametrize("mode", MODES)
@given(UNIT, UNIT, st.sampled_from([1 / 6, 1 / 3, 1 / 15]))
def test_any_target_is_reached_from_rest_without_going_beyond(
    mode: Mode, start: float, target: float, hold: float
) -> None:
    one, goal = moving_at(mode, start, 0.0), target * ANGLE_LIMITS[None]
    side = np.sign(goal - one.angles)
    for _ in range(round(3.0 / hold)):
        action = np.clip(one.action_towards(goal, OPEN, hold), -1.0, 1.0)
        one.advance(action, OPEN, hold, MOVING)
        assert np.all(side * (one.angles - goal) < 1e-6)
    np.testing.assert_allclose(one.angles, goal, atol=1e-3)
    np.testing.assert_allclose(rates_of(one), 0.0, atol=1e-2)


# --- the page ---


def test_the_pages_commands_compose_and_its_times_are_true() -> None:
    commands = re.findall(r"^python (\w+)\.py (.*)$", PAGE, re.MULTILINE)
    assert {words.split("task=")[1].split()[0] for _, words in commands} == set(TASKS.values()) - {"gimbal_landing"}
    for program, words in commands:
        if program == "evaluate":
            compose(EVALUATE_CONFIG, words.split(), EvaluateSettings)
        else:
            compose(TRAIN_CONFIG, words.split(), Settings)
    for mode in MODES:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{TASKS[mode]}`"))
        assert row.endswith(f"| {SWINGS[mode]:.3f} s |")
    assert (TaskSettings().gimbal_max_rate, TaskSettings().gimbal_max_acceleration) == (RATE, ACCELERATION)
