"""Rotations, the simulated airframe and its controller: closed forms, hand-worked signs, step responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from glideslope.envs import physics as physics_module
from glideslope.envs.controller import Airframe, VelocityController
from glideslope.envs.landing import LandingTask
from glideslope.envs.layout import ACTION_DIM
from glideslope.envs.physics import (
    GIMBAL_DROP,
    HULL_BOTTOM,
    PAD_TOP_HEIGHT,
    Physics,
    build_model,
    read_airframe,
)
from glideslope.envs.rotation import cross, quat_about, quat_multiply, quat_to_matrix, rotate_about_z
from glideslope.settings import FULL_TASK, StageSettings
from tests.support.tasks import pinned_task

Array = NDArray[np.float64]

MASS, GRAVITY, DRAG = 0.5, 9.81, 0.12  # kg, m/s², N s/m
TICK = 1.0 / 60.0  # s, of the controller
SUBSTEP = 1.0 / 240.0  # s
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
CALM = StageSettings(name="calm", wind=0.0, pad_speed=(0.0, 0.0), start_offset=0.0)


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(physics_hz=240, pad_size=1.4, camera_fov_deg=60.0)


@pytest.fixture(scope="module")
def airframe(model: mujoco.MjModel) -> Airframe:
    return read_airframe(model)


class Flight:
    """N drones under velocity commands in still or moving air, with the heading held or turned."""

    def __init__(self, model: mujoco.MjModel, num: int, *, height: float = 50.0, heading: float | Array = 0.0) -> None:
        self.num = num
        self.physics = Physics(model, num, num_threads=1)
        self.controller = VelocityController(read_airframe(model), num, TICK)
        self.heading = np.broadcast_to(np.asarray(heading, float), (num,))
        self.start = np.tile([0.0, 0.0, height], (num, 1))
        everyone = np.arange(num)
        self.physics.reset(everyone, self.start, quat_about(2, self.heading), np.zeros((num, 3)))

    def fly(self, command: Any, seconds: float, wind: Any = (0.0, 0.0, 0.0)) -> tuple[Array, Array]:
        """Positions and velocities (T, N, 3) after every tick."""
        command = np.broadcast_to(np.asarray(command, float), (self.num, 3))
        air = np.broadcast_to(np.asarray(wind, float), (self.num, 3))
        positions, velocities = [], []
        for _ in range(round(seconds / TICK)):
            p = self.physics
            thrusts = self.controller.thrusts(p.rotation, p.velocity, p.body_rate, command, self.heading)
            p.step(thrusts, air, 4)
            positions.append(p.position.copy())
            velocities.append(p.velocity.copy())
        return np.array(positions), np.array(velocities)


# --- rotations, against MuJoCo's own ---

unit_quats = arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1)
unit_quats = unit_quats.map(lambda q: q / np.linalg.norm(q))
vectors = arrays(float, 3, elements=st.floats(-10, 10))
angles = st.floats(-10.0, 10.0)


@given(unit_quats, unit_quats, vectors)
def test_quaternions_agree_with_mujoco(a: Array, b: Array, vector: Array) -> None:
    product, matrix, turned = np.zeros(4), np.zeros(9), np.zeros(3)
    mujoco.mju_mulQuat(product, a, b)
    mujoco.mju_quat2Mat(matrix, a)
    mujoco.mju_rotVecQuat(turned, vector, a)
    np.testing.assert_allclose(quat_multiply(a, b), product, atol=1e-14)
    np.testing.assert_allclose(quat_to_matrix(a), matrix.reshape(3, 3), atol=1e-14)
    np.testing.assert_allclose(quat_to_matrix(a) @ vector, turned, atol=1e-12)
    np.testing.assert_allclose(cross(a[None, :3], vector[None])[0], np.cross(a[:3], vector), atol=1e-13)


@given(st.integers(0, 2), angles, vectors)
def test_turns_about_the_axes_are_right_handed(axis: int, angle: float, vector: Array) -> None:
    expected = np.zeros(4)
    mujoco.mju_axisAngle2Quat(expected, np.eye(3)[axis], angle)
    quat = quat_about(axis, np.array([angle]))[0]
    np.testing.assert_allclose(quat, expected, atol=1e-14)
    if axis == 2:
        turned = rotate_about_z(vector[None], np.array([angle]))[0]
        np.testing.assert_allclose(turned, quat_to_matrix(quat) @ vector, atol=1e-12)


def test_rotations_work_row_by_row() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 4))
    for i in range(5):
        np.testing.assert_array_equal(quat_multiply(a, b)[i], quat_multiply(a[i], b[i]))
        np.testing.assert_array_equal(quat_to_matrix(a)[i], quat_to_matrix(a[i]))


# --- the model ---


def test_airframe_as_documented(airframe: Airframe) -> None:
    """Rotors at (±0.11, ±0.11) m: front left, front right, rear left, rear right; reaction 0.016 m."""
    assert airframe.mass == MASS
    assert airframe.gravity == GRAVITY
    assert airframe.max_thrust == 3.0
    np.testing.assert_allclose(airframe.inertia, [0.0030, 0.0030, 0.0052])
    np.testing.assert_allclose(
        airframe.mixing,
        [
            [1.0, 1.0, 1.0, 1.0],  # thrust
            [0.11, -0.11, 0.11, -0.11],  # roll torque: y × thrust
            [-0.11, -0.11, 0.11, 0.11],  # pitch torque: −x × thrust
            [-0.016, 0.016, 0.016, -0.016],  # yaw torque: reaction
        ],
        atol=1e-12,
    )


def test_task_settings_reach_the_model() -> None:
    model = build_model(physics_hz=480, pad_size=0.9, camera_fov_deg=75.0)
    assert model.opt.timestep == 1.0 / 480
    np.testing.assert_allclose(model.geom("pad_top").size[:2], 0.45)
    np.testing.assert_allclose(model.camera("onboard").fovy, 75.0)


def test_heights_written_in_the_code_are_those_of_the_model(model: mujoco.MjModel) -> None:
    pad, hull, gimbal, drone = (
        model.geom("pad_top"),
        model.geom("hull"),
        model.body("gimbal"),
        model.body("drone"),
    )
    assert pad.pos[2] + pad.size[2] == pytest.approx(PAD_TOP_HEIGHT)
    assert hull.size[2] - hull.pos[2] == pytest.approx(HULL_BOTTOM)
    assert drone.pos[2] - gimbal.pos[2] == pytest.approx(GIMBAL_DROP)


@pytest.mark.parametrize(
    ("height", "offset", "pad", "anything"),
    [
        (PAD_TOP_HEIGHT + HULL_BOTTOM - 0.002, 0.0, True, True),
        (PAD_TOP_HEIGHT + HULL_BOTTOM + 0.002, 0.0, False, False),
        (HULL_BOTTOM - 0.002, 2.0, False, True),  # on the ground beside the pad
        (HULL_BOTTOM + 0.002, 2.0, False, False),
    ],
)
def test_touch_sensors(model: mujoco.MjModel, height: float, offset: float, pad: bool, anything: bool) -> None:
    physics = Physics(model, 1, 1)
    physics.reset(np.array([0]), np.array([[offset, 0.0, height]]), LEVEL[None], np.zeros((1, 3)))
    physics.refresh()
    assert physics.touches_pad[0] == pad
    assert physics.touches_anything[0] == anything


# --- motion ---


def free_fall(model: mujoco.MjModel, seconds: float, velocity: Any = (0.0, 0.0, 0.0)) -> tuple[Array, Array]:
    """Displacement and velocity (3,) after a fall without thrust."""
    physics = Physics(model, 1, 1)
    start = np.array([[0.0, 0.0, 100.0]])
    physics.reset(np.array([0]), start, LEVEL[None], np.array([velocity], float))
    for _ in range(round(seconds / TICK)):
        physics.step(np.zeros((1, 4)), np.zeros((1, 3)), 4)
    return physics.position[0] - start[0], physics.velocity[0].copy()


def test_free_fall_without_drag_is_exact(model: mujoco.MjModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics_module, "ROTOR_DRAG", 0.0)
    seconds, start = 2.0, np.array([1.0, -0.5, 3.0])
    moved, velocity = free_fall(model, seconds, start)
    np.testing.assert_allclose(velocity, start - [0, 0, GRAVITY * seconds], atol=1e-9)
    # Semi-implicit Euler is ahead of ½ g t² by half a step.
    fall = 0.5 * GRAVITY * seconds * (seconds + SUBSTEP)
    np.testing.assert_allclose(moved, start * seconds - [0, 0, fall], atol=1e-9)


def test_free_fall_with_drag_follows_the_closed_form(model: mujoco.MjModel) -> None:
    """v' = −g − (k/m) v, so v = (v₀ + g m/k) e^(−kt/m) − g m/k; sideways v₀ e^(−kt/m)."""
    seconds, start = 3.0, np.array([2.0, -1.0, 4.0])
    moved, velocity = free_fall(model, seconds, start)
    rate = DRAG / MASS
    terminal = np.array([0.0, 0.0, -GRAVITY / rate])
    decay = np.exp(-rate * seconds)
    exact_velocity = terminal + (start - terminal) * decay
    exact_moved = terminal * seconds + (start - terminal) * (1.0 - decay) / rate
    np.testing.assert_allclose(velocity, exact_velocity, rtol=3e-3)
    np.testing.assert_allclose(moved, exact_moved, rtol=5e-3)


