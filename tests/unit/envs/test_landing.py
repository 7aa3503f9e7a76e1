"""The landing task: scenarios, outcomes, rewards and what is observed, by hand and by closed forms."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glideslope.envs import rewards
from glideslope.envs.baselines import expert
from glideslope.envs.landing import LandingTask, Outcome
from glideslope.envs.layout import ACTION_DIM, PRIVILEGED_DIM
from glideslope.envs.physics import HULL_BOTTOM, PAD_TOP_HEIGHT, Physics
from glideslope.envs.rotation import quat_about
from glideslope.envs.scenario import GROUND_TEXTURES, PAD_TEXTURES, Scenarios
from glideslope.settings import FULL_TASK, REWARD_TERMS, RewardSettings, StageSettings, TaskSettings
from tests.support.environments import RANDOMIZATION
from tests.support.tasks import pinned_task

Array = NDArray[np.float64]

PATHS = ("static", "straight", "sinusoidal", "circular")
TOUCH_HEIGHT = PAD_TOP_HEIGHT + HULL_BOTTOM
STILL = pinned_task(pad_paths=("static",))
CALM = StageSettings(name="calm", wind=0.0, pad_speed=(0.0, 0.0), start_offset=0.0)
DECISION = 1.0 / 6.0  # s


def begin(
    num: int = 1, settings: TaskSettings = STILL, stage: StageSettings = CALM, seed: int = 0, **options: Any
) -> LandingTask:
    """``num`` episodes without pictures."""
    task = LandingTask(num, settings, stage, pixels=False, num_threads=1, **options)
    restart(task, seed)
    return task


def restart(task: LandingTask, seed: int) -> None:
    num = task.num_envs
    task.reset(np.arange(num), [np.random.default_rng([seed, env]) for env in range(num)])


def settle(task: LandingTask) -> None:
    """Let everything stand still where it began."""
    task.physics.velocity[:] = 0.0


def actions(num: int, *values: float) -> Array:
    """The same action for everybody; axes left out are 0."""
    action = np.zeros((num, ACTION_DIM))
    action[:, : len(values)] = values
    return action


def draws(num: int, task: TaskSettings, stage: StageSettings, seed: int = 0) -> Scenarios:
    scenarios = Scenarios.empty(num, task)
    for env in range(num):
        scenarios.draw(env, np.random.default_rng([seed, env]), task, stage)
    return scenarios


# --- scenarios ---


@pytest.mark.parametrize("path", ["sinusoidal", "circular"])
def test_fast_pads_turn_no_sharper_than_a_vehicle_can(path: str) -> None:
    """Slow ones turn as sharply as drawn: radii from 1 m, up to 1.5 rad/s."""
    unchanged = {1.0: 0.9, 2.0: 1.8} if path == "sinusoidal" else {1.0: 1.0}
    for speed in (1.0, 2.0, 4.0, 6.0):
        most = unchanged.get(speed, 3.0)
        scenarios = draws(100, pinned_task(pad_paths=(path,)), StageSettings(name="S", pad_speed=(speed, speed)))
        times, step = np.linspace(0.0, 18.0, 200), 1e-4
        velocities = [[scenarios.pad_motion(np.full(100, t + d))[1] for d in (0.0, step)] for t in times]
        sharpest = max(np.linalg.norm((b - a) / step, axis=1).max() for a, b in velocities)
        assert 0.75 * most < sharpest < most + 1e-3
        assert max(np.linalg.norm(a, axis=1).max() for a, _ in velocities) < speed + 1e-9


def test_scenarios_stay_what_they_were() -> None:
    """Sums over forty of them, taken when the look was all that was drawn last: later draws follow these."""
    scenarios = draws(40, pinned_task(), StageSettings(name="S", pad_speed=(0.0, 1.0), wind=2.0), seed=7)
    names = ("start_position", "pad_turn_rate", "pad_sway", "gust_phase", "sun_ambient")
    sums = [float(getattr(scenarios, name).sum()) for name in names]
    expected = [145.168709524, -1.345906669, 1.932705478, -15.401340909, 13.226909155]
    np.testing.assert_allclose(sums, expected, atol=1e-8)


@pytest.mark.parametrize("path", PATHS)
def test_pad_velocity_is_the_derivative_of_its_position(path: str) -> None:
    stage = StageSettings(name="S", pad_speed=(0.1, 1.0))
    scenarios = draws(60, pinned_task(pad_paths=(path,)), stage)
    step = 1e-4
    for time in (0.0, 0.7, 3.0, 11.5, 18.0):
        now = np.full(60, time)
        _, velocity, _ = scenarios.pad_motion(now)
        after, before = scenarios.pad_motion(now + step)[0], scenarios.pad_motion(now - step)[0]
        np.testing.assert_allclose(velocity, (after - before) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("path", PATHS)
def test_pad_keeps_to_the_speed_drawn_and_begins_at_the_origin(path: str) -> None:
    speed = 0.4
    scenarios = draws(60, pinned_task(pad_paths=(path,)), StageSettings(name="S", pad_speed=(speed, speed)))
    times = np.linspace(0.0, 18.0, 400)
    tracks = [scenarios.pad_motion(np.full(60, time)) for time in times]
    positions, velocities, courses = (np.array(part) for part in zip(*tracks, strict=True))
    speeds = np.linalg.norm(velocities, axis=2)
    np.testing.assert_array_equal(positions[0], 0.0)
    assert np.all(speeds <= speed + 1e-12)
    if path == "static":
        assert not positions.any()
        assert not speeds.any()
        np.testing.assert_array_equal(courses, np.broadcast_to(scenarios.pad_heading, courses.shape))
        return
    np.testing.assert_allclose(np.cos(courses), velocities[..., 0] / speeds, atol=1e-9)
    np.testing.assert_allclose(np.sin(courses), velocities[..., 1] / speeds, atol=1e-9)
    if path == "sinusoidal":
        assert np.all(speeds.max(axis=0) > 0.99 * speed)
        assert np.all(speeds.min(axis=0) < 0.85 * speed)
    else:
        np.testing.assert_allclose(speeds, speed, rtol=1e-9)
    if path == "circular":
        radius = speed / np.abs(scenarios.pad_turn_rate)
        assert np.all((radius >= 1.0) & (radius <= 3.0))
        assert 10 < (scenarios.pad_turn_rate > 0).sum() < 50  # both ways round
        half_turn, _, _ = scenarios.pad_motion(np.pi / np.abs(scenarios.pad_turn_rate))
        np.testing.assert_allclose(np.linalg.norm(half_turn, axis=1), 2 * radius, rtol=1e-9)
    else:
        ahead = np.stack([np.cos(scenarios.pad_heading), np.sin(scenarios.pad_heading)], axis=1)
        along = np.einsum("tnj,nj->tn", positions, ahead)
        share = 0.8 if path == "sinusoidal" else 1.0
        np.testing.assert_allclose(along, share * speed * times[:, None] * np.ones(60), atol=1e-9)


def test_a_pad_of_no_speed_stands_still_on_every_path() -> None:
    stage = StageSettings(name="S", pad_speed=(0.0, 0.0))
    scenarios = draws(40, pinned_task(), stage)
    position, velocity, course = scenarios.pad_motion(np.full(40, 9.0))
    assert not position.any()
    assert not velocity.any()
    np.testing.assert_array_equal(course, scenarios.pad_heading)


def test_every_path_is_drawn_about_equally_often() -> None:
    scenarios = draws(400, pinned_task(), StageSettings(name="S", pad_speed=(0.5, 0.5)))
    circular, sinusoidal = scenarios.pad_turn_rate != 0, scenarios.pad_sway != 0
    static = scenarios.pad_speed == 0
    straight = ~(circular | sinusoidal | static)
    for kind in (circular, sinusoidal, static, straight):
        assert 70 < kind.sum() < 130


def test_wind_is_level_bounded_and_gusty() -> None:
    scenarios = draws(200, pinned_task(), StageSettings(name="S", wind=0.7))
    winds = np.array([scenarios.wind(np.full(200, time)) for time in np.linspace(0, 18, 200)])
    strength = np.linalg.norm(winds, axis=2)
    assert not winds[..., 2].any()
    assert strength.max() <= 0.7 + 1e-12
    assert strength.max() > 0.6
    assert strength.max(axis=0).min() < 0.1  # calm episodes too
    assert np.all(np.ptp(strength, axis=0) > 0.1 * strength.max(axis=0))
    calm = draws(10, pinned_task(), StageSettings(name="S", wind=0.0))
    assert not calm.wind(np.linspace(0, 18, 10)).any()


def test_the_wind_is_its_mean_and_a_sine_of_gusts() -> None:
    scenarios = Scenarios.empty(2, pinned_task())
    scenarios.wind_mean[:] = [[0.3, -0.1, 0.0], [0.0, 0.2, 0.0]]
    scenarios.gust[:] = [[0.2, 0.4, 0.0], [-0.6, 0.0, 0.0]]
    scenarios.gust_rate[:] = [2.0, 0.5]
    scenarios.gust_phase[:] = [0.0, np.pi / 2]
    np.testing.assert_allclose(
        scenarios.wind(np.array([np.pi / 12, 0.0])), [[0.4, 0.1, 0.0], [-0.6, 0.2, 0.0]], atol=1e-12
    )
    np.testing.assert_allclose(
        scenarios.wind(np.array([3 * np.pi / 4, np.pi])), [[0.1, -0.5, 0.0], [0.0, 0.2, 0.0]], atol=1e-12
    )


def test_gusts_are_three_sevenths_of_the_mean_wind_along_it() -> None:
    scenarios = draws(400, pinned_task(), StageSettings(name="S", wind=0.7))
    np.testing.assert_allclose(scenarios.gust, scenarios.wind_mean * 3 / 7, atol=1e-12)
    strength = np.linalg.norm(scenarios.wind_mean + scenarios.gust, axis=1)
    bearing = np.arctan2(scenarios.wind_mean[:, 1], scenarios.wind_mean[:, 0])
    for values, low, high in (
        (strength, 0.0, 0.7),
        (bearing, -np.pi, np.pi),
        (scenarios.gust_rate, 0.5, 3.0),
        (scenarios.gust_phase, -np.pi, np.pi),
    ):
        margin = 0.03 * (high - low)
        assert low <= values.min() < low + margin
        assert high - margin < values.max() <= high


def test_a_drone_feels_the_wind_of_each_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    felt: list[Array] = []
    original = Physics.step

    def keep(self: Physics, thrusts: Array, wind: Array, *arguments: Any) -> None:
        felt.append(wind.copy())
        original(self, thrusts, wind, *arguments)

    monkeypatch.setattr(Physics, "step", keep)
    task = begin(2)
    task.scenarios.wind_mean[0] = [0.5, 0.0, 0.0]
    task.scenarios.gust[:] = [[0.0, 0.4, 0.0], [0.3, 0.0, 0.0]]
    task.scenarios.gust_rate[:], task.scenarios.gust_phase[:] = [3.0, 1.0], [0.0, 0.5]
    for _ in range(3):
        task.step(actions(2))
    ticks = np.arange(30) / 60.0  # 10 ticks of the controller in a decision
    still = np.zeros(30)
    expected = [
        [np.full(30, 0.5), 0.4 * np.sin(3.0 * ticks), still],
        [0.3 * np.sin(ticks + 0.5), still, still],
    ]
    np.testing.assert_allclose(np.array(felt), np.moveaxis(np.array(expected), 2, 0), atol=1e-12)


def test_starts_fill_the_space_they_are_drawn_from() -> None:
    stage = StageSettings(name="S", start_offset=2.0)
    start = draws(1500, pinned_task(start_height=(2.0, 6.0)), stage).start_position
    offset = np.linalg.norm(start[:, :2], axis=1)
    assert offset.max() <= 2.0
    assert np.mean(offset**2) == pytest.approx(2.0, abs=0.1)  # even over a disc: half of 2.0²
    assert np.abs(start[:, :2].mean(axis=0)).max() < 0.1
    assert start[:, 2].min() >= 2.0
    assert start[:, 2].max() <= 6.0
    assert start[:, 2].mean() == pytest.approx(4.0, abs=0.1)


def rows_of(scenarios: Scenarios) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(scenarios, field.name) for field in fields(scenarios)}


def test_scenarios_repeat_with_their_seed_and_differ_otherwise() -> None:
    stage = StageSettings(name="S", pad_speed=(0.1, 0.5))
    task = pinned_task(pad_paths=("sinusoidal", "circular"), randomization=RANDOMIZATION)
    one, again, other = (rows_of(draws(30, task, stage, seed)) for seed in (1, 1, 2))
    for name, rows in one.items():
        np.testing.assert_array_equal(rows, again[name])
        if name != "pad_origin":
            assert not np.array_equal(rows, other[name]), name
            assert len(np.unique(rows, axis=0)) > 1, f"{name} is the same in every episode"
    assert set(one["ground_texture"]) == set(range(len(GROUND_TEXTURES)))
    assert set(one["pad_texture"]) == set(range(len(PAD_TEXTURES)))
    np.testing.assert_allclose(np.linalg.norm(one["sun_direction"], axis=1), 1.0)
    assert np.all(one["sun_direction"][:, 2] < -0.5)  # it shines from above


def test_looks_are_all_the_same_without_randomised_visuals() -> None:
    rows = rows_of(draws(20, pinned_task(randomize_visuals=False), FULL_TASK))
    looks = ("ground_texture", "pad_texture", "ground_tint", "pad_tint", "vehicle_tint", "texture_scale")
    for name in (*looks, "sun_direction", "sun_diffuse", "sun_ambient"):
        np.testing.assert_allclose(rows[name], rows[name][:1].repeat(20, axis=0), atol=1e-12, err_msg=name)
    assert len(np.unique(rows["start_position"], axis=0)) == 20


# --- time and motion ---


def test_an_action_is_flown_for_one_decision_in_the_heading_frame() -> None:
    task = begin(4, pinned_task(pad_paths=("static",), max_horizontal_speed=1.5, max_vertical_speed=0.6))
    settle(task)
    command = np.zeros((4, ACTION_DIM))
    command[0, :3], command[1, :3], command[2, :3] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    for _ in range(12):
        task.step(command)
    np.testing.assert_allclose(task.time, 12 * DECISION)
    np.testing.assert_array_equal(task.decisions, 12)
    heading = task.scenarios.heading
    velocity = task.physics.velocity
    np.testing.assert_allclose(velocity[0], [1.5 * np.cos(heading[0]), 1.5 * np.sin(heading[0]), 0], atol=0.05)
    np.testing.assert_allclose(velocity[1], [-1.5 * np.sin(heading[1]), 1.5 * np.cos(heading[1]), 0], atol=0.05)
    np.testing.assert_allclose(velocity[2], [0, 0, 0.6], atol=0.02)
    np.testing.assert_allclose(velocity[3], 0, atol=1e-6)


def test_rates_are_those_configured() -> None:
    task = begin(1, pinned_task(decision_hz=10, controller_hz=50, physics_hz=200, pad_paths=("static",)))
    assert task.max_decisions == 180
    task.step(actions(1))
    assert task.time[0] == pytest.approx(0.1)
    assert task.model.opt.timestep == 0.005


def test_actions_beyond_the_range_are_clipped_and_never_written_to() -> None:
    wild = np.array([[3.0, -2.0, 1.0, 9.0, -9.0]])
    kept = wild.copy()
    one, other = begin(seed=3), begin(seed=3)
    for _ in range(3):
        one.step(wild)
        other.step(np.clip(wild, -1, 1))
    np.testing.assert_array_equal(wild, kept)
    np.testing.assert_array_equal(one.physics.position, other.physics.position)
    np.testing.assert_array_equal(one.gimbal.angles, other.gimbal.angles)


@pytest.mark.parametrize("wrong", [np.zeros((2, 4)), np.zeros((1, 5)), np.zeros(10), np.zeros((2, 5, 1))])
def test_actions_of_another_shape_are_refused(wrong: Array) -> None:
    with pytest.raises(ValueError, match=r"actions must have shape \(2, 5\), got"):
        begin(2).step(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_no_numbers_are_refused(value: float) -> None:
    wrong = actions(2)
    wrong[1, 4] = value
    with pytest.raises(ValueError, match="finite"):
        begin(2).step(wrong)


def test_holding_an_action_equals_giving_it_twice() -> None:
    moving = StageSettings(name="S", pad_speed=(0.3, 0.5))
    settings = pinned_task(start_height=(0.7, 1.2))
    held, plain = begin(6, settings, moving, action_repeat=2), begin(6, settings, moving)
    rng = np.random.default_rng(0)
    for _ in range(54):
        action = rng.uniform(-1, 1, (6, ACTION_DIM))
        both = held.step(action)
        first, second = plain.step(action), plain.step(action)
        np.testing.assert_array_equal(held.physics.position, plain.physics.position)
        np.testing.assert_array_equal(held.gimbal.angles, plain.gimbal.angles)
        np.testing.assert_array_equal(both.outcome, second.outcome)
        for name, term in both.terms.items():
            np.testing.assert_allclose(term, first.terms[name] + second.terms[name], atol=1e-12)
        for held_figure, *plain_figures in (
            (both.touchdown_error, first.touchdown_error, second.touchdown_error),
            (both.touchdown_speed, first.touchdown_speed, second.touchdown_speed),
        ):
            np.testing.assert_array_equal(held_figure, np.where(np.isnan(plain_figures[0]), *plain_figures[::-1]))
    assert {Outcome.CRASHED, Outcome.TIMED_OUT} <= set(held.outcome)


# --- outcomes ---


def over_pad(task: LandingTask, env: int, offset: tuple[float, float], height: float, sink: float) -> None:
    """Put a drone at ``offset`` (pad frame) with its lowest point ``height`` above the pad, sinking."""
    course = task.scenarios.pad_heading[env]
    x = np.cos(course) * offset[0] - np.sin(course) * offset[1]
    y = np.sin(course) * offset[0] + np.cos(course) * offset[1]
    task.physics.position[env] = [x, y, TOUCH_HEIGHT + height]
    task.physics.velocity[env] = [0.0, 0.0, -sink]


TOUCHDOWNS = [
    # offset in the pad's frame, sink rate, outcome; the pad reaches 0.7 m from its centre
    ((0.0, 0.0), 0.5, Outcome.LANDED),
    ((0.0, 0.0), 0.78, Outcome.LANDED),
    ((0.0, 0.0), 0.86, Outcome.CRASHED),
    ((0.0, 0.0), 1.0, Outcome.CRASHED),
    ((0.68, 0.0), 0.5, Outcome.LANDED),
    ((0.0, -0.68), 0.5, Outcome.LANDED),
    ((-0.67, 0.67), 0.5, Outcome.LANDED),  # a corner, 0.95 m from the centre
    ((0.72, 0.0), 0.5, Outcome.CRASHED),  # on the pad, but its centre beside it
    ((0.0, 0.75), 0.5, Outcome.CRASHED),
    ((-0.72, -0.72), 0.5, Outcome.CRASHED),
    ((1.5, 0.0), 0.5, Outcome.CRASHED),  # on the ground
    ((-3.0, 2.0), 0.9, Outcome.CRASHED),
]


@pytest.mark.parametrize("seed", [0, 1])
def test_touchdowns(seed: int) -> None:
    task = begin(len(TOUCHDOWNS), seed=seed)
    for env, (offset, sink, _) in enumerate(TOUCHDOWNS):
        over_pad(task, env, offset, 0.25, sink)
    command = actions(len(TOUCHDOWNS))
    command[:, 2] = [-sink for _, sink, _ in TOUCHDOWNS]
    figures: dict[int, tuple[float, float, float, float]] = {}
    for _ in range(20):
        result = task.step(command)
        for env in np.flatnonzero(result.outcome != Outcome.RUNNING):
            terms = result.terms
            figures.setdefault(
                env,
                (
                    float(result.touchdown_error[env]),
                    float(result.touchdown_speed[env]),
                    float(terms["landing"][env]),
                    float(terms["crash"][env]),
                ),
            )
    assert len(figures) == len(TOUCHDOWNS)
    for env, (offset, sink, outcome) in enumerate(TOUCHDOWNS):
        error, speed, landing, crash = figures[env]
        assert task.outcome[env] == outcome, (offset, sink)
        if outcome == Outcome.LANDED:
            distance = float(np.hypot(*offset))
            assert error == pytest.approx(distance, abs=0.02)
            assert speed == pytest.approx(sink, abs=0.04)  # drag slows it a little
            assert landing == pytest.approx(10.0 * (1.0 - 0.5 * min(error / 0.7, 1.0)))
            assert crash == 0.0
        else:
            assert np.isnan(error)
            assert np.isnan(speed)
            assert landing == 0.0
            on_pad = max(abs(offset[0]), abs(offset[1])) < 0.7
            # On the pad, as much as it was too fast: all of the penalty from twice the limit of 0.8 m/s on.
            assert crash == pytest.approx(-10.0 * (sink - 0.8) / 0.8 if on_pad else -10.0, abs=0.5 * on_pad)
            assert crash < 0.0


def test_a_crash_costs_all_beside_the_pad_and_on_it_what_was_too_fast() -> None:
    sink, on_pad = np.array([0.1, 2.0, 0.6, 0.75, 0.9, 1.2, 5.0]), np.array([0, 0, 1, 1, 1, 1, 1], bool)
    np.testing.assert_allclose(rewards.crash_severity(sink, on_pad, 0.6), [1, 1, 0, 0.25, 0.5, 1, 1])


def test_flying_into_the_vehicles_side_is_a_crash() -> None:
    task = begin()
    over_pad(task, 0, (-1.6, 0.0), 0.0, 0.0)
    course = task.scenarios.pad_heading[0]
    task.physics.position[0, 2] = 0.22
    task.physics.velocity[0] = [np.cos(course), np.sin(course), 0.0]
    turned = course - task.scenarios.heading[0]
    for _ in range(9):
        task.step(actions(1, 0.5 * np.cos(turned), 0.5 * np.sin(turned), 0.0))
    assert task.outcome[0] == Outcome.CRASHED
    assert np.linalg.norm(task.physics.position[0, :2]) == pytest.approx(0.7 + 0.15, abs=0.12)


def test_leaving_the_arena_sideways_or_upwards_is_a_crash() -> None:
    task = begin(2, pinned_task(pad_paths=("static",), arena_radius=5.0, arena_height=6.0))
    command = actions(2)
    command[0, 0] = command[1, 2] = 1.0
    for _ in range(30):
        result = task.step(command)
        inside = result.outcome == Outcome.RUNNING
        position = task.physics.position
        assert np.all(np.linalg.norm(position[inside, :2], axis=1) <= 5.0)
        assert np.all(position[inside, 2] <= 6.0)
    np.testing.assert_array_equal(task.outcome, Outcome.CRASHED)
    assert np.linalg.norm(task.physics.position[0, :2]) == pytest.approx(5.0, abs=0.05)
    assert task.physics.position[1, 2] == pytest.approx(6.0, abs=0.03)


def test_the_arena_moves_with_the_pad() -> None:
    """A drone that hovers is left behind by a pad that drives off."""
    settings = pinned_task(pad_paths=("straight",), arena_radius=3.0)
    task = begin(1, settings, StageSettings(name="S", wind=0.0, start_offset=0.0, pad_speed=(0.5, 0.5)))
    settle(task)
    ends = [task.step(actions(1)).outcome[0] for _ in range(40)]
    assert ends.index(Outcome.CRASHED) + 1 == 37  # 3 m at 0.5 m/s take 36 decisions


def test_hovering_times_out_at_the_last_decision_without_penalty() -> None:
    task = begin(2)
    settle(task)
    outcomes, crash = [], 0.0
    for _ in range(108):
        result = task.step(actions(2))
        outcomes.append(int(result.outcome[0]))
        crash += result.terms["crash"][0]
    assert outcomes == [Outcome.RUNNING] * 107 + [Outcome.TIMED_OUT]
    assert crash == 0.0
    assert task.time[0] == pytest.approx(18.0)


def test_an_ended_episode_stands_still_and_earns_nothing() -> None:
    task = begin(2)
    over_pad(task, 0, (0.0, 0.0), 0.05, 0.5)
    for _ in range(3):
        task.step(actions(2, 0.0, 0.0, -0.5))
    assert list(task.outcome) == [Outcome.LANDED, Outcome.RUNNING]
    position, angles = task.physics.position.copy(), task.gimbal.angles.copy()
    rng = np.random.default_rng(0)
    for _ in range(5):
        result = task.step(rng.uniform(-1, 1, (2, ACTION_DIM)))
        assert result.reward[0] == 0.0
        assert np.isnan(result.touchdown_error[0])
        assert result.reward[1] != 0.0
    np.testing.assert_array_equal(task.physics.position[0], position[0])
    np.testing.assert_array_equal(task.gimbal.angles[0], angles[0])
    assert np.all(task.physics.position[1] != position[1])
    assert task.outcome[0] == Outcome.LANDED
    assert task.time[0] < task.time[1]


def test_resetting_some_leaves_the_others_alone() -> None:
    task, other = begin(3, seed=5), begin(3, seed=5)
    rng = np.random.default_rng(1)
    for _ in range(4):
        action = rng.uniform(-1, 1, (3, ACTION_DIM))
        task.step(action)
        other.step(action)
    task.reset(np.array([1]), [np.random.default_rng(99)])
    assert task.decisions[1] == 0
    assert not task.gimbal.angles[1].any()
    for _ in range(4):
        action = rng.uniform(-1, 1, (3, ACTION_DIM))
        one, two = task.step(action), other.step(action)
        np.testing.assert_array_equal(one.reward[[0, 2]], two.reward[[0, 2]])
        np.testing.assert_array_equal(task.state()[[0, 2]], other.state()[[0, 2]])
    assert not np.array_equal(task.state()[1], other.state()[1])


# --- rewards ---


def test_reward_functions_by_hand() -> None:
    np.testing.assert_allclose(rewards.approach_potential(np.array([0.0, 2.5])), [0.0, -2.5])
    # Over the centre: all of the height lost below 5 m, at least 0, at most 5.
    heights = np.array([6.0, 5.0, 3.0, 0.0, -0.1])
    np.testing.assert_allclose(rewards.descent_potential(np.zeros(5), heights, 1.4), [0.0, 0.0, 2.0, 5.0, 5.0])
    # Beside it exp(-(distance / half the pad's edge)²) of that counts.
    beside = rewards.descent_potential(np.array([0.35, 0.7, 1.4]), np.full(3, 1.0), 1.4)
    np.testing.assert_allclose(beside, [4.0 * np.exp(-0.25), 4.0 * np.exp(-1.0), 4.0 * np.exp(-4.0)])
    np.testing.assert_allclose(
        rewards.descent_potential(np.full(2, 0.5), np.array([3.0, 7.0]), 2.0), [2.0 * np.exp(-0.25), 0.0]
    )
    # Safe are 0.7 of the touchdown speed on the pad, or below it, and 0.7 m/s more for each metre above it.
    sink = np.array([-1.0, 0.3, 0.56, 1.0, 1.0, 2.5, 2.5])
    height = np.array([0.0, 0.0, 0.0, 0.0, -2.0, 1.0, 4.1])
    np.testing.assert_allclose(
        rewards.excess_sink_rate(sink, height, 0.8), [0.0, 0.0, 0.0, 0.44, 0.44, 1.24, 0.0], atol=1e-12
    )
    np.testing.assert_allclose(rewards.excess_sink_rate(np.full(1, 1.15), np.zeros(1), 1.5), [0.1])
    np.testing.assert_allclose(rewards.alignment(np.array([1.0, 0.5, 0.0, -1.0])), [1.0, 0.03125, 0.0, 0.0])
    np.testing.assert_allclose(rewards.jerkiness(np.array([[0.3, -0.4], [0.0, 0.0]])), [0.25, 0.0])
    np.testing.assert_allclose(rewards.precision(np.array([0.0, 0.35, 0.7, 0.95]), 1.4), [1.0, 0.75, 0.5, 0.5])
    np.testing.assert_allclose(rewards.precision(np.array([0.1, 0.5, 1.0]), 2.0), [0.95, 0.75, 0.5])


@given(
    st.floats(0.0, 20.0),
    st.floats(-1.0, 20.0),
    st.floats(-5.0, 5.0),
    st.floats(-1.0, 1.0),
    st.floats(0.1, 5.0),
)
def test_reward_functions_are_bounded(distance: float, height: float, sink: float, cosine: float, pad: float) -> None:
    d, h = np.array([distance]), np.array([height])
    assert 0.0 <= rewards.descent_potential(d, h, pad)[0] <= 5.0
    assert 0.0 <= rewards.excess_sink_rate(np.array([sink]), h, 0.8)[0] <= max(sink, 0.0)
    assert 0.0 <= rewards.alignment(np.array([cosine]))[0] <= 1.0
    assert 0.5 <= rewards.precision(d, pad)[0] <= 1.0


WEIGHTS = RewardSettings(approach=1.3, descent=0.7, speed=0.9, time=0.03, landing=8.0, crash=6.0)
VIEWING = StageSettings(name="S", viz_weight=0.2, not_visible_penalty=0.3, smooth_penalty=0.4)


def descended(distance: Array, height: Array) -> Array:
    """The descent potential over a pad of 1.4 m."""
    return np.clip(5.0 - height, 0.0, 5.0) * np.exp(-np.square(distance / 0.7))


def test_terms_follow_from_what_happened_and_add_up_to_the_reward() -> None:
    settings = pinned_task(rewards=WEIGHTS, start_height=(1.0, 2.0))
    task = begin(8, settings, VIEWING)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        running = task.outcome == Outcome.RUNNING
        before, angles = task.pad_relative()[0].copy(), task.gimbal.angles.copy()
        action = rng.uniform(-1, 1, (8, ACTION_DIM))
        action[0] = expert(task)[0]  # one lands
        result = task.step(action)
        after = task.pad_relative()[0]
        near, far = (np.hypot(relative[:, 0], relative[:, 1]) for relative in (after, before))
        cosine, visible = task.pad_in_view()
        sink = -task.physics.velocity[:, 2]
        centred = 1.0 - 0.5 * np.minimum(near / 0.7, 1.0)
        expected = {
            "approach": 1.3 * (far - near),
            "descent": 0.7 * (descended(near, -after[:, 2]) - descended(far, -before[:, 2])),
            "speed": -0.9 * np.maximum(sink - 0.56 - 0.7 * np.maximum(-after[:, 2], 0.0), 0.0),
            "time": np.full(8, -0.03),
            "landing": 8.0 * (result.outcome == Outcome.LANDED) * centred,
            # What touching the pad too fast costs is worked out for touchdowns, above.
            "crash": -6.0 * (result.outcome == Outcome.CRASHED) * np.where(near > 1.0, 1.0, task._severity),
            "alignment": 0.2 * np.maximum(cosine, 0.0) ** 5,
            "not_visible": -0.3 * ~visible,
            "smoothness": -0.4 * np.sum((task.gimbal.angles - angles) ** 2, axis=1),
        }
        assert set(result.terms) == set(expected) == set(REWARD_TERMS)
        for name, value in expected.items():
            np.testing.assert_allclose(result.terms[name], np.where(running, value, 0.0), atol=1e-9, err_msg=name)
            seen |= {name} if result.terms[name].any() else set()
        np.testing.assert_allclose(result.reward, sum(result.terms.values()), atol=1e-12)
    assert seen == set(REWARD_TERMS)


def test_potential_terms_telescope() -> None:
    """Over any flight they earn the difference of end and beginning, whatever lies between."""
    task = begin(8, pinned_task(rewards=WEIGHTS, start_height=(1.0, 3.0)), FULL_TASK)
    start = task.pad_relative()[0].copy()
    totals = {"approach": np.zeros(8), "descent": np.zeros(8)}
    rng = np.random.default_rng(4)
    while (task.outcome == Outcome.RUNNING).any():
        terms = task.step(rng.uniform(-1, 1, (8, ACTION_DIM))).terms
        for name in totals:
            totals[name] += terms[name]
    end = task.pad_relative()[0]
    near, far = np.hypot(end[:, 0], end[:, 1]), np.hypot(start[:, 0], start[:, 1])
    np.testing.assert_allclose(totals["approach"], 1.3 * (far - near), atol=1e-9)
    gained = descended(near, -end[:, 2]) - descended(far, -start[:, 2])
    np.testing.assert_allclose(totals["descent"], 0.7 * gained, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({}, set()),
        ({"include_viz_reward": False}, {"alignment", "not_visible"}),
        ({"viz_weight": 0.0}, {"alignment"}),
        ({"not_visible_penalty": 0.0}, {"not_visible"}),
        ({"smooth_penalty": 0.0}, {"smoothness"}),
        ({"lock_down": True}, {"smoothness"}),  # what can't move isn't penalised
        ({"gimbal_enabled": False}, {"smoothness"}),
    ],
)
def test_stages_switch_the_gimbals_terms(changes: dict[str, Any], silent: set[str]) -> None:
    gimbal_terms = {"alignment", "not_visible", "smoothness"}
    stage = StageSettings.model_validate({"name": "S", "start_offset": 3.0} | changes)
    task = begin(6, stage=stage)
    rng = np.random.default_rng(0)
    heard = set()
    for _ in range(15):
        terms = task.step(rng.uniform(-1, 1, (6, ACTION_DIM))).terms
        heard |= {name for name in gimbal_terms if terms[name].any()}
    assert heard == gimbal_terms - silent


def test_a_stage_counts_from_the_next_episode_on() -> None:
    quiet = StageSettings(name="quiet", include_viz_reward=False, lock_down=True, start_offset=0.0)
    task = begin(2, stage=quiet)
    task.set_stage(VIEWING, 3)
    result = task.step(actions(2, 0, 0, 0, 1, 1))
    assert not result.terms["alignment"].any()
    assert not task.gimbal.angles.any()
    task.reset(np.array([1]), [np.random.default_rng(0)])
    np.testing.assert_array_equal(task.stage_index, [0, 3])
    result = task.step(actions(2, 0, 0, 0, 1, 1))
    assert result.terms["alignment"][0] == 0.0 < result.terms["alignment"][1]
    assert not task.gimbal.angles[0].any()
    assert task.gimbal.angles[1].all()


# --- observations ---


def test_state_by_hand() -> None:
    task = begin(1)
    task.scenarios.heading[0] = 0.5
    heading = quat_about(2, np.array(0.5))
    tilt = quat_about(0, np.array(0.2))  # roll by 0.2 rad in the heading frame
    w, x, y, z = heading
    # Hamilton product of (w, 0, 0, z) and (c, s, 0, 0).
    task.physics.attitude[0] = -np.array([w * tilt[0], w * tilt[1], z * tilt[1], z * tilt[0]])
    assert (x, y) == (0.0, 0.0)
    task.physics.velocity[0] = [np.cos(0.5) * 1.0, np.sin(0.5) * 1.0, -0.25]  # 1 m/s ahead
    task.gimbal.angles[0] = [0.3, 0.0]
    expected = [0.5, 0.0, -0.25, np.cos(0.1), np.sin(0.1), 0, 0, np.cos(0.15), 0, -np.sin(0.15), 0]
    state = task.state()
    assert state.dtype == np.float32
    assert state.shape == (1, 12)
    np.testing.assert_allclose(state[0, :11], expected, atol=1e-6)
    task.physics.velocity[0] = [90.0, 0.0, -90.0]
    assert np.abs(task.state()).max() == 5.0


def test_privileged_state_by_hand() -> None:
    task = begin(1, settings=pinned_task(pad_paths=("straight",)), stage=StageSettings(name="S", pad_speed=(0.4, 0.4)))
    scenarios = task.scenarios
    scenarios.heading[0], scenarios.pad_heading[0] = np.pi / 2, 0.0
    task.time[0] = 5.0  # the pad is at (2, 0) and drives along x
    task.physics.position[0] = [1.0, -1.0, 2.0]
    task.physics.velocity[0] = [0.0, 1.0, 0.0]
    task.physics.attitude[0] = quat_about(2, np.array(np.pi / 2))
    values = task.privileged()
    assert values.dtype == np.float32
    assert values.shape == (1, PRIVILEGED_DIM)
    # Facing +y: the pad's centre is 1 m ahead, 1 m to the right, and 1.68 m below the touching point.
    np.testing.assert_allclose(values[0, :3] * 5.0, [1.0, -1.0, TOUCH_HEIGHT - 2.0], atol=1e-6)
    np.testing.assert_allclose(values[0, 3:6] * 2.0, [-1.0, -0.4, 0.0], atol=1e-6)
    sight = np.array([1.0, -1.0, 0.27 - 1.95])
    np.testing.assert_allclose(values[0, 6:9], sight / np.linalg.norm(sight), atol=1e-6)
    np.testing.assert_array_equal(values[0, 9:], task.state()[0, :11])


def test_observed_quaternions_are_unit_and_never_jump_in_sign() -> None:
    task = begin(8, stage=FULL_TASK)
    rng = np.random.default_rng(0)
    states = [task.state()]
    for _ in range(40):
        task.step(rng.uniform(-1, 1, (8, ACTION_DIM)))
        states.append(task.state())
    history = np.array(states)
    for part in (slice(3, 7), slice(7, 11)):
        np.testing.assert_allclose(np.linalg.norm(history[..., part], axis=-1), 1.0, atol=1e-5)
        assert np.all(history[..., part.start] >= 0.0)
    assert max(np.abs(b - a)[..., 3:].max() for a, b in pairwise(states)) < 0.8
    assert np.all(np.ptp(history[..., :3], axis=0) > 0.1)
