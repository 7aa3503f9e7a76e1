"""The downward range finder: its beam against MuJoCo's own rays, its reading by hand, its noise episode by episode."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.instruments import reading
from glideslope.envs.landing import LandingTask
from glideslope.envs.layout import ACTION_DIM, state_dim
from glideslope.envs.physics import build_model
from glideslope.envs.range_finder import distance_below
from glideslope.envs.rotation import quat_about, quat_to_matrix
from glideslope.errors import SettingsError
from glideslope.settings import FULL_TASK, TaskSettings
from tests.support.tasks import pinned_task

LIMITS = (0.1, 8.0)


def level(num: int) -> NDArray[np.float64]:
    return np.tile(np.eye(3), (num, 1, 1))


def begin(num: int = 1, repeat: int = 1, **changes: object) -> LandingTask:
    task = LandingTask(num, pinned_task(**changes), FULL_TASK, pixels=False, num_threads=1, action_repeat=repeat)
    task.reset(np.arange(num), [np.random.default_rng(env) for env in range(num)])
    return task


def test_a_level_drone_measures_its_height_above_what_is_below() -> None:
    position = np.array([[0.0, 0.0, 2.0], [0.69, 0.0, 2.0], [0.71, 0.0, 2.0], [3.0, 0.0, 2.0]])
    # The hull's bottom is 0.05 m below the centre, the pad's top 0.27 m above the ground.
    found = distance_below(position, level(4), np.zeros((4, 2)), np.zeros(4), 1.4)
    np.testing.assert_allclose(found, [1.68, 1.68, 1.95, 1.95])


def test_the_pad_is_a_square_that_turns() -> None:
    position = np.tile([0.8, 0.0, 2.0], (2, 1))  # beyond the edge (0.7), within the corner (0.99)
    found = distance_below(position, level(2), np.zeros((2, 2)), np.array([0.0, np.pi / 4]), 1.4)
    np.testing.assert_allclose(found, [1.95, 1.68])


def test_a_tilted_drone_measures_a_slanted_distance() -> None:
    rotation = quat_to_matrix(quat_about(1, np.array([np.pi / 3])))
    position = np.array([[5.0, 0.0, 1.025]])  # the hull's bottom is 1 m above the ground
    found = distance_below(position, rotation, np.zeros((1, 2)), np.zeros(1), 1.4)
    np.testing.assert_allclose(found, [2.0])


def test_touching_is_no_distance_and_an_upturned_drone_sees_nothing() -> None:
    rotation = np.concatenate([level(1), quat_to_matrix(quat_about(0, np.array([3.0])))])
    position = np.array([[0.0, 0.0, 0.3199], [0.0, 0.0, 2.0]])
    found = distance_below(position, rotation, np.zeros((2, 2)), np.zeros(2), 1.4)
    np.testing.assert_array_equal(found, [0.0, np.inf])


def test_the_beam_agrees_with_mujocos_rays() -> None:
    model = build_model(physics_hz=240, pad_size=1.4, camera_fov_deg=60)
    data = mujoco.MjData(model)
    rng, num = np.random.default_rng(3), 400
    position = rng.uniform([-1.5, -1.5, 0.7], [1.5, 1.5, 5.0], (num, 3))
    rotation = quat_to_matrix(
        np.stack([q / np.linalg.norm(q) for q in np.array([1.0, 0, 0, 0]) + rng.normal(0, 0.2, (num, 4))])
    )
    pad, course = rng.uniform(-0.5, 0.5, (num, 2)), rng.uniform(-np.pi, np.pi, num)
    found = distance_below(position, rotation, pad, course, 1.4)
    on_pad = 0
    for k in range(num):
        data.mocap_pos[0, :2] = pad[k]
        data.mocap_quat[0] = [np.cos(course[k] / 2), 0, 0, np.sin(course[k] / 2)]
        mujoco.mj_kinematics(model, data)
        geom = np.full(1, -1, np.int32)
        start = position[k] - 0.05 * rotation[k][:, 2]
        groups = np.array([1, 0, 0, 0, 0, 0], np.uint8)  # the world without the drone and the wheels
        distance = mujoco.mj_ray(model, data, start, -rotation[k][:, 2], groups, 1, -1, geom)
        height = start[2] - distance * rotation[k][2, 2]
        if 1e-6 < height < 0.27 - 1e-6:
            continue  # the beam meets the pad's edge or the vehicle from the side, where the range finder sees through
        on_pad += geom[0] == model.geom("pad_top").id
        assert found[k] == pytest.approx(np.inf if distance < 0 else distance, abs=1e-9)
    assert 40 < on_pad < 340  # both surfaces are met often


@pytest.mark.parametrize(
    ("distance", "noise", "expected"),
    [
        (4.0, 0.0, 0.5),
        (4.0, 0.1, 0.55),
        (4.0, -0.1, 0.45),
        (0.02, 0.0, 0.0125),  # nearer than the shortest
        (8.0, 0.0, 1.0),
        (7.9, 0.1, 1.0),
        (8.01, -0.5, 1.0),  # beyond the longest nothing is measured, whatever the noise
        (np.inf, -3.0, 1.0),
        (4.0, -3.0, 0.0125),
    ],
)
def test_readings_by_hand(distance: float, noise: float, expected: float) -> None:
    found = reading(np.array([distance]), np.array([noise]), LIMITS)
    np.testing.assert_allclose(found, [expected])


def test_the_state_ends_with_the_range_and_the_privileged_vector_is_without_noise() -> None:
    loud, quiet = begin(20), begin(20, range_finder_noise=0.0)
    for _ in range(5):
        for task in (loud, quiet):
            task.step(np.zeros((20, ACTION_DIM)))
        height = -quiet.pad_relative()[0][:, 2]
        assert height.max() < 8
        exact, noisy = quiet.state()[:, 11], loud.state()[:, 11]
        assert np.all(exact * 8.0 > height - 1e-3)
        assert np.all(noisy != exact)
        np.testing.assert_allclose(noisy, exact, rtol=0.3)
        np.testing.assert_array_equal(loud.state()[:, :11], quiet.state()[:, :11])
        np.testing.assert_array_equal(loud.privileged(), quiet.privileged())


def test_without_a_range_finder_the_state_is_as_without_its_column() -> None:
    having, lacking = begin(3), begin(3, range_finder=False)
    assert state_dim(having.task) == 12
    assert state_dim(lacking.task) == 11
    np.testing.assert_array_equal(having.state()[:, :11], lacking.state())


def test_the_noise_is_new_at_each_decision_and_the_same_until_then() -> None:
    task = begin(200, range_finder_noise=0.05)
    errors = task.scenarios.range_error
    assert errors.shape == (200, 109)
    assert errors.std() == pytest.approx(0.05, rel=0.02)
    assert abs(errors.mean()) < 0.002
    flat = errors - errors.mean()
    assert abs((flat[:, 1:] * flat[:, :-1]).mean()) < 0.0001  # decisions are independent
    np.testing.assert_array_equal(task.state(), task.state())


@pytest.mark.parametrize("repeat", [1, 4])
def test_an_episode_that_lasts_has_noise_until_its_end(repeat: int) -> None:
    env = LandingVectorEnv(
        2, task=pinned_task(episode_seconds=1.5), pixels=False, action_repeat=repeat, num_threads=1, frame_stack=1
    )
    env.reset(seed=1)
    hover = np.zeros((2, ACTION_DIM))
    for _ in range(20):
        observation = env.step(hover)[0]
        assert np.all((observation["state"][..., 11] > 0.2) & (observation["state"][..., 11] < 1.0))


def test_ranges_the_wrong_way_round_are_refused() -> None:
    for pair in ([8.0, 0.1], [2.0, 2.0]):
        with pytest.raises(SettingsError, match="the shortest distance must be below the longest"):
            TaskSettings.from_config({"range_finder_range": pair})
    with pytest.raises(SettingsError, match="range_finder_noise"):
        TaskSettings.from_config({"range_finder_noise": 0.6})