def test_wind_drags_a_falling_drone_along(model: mujoco.MjModel) -> None:
    physics = Physics(model, 1, 1)
    physics.reset(np.array([0]), np.array([[0.0, 0.0, 90.0]]), LEVEL[None], np.zeros((1, 3)))
    for _ in range(120):
        physics.step(np.zeros((1, 4)), np.array([[1.0, -2.0, 0.0]]), 4)
    carried = 1.0 - np.exp(-DRAG / MASS * 2.0)
    np.testing.assert_allclose(physics.velocity[0, :2], [carried, -2.0 * carried], rtol=3e-3)


@pytest.mark.parametrize("rotor", range(4))
def test_one_rotor_pushes_and_turns_as_mixed(model: mujoco.MjModel, airframe: Airframe, rotor: int) -> None:
    """One substep from rest: Δv = F/m − g and Δω = τ/I."""
    physics = Physics(model, 1, 1)
    physics.reset(np.array([0]), np.array([[0.0, 0.0, 9.0]]), LEVEL[None], np.zeros((1, 3)))
    thrusts = np.zeros((1, 4))
    thrusts[0, rotor] = 2.0
    physics.step(thrusts, np.zeros((1, 3)), 1)
    wrench = airframe.mixing[:, rotor] * 2.0
    np.testing.assert_allclose(physics.velocity[0], [0, 0, (wrench[0] / MASS - GRAVITY) * SUBSTEP], atol=1e-9)
    np.testing.assert_allclose(physics.body_rate[0], wrench[1:] / airframe.inertia * SUBSTEP, rtol=1e-6)


def test_only_the_chosen_simulations_move(model: mujoco.MjModel) -> None:
    physics = Physics(model, 3, 1)
    physics.reset(np.arange(3), np.full((3, 3), 9.0), np.tile(LEVEL, (3, 1)), np.ones((3, 3)))
    before = physics.position.copy()
    physics.step(np.zeros((3, 4)), np.zeros((3, 3)), 4, np.array([1]))
    np.testing.assert_array_equal(physics.position[[0, 2]], before[[0, 2]])
    assert np.all(physics.position[1] != before[1])
    physics.reset(np.array([1]), before[[1]], LEVEL[None], np.zeros((1, 3)))
    np.testing.assert_array_equal(physics.position, before)
    np.testing.assert_array_equal(physics.velocity, [[1, 1, 1], [0, 0, 0], [1, 1, 1]])


# --- the controller ---

FRONT_LEFT, FRONT_RIGHT, REAR_LEFT, REAR_RIGHT = range(4)


def command_thrusts(
    airframe: Airframe, command: tuple[float, float, float], heading: float = 0.0, turn: float = 0.0
) -> Array:
    """Thrusts (4,) of a drone at rest, level, that points to ``heading`` and is to turn by ``turn``."""
    rotation = quat_to_matrix(quat_about(2, np.array([heading])))
    velocity = rotate_about_z(np.array([command]), np.array([heading]))
    zero = np.zeros((1, 3))
    controller = VelocityController(airframe, 1, TICK)
    return controller.thrusts(rotation, zero, zero, velocity, np.array([heading + turn]))[0]


def test_hover_thrust_is_the_weight_shared_by_four(airframe: Airframe) -> None:
    np.testing.assert_allclose(command_thrusts(airframe, (0, 0, 0)), MASS * GRAVITY / 4, rtol=1e-9)


@pytest.mark.parametrize("heading", [0.0, 2.0, -1.1])
def test_signs_of_the_controller(airframe: Airframe, heading: float) -> None:
    forward = command_thrusts(airframe, (0.5, 0, 0), heading)  # nose down: the rear pushes more
    assert min(forward[REAR_LEFT], forward[REAR_RIGHT]) > max(forward[FRONT_LEFT], forward[FRONT_RIGHT])
    left = command_thrusts(airframe, (0, 0.5, 0), heading)  # left side down: the right pushes more
    assert min(left[FRONT_RIGHT], left[REAR_RIGHT]) > max(left[FRONT_LEFT], left[REAR_LEFT])
    up = command_thrusts(airframe, (0, 0, 0.5), heading)
    np.testing.assert_allclose(up, MASS * (GRAVITY + 0.5 * 4.0) / 4, rtol=1e-9)
    turn = command_thrusts(airframe, (0, 0, 0), heading, turn=0.1)  # left: reaction of the rotors with gear +
    assert min(turn[FRONT_RIGHT], turn[REAR_LEFT]) > max(turn[FRONT_LEFT], turn[REAR_RIGHT])
    np.testing.assert_allclose(turn.sum(), MASS * GRAVITY, rtol=1e-9)


def test_rates_are_damped_and_the_gyroscopic_torque_is_met(airframe: Airframe) -> None:
    """Level and at rest but turning at ω: torque = −28 J ω + ω × J ω."""
    rate = np.array([0.3, 0.2, 0.05])
    zero = np.zeros((1, 3))
    controller = VelocityController(airframe, 1, TICK)
    thrusts = controller.thrusts(np.eye(3)[None], zero, rate[None], zero, np.zeros(1))[0]
    inertia = np.array([0.003, 0.003, 0.0052])
    expected = -28.0 * inertia * rate + np.cross(rate, inertia * rate)
    np.testing.assert_allclose(airframe.mixing @ thrusts, [MASS * GRAVITY, *expected], rtol=1e-9)


@settings(max_examples=60)
@given(unit_quats, vectors, vectors, vectors, angles)
def test_thrusts_stay_within_the_rotors_limits(
    quat: Array, velocity: Array, body_rate: Array, command: Array, heading: float
) -> None:
    mixing = np.array(
        [
            [1.0, 1, 1, 1],
            [0.11, -0.11, 0.11, -0.11],
            [-0.11, -0.11, 0.11, 0.11],
            [-0.016, 0.016, 0.016, -0.016],
        ]
    )
    airframe = Airframe(MASS, np.array([0.003, 0.003, 0.0052]), mixing, 3.0, GRAVITY)
    controller = VelocityController(airframe, 1, TICK)
    for _ in range(3):
        thrusts = controller.thrusts(
            quat_to_matrix(quat)[None], velocity[None], body_rate[None], command[None], np.array([heading])
        )
        assert np.all((thrusts >= 0.0) & (thrusts <= 3.0))


def test_hover_holds_within_5_cm_for_10_s_whatever_the_heading_and_its_error(model: mujoco.MjModel) -> None:
    headings = np.array([0.0, 1.0, -2.5, 3.0])
    flight = Flight(model, 4, heading=headings)
    flight.heading = headings + np.array([0.0, 0.1, -0.1, 0.05])  # it has to turn as well
    positions, velocities = flight.fly((0, 0, 0), 10.0)
    assert np.linalg.norm(positions - flight.start, axis=2).max() < 0.05
    assert np.linalg.norm(velocities[-1], axis=1).max() < 0.005
    forward = flight.physics.rotation[:, :2, 0]
    np.testing.assert_allclose(forward, np.stack([np.cos(flight.heading), np.sin(flight.heading)], axis=1), atol=0.01)


def test_the_task_hovers_on_the_zero_action() -> None:
    task = LandingTask(3, pinned_task(), CALM, pixels=False, num_threads=1)
    everyone = np.arange(3)
    task.reset(everyone, [np.random.default_rng(i) for i in range(3)])
    task.physics.velocity[:] = 0.0
    start = task.physics.position.copy()
    for _ in range(60):
        task.step(np.zeros((3, ACTION_DIM)))
        assert np.linalg.norm(task.physics.position - start, axis=1).max() < 0.05


def test_steady_wind_is_flown_against(model: mujoco.MjModel) -> None:
    flight = Flight(model, 1)
    positions, velocities = flight.fly((0, 0, 0), 10.0, wind=(0.4, -0.3, 0.0))
    assert np.linalg.norm(velocities[-1]) < 0.005  # without the integral 0.03 m/s would stay
    assert np.linalg.norm(positions - flight.start, axis=2).max() < 0.10
    tilt = flight.physics.rotation[0, :2, 2]  # leans into the wind
    np.testing.assert_allclose(tilt, -DRAG * np.array([0.4, -0.3]) / (MASS * GRAVITY), rtol=0.1)


STEPS = [
    (1.0, 0.0, 0.0),
    (-1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, -2.0, 0.0),
    (-1.2, 1.6, 0.0),
    (0.7, 0.7, 0.5),
    (0.0, 0.0, 1.0),
    (0.0, 0.0, -1.0),
    (2.0, 0.0, -1.0),
    (0.3, -0.2, 0.1),
]


@pytest.mark.parametrize("heading", [0.0, 2.2])
def test_velocity_steps_settle_within_a_second_without_overshoot(model: mujoco.MjModel, heading: float) -> None:
    command = np.array(STEPS)
    size = np.linalg.norm(command, axis=1)
    flight = Flight(model, len(command), heading=heading)
    _, velocities = flight.fly(command, 4.0)
    along = np.einsum("tnj,nj->tn", velocities, command) / size**2
    assert along.max() < 1.15
    error = np.linalg.norm(velocities - command, axis=2) / size
    assert error[round(1.0 / TICK) :].max() < 0.05
    assert error[round(0.1 / TICK)].min() > 0.5  # a real step: a drone can't jump
    # Back to rest.
    _, velocities = flight.fly((0, 0, 0), 2.0)
    assert np.all(np.linalg.norm(velocities[round(1.0 / TICK) :], axis=2) < 0.05 * size)


def test_climbing_and_sinking_do_not_drift_sideways(model: mujoco.MjModel) -> None:
    flight = Flight(model, 2)
    positions, _ = flight.fly([(0, 0, 1.0), (0, 0, -1.0)], 3.0)
    assert np.abs(positions[:, :, :2]).max() < 1e-6


def test_fast_flight_keeps_its_height(model: mujoco.MjModel) -> None:
    flight = Flight(model, 4)
    positions, _ = flight.fly([(2, 0, 0), (-2, 0, 0), (0, 2, 0), (1.4, -1.4, 0)], 3.0)
    assert np.abs(positions[:, :, 2] - 50.0).max() < 0.05


def test_controller_forgets_on_reset(model: mujoco.MjModel, airframe: Airframe) -> None:
    controller = VelocityController(airframe, 2, TICK)
    rotation, zero = np.tile(np.eye(3), (2, 1, 1)), np.zeros((2, 3))
    command = np.tile([0.3, 0.0, 0.0], (2, 1))
    fresh = controller.thrusts(rotation, zero, zero, command, np.zeros(2))
    for _ in range(20):
        wound_up = controller.thrusts(rotation, zero, zero, command, np.zeros(2))
    assert np.all(np.abs(wound_up - fresh).max(axis=1) > 1e-3)
    controller.reset(np.array([1]))
    again = controller.thrusts(rotation, zero, zero, command, np.zeros(2))
    np.testing.assert_array_equal(again[1], fresh[1])
    assert np.abs(again[0] - fresh[0]).max() > 1e-3


# --- determinism ---


def trajectory(num_threads: int, seed: int = 7) -> dict[str, NDArray[Any]]:
    """Everything of eight drones' flights under random actions, pixels included."""
    settings = pinned_task(image_size=24, episode_seconds=4.0)
    task = LandingTask(8, settings, FULL_TASK, num_threads=num_threads)
    task.reset(np.arange(8), [np.random.default_rng([seed, i]) for i in range(8)])
    rng = np.random.default_rng(seed)
    rows: dict[str, list[NDArray[Any]]] = {key: [] for key in ("position", "attitude", "velocity", "reward", "view")}
    for _ in range(24):
        result = task.step(rng.uniform(-1, 1, (8, ACTION_DIM)))
        physics = task.physics
        parts = (physics.position, physics.attitude, physics.velocity, result.reward, task.views())
        for row, part in zip(rows.values(), parts, strict=True):
            row.append(part.copy())
    task.close()
    return {key: np.array(row) for key, row in rows.items()}


def test_same_seed_same_flight_bit_for_bit_at_any_thread_count() -> None:
    one, again, two = trajectory(1), trajectory(1), trajectory(2)
    for key, row in one.items():
        assert np.array_equal(row, again[key]), f"{key} differs between two runs"
        assert np.array_equal(row, two[key]), f"{key} differs between 1 and 2 threads"
    other = trajectory(1, seed=8)
    for key, row in one.items():
        assert not np.array_equal(row, other[key]), f"{key} doesn't depend on the seed"


def test_a_flight_does_not_depend_on_its_neighbours(model: mujoco.MjModel) -> None:
    commands = np.array(STEPS[:3])
    _, together = Flight(model, 3).fly(commands, 1.0)
    for i, command in enumerate(commands):
        _, alone = Flight(model, 1).fly(command, 1.0)
        np.testing.assert_array_equal(together[:, i], alone[:, 0])


def test_controllers_time_step_is_used(airframe: Airframe) -> None:
    """The integral grows by gain · error · dt: twice the time step, twice the growth."""
    rotation, zero = np.eye(3)[None], np.zeros((1, 3))
    command = np.array([[0.0, 0.0, 0.2]])
    totals = [
        VelocityController(replace(airframe), 1, dt).thrusts(rotation, zero, zero, command, np.zeros(1)).sum()
        for dt in (TICK, 2 * TICK)
    ]
    base = MASS * (GRAVITY + 4.0 * 0.2)
    assert totals[1] - base == pytest.approx(2 * (totals[0] - base))
    assert totals[0] - base == pytest.approx(MASS * 1.5 * TICK * 0.2)
