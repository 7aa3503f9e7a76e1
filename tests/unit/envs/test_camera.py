"""The gimbal and what its camera sees, against a projection written down a second time, here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glideslope.envs.camera import Camera
from glideslope.envs.gimbal import (
    ANGLE_LIMITS,
    PITCH_LIMIT,
    YAW_LIMIT,
    angles_towards,
    view_quaternion,
)
from glideslope.envs.landing import LandingTask, gimbal_scale
from glideslope.envs.layout import ACTION_DIM
from glideslope.envs.rotation import quat_to_matrix
from glideslope.envs.scenario import GROUND_TEXTURES, PAD_TEXTURES
from glideslope.settings import FULL_TASK, StageSettings
from tests.support.tasks import pinned_task

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

SIZE, FOV = 84, np.deg2rad(60.0)
FOCAL = 0.5 * SIZE / np.tan(0.5 * FOV)  # pixels
PAD_CENTRE = np.array([0.0, 0.0, 0.27])
POSES = 20

pitches = st.floats(-PITCH_LIMIT, PITCH_LIMIT)
yaws = st.floats(-YAW_LIMIT, YAW_LIMIT)


def turn(axis: int, angle: float) -> Array:
    """The right-handed rotation matrix about axis x, y or z."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


class Pose(NamedTuple):
    """A drone's pose and its gimbal's."""

    position: Array  # (3,) m
    heading: float
    attitude: Array  # (3, 3) body to world
    pitch: float  # of the gimbal
    yaw: float

    def camera(self, stabilized: bool) -> tuple[Array, Array]:
        """Position (3,) and rotation (3, 3) of the camera frame: view along −z, image up along x, left along y."""
        base = turn(2, self.heading) if stabilized else self.attitude
        rotation = base @ turn(0, self.yaw) @ turn(1, -self.pitch)
        return self.position - 0.05 * self.attitude[:, 2], rotation

    def pixel(self, stabilized: bool, target: Array = PAD_CENTRE) -> tuple[Array, float]:
        """Where ``target`` is in the picture, as (column, row) from its top left corner, and its depth in m."""
        position, rotation = self.camera(stabilized)
        up, left, back = rotation.T @ (target - position)
        return np.array([0.5 * SIZE + FOCAL * left / back, 0.5 * SIZE + FOCAL * up / back]), -back


def random_pose(rng: np.random.Generator) -> Pose:
    heading = rng.uniform(-np.pi, np.pi)
    tilt = turn(0, rng.uniform(-0.5, 0.5)) @ turn(1, rng.uniform(-0.5, 0.5))
    position = rng.uniform([-4.0, -4.0, 1.5], [4.0, 4.0, 5.0])
    pitch, yaw = rng.uniform(-ANGLE_LIMITS, ANGLE_LIMITS)
    return Pose(position, heading, turn(2, heading) @ tilt, pitch, yaw)


def poses_with_pad_in_view(stabilized: bool, seed: int) -> list[Pose]:
    """Poses from which the whole small pad is in the picture and not seen at a grazing angle."""
    rng = np.random.default_rng(seed)
    poses: list[Pose] = []
    while len(poses) < POSES:
        pose = random_pose(rng)
        pixel, depth = pose.pixel(stabilized)
        steep = pose.position[2] - 0.27 > 0.4 * np.linalg.norm(pose.position - PAD_CENTRE)
        if depth > 1.0 and steep and np.all(np.abs(pixel - 0.5 * SIZE) < 0.5 * SIZE - 10):
            poses.append(pose)
    return poses


def place(task: LandingTask, poses: list[Pose]) -> None:
    """Put the task's drones and gimbals into these poses, over a pad that stands at the origin."""
    num = task.num_envs
    quats = np.zeros((num, 4))
    for quat, pose in zip(quats, poses, strict=True):
        mujoco.mju_mat2Quat(quat, pose.attitude.flatten())
    task.scenarios.heading[:] = [pose.heading for pose in poses]
    task.gimbal.angles[:] = [(pose.pitch, pose.yaw) for pose in poses]
    positions = np.array([pose.position for pose in poses])
    task.physics.reset(np.arange(num), positions, quats, np.zeros((num, 3)))
    task.physics.place_pad(np.zeros((num, 2)), task.scenarios.pad_heading)
    task.physics.place_gimbal(task.camera_orientation())
    task.physics.refresh()


def make_task(
    num: int, *, pixels: bool = True, stabilized: bool = True, pad_size: float = 0.4, num_threads: int = 1
) -> LandingTask:
    settings = pinned_task(image_size=SIZE, pad_size=pad_size, gimbal_stabilized=stabilized, pad_paths=("static",))
    task = LandingTask(num, settings, FULL_TASK, pixels=pixels, num_threads=num_threads)
    task.reset(np.arange(num), [np.random.default_rng(i) for i in range(num)])
    return task


def pad_masks(task: LandingTask) -> NDArray[np.bool_]:
    """(N, size, size), the pixels that change with the pad's colour."""
    scenarios = task.scenarios
    scenarios.pad_texture[:] = PAD_TEXTURES.index("pad_rings")
    scenarios.sun_ambient[:] = 1.0
    scenarios.pad_tint[:] = 0.0
    dark = task.views()
    scenarios.pad_tint[:] = 1.0
    bright = task.views()
    return bright.astype(int) - dark > 6


def middle(mask: NDArray[np.bool_]) -> Array:
    """The centroid (column, row) of a mask, from the picture's top left corner."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def straight_down(height: float, *, x: float = 0.0, y: float = 0.0, heading: float = 0.0) -> Pose:
    return Pose(np.array([x, y, height]), heading, turn(2, heading), 0.0, 0.0)


# --- projection ---


@pytest.mark.parametrize("stabilized", [True, False])
def test_rendered_pad_is_where_the_projection_puts_it(stabilized: bool) -> None:
    task = make_task(POSES, stabilized=stabilized)
    poses = poses_with_pad_in_view(stabilized, seed=1)
    gimbal = np.abs([(pose.pitch, pose.yaw) for pose in poses]).max(axis=0)
    assert np.all(gimbal > 0.5 * ANGLE_LIMITS)  # the range is really covered
    place(task, poses)
    for pose, mask in zip(poses, pad_masks(task), strict=True):
        assert mask.sum() >= 6
        expected, _ = pose.pixel(stabilized)
        assert np.linalg.norm(middle(mask) - expected) < 1.5, pose
    task.close()


@pytest.mark.parametrize("stabilized", [True, False])
def test_direction_to_the_pad_and_its_visibility(stabilized: bool) -> None:
    num = 300
    rng = np.random.default_rng(2)
    poses = [random_pose(rng) for _ in range(num)]
    task = make_task(num, pixels=False, stabilized=stabilized)
    place(task, poses)
    cosine, visible = task.pad_in_view()
    directions = task.pad_direction()
    for i, pose in enumerate(poses):
        position, rotation = pose.camera(stabilized)
        direction = rotation.T @ (PAD_CENTRE - position)
        direction /= np.linalg.norm(direction)
        np.testing.assert_allclose(directions[i], direction, atol=1e-9)
        assert cosine[i] == pytest.approx(-direction[2], abs=1e-9)
        pixel, depth = pose.pixel(stabilized)
        assert visible[i] == (depth > 0 and bool(np.all((pixel >= 0) & (pixel <= SIZE))))
    assert 15 < visible.sum() < num - 15


def test_pad_has_its_size_in_the_picture() -> None:
    """Straight down from h above its top, a pad of edge s covers (focal · s / h)² pixels."""
    task = make_task(3, pad_size=1.4)
    heights = np.array([2.5, 3.5, 5.0])
    place(task, [straight_down(height + 0.27 + 0.05, heading=0.4) for height in heights])
    areas = pad_masks(task).sum(axis=(1, 2))
    np.testing.assert_allclose(areas, (FOCAL * 1.4 / heights) ** 2, rtol=0.06)
    task.close()


# --- directions, as a pilot would say them ---


def test_rest_looks_straight_down_with_forward_up_and_left_left() -> None:
    task = make_task(3)
    ahead, left = 1.0, 0.8
    headings = (0.0, 1.9, -2.6)
    poses = []
    for heading in headings:
        # The drone stands so that the pad is ahead and to the left of it.
        x, y, _ = -turn(2, heading) @ np.array([ahead, left, 0.0])
        poses.append(straight_down(4.0, x=x, y=y, heading=heading))
    place(task, poses)
    depth = 4.0 - 0.05 - 0.27
    for mask in pad_masks(task):
        column, row = middle(mask)
        assert column == pytest.approx(0.5 * SIZE - FOCAL * left / depth, abs=1.0)
        assert row == pytest.approx(0.5 * SIZE - FOCAL * ahead / depth, abs=1.0)
    task.close()


@pytest.mark.parametrize(
    ("angles", "axis"),
    [
        ((0.0, 0.0), (0.0, 0.0, -1.0)),
        ((0.5, 0.0), (np.sin(0.5), 0.0, -np.cos(0.5))),  # positive pitch: forward
        ((-0.5, 0.0), (-np.sin(0.5), 0.0, -np.cos(0.5))),
        ((0.0, 0.5), (0.0, np.sin(0.5), -np.cos(0.5))),  # positive yaw: left
        ((0.0, np.pi / 2), (0.0, 1.0, 0.0)),
        ((0.0, -np.pi / 2), (0.0, -1.0, 0.0)),
    ],
)
def test_view_axis_by_hand(angles: tuple[float, float], axis: tuple[float, float, float]) -> None:
    rotation = quat_to_matrix(view_quaternion(np.array([angles])))[0]
    np.testing.assert_allclose(-rotation[:, 2], axis, atol=1e-12)
    np.testing.assert_allclose(angles_towards(np.array([axis])), [angles], atol=1e-9)


def test_limits_are_those_documented() -> None:
    assert np.rad2deg(PITCH_LIMIT) == pytest.approx(47.37, abs=0.01)
    assert np.rad2deg(YAW_LIMIT) == 90.0


@given(pitches, yaws, st.floats(0.1, 50.0))
def test_angles_and_view_are_inverse(pitch: float, yaw: float, distance: float) -> None:
    rotation = quat_to_matrix(view_quaternion(np.array([[pitch, yaw]])))
    found = angles_towards(-rotation[:, :, 2] * distance)
    np.testing.assert_allclose(found, [[pitch, yaw]], atol=1e-7)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, -0.05))
def test_view_along_the_angles_found_meets_the_target(x: float, y: float, z: float) -> None:
    direction = np.array([[x, y, z]])
    rotation = quat_to_matrix(view_quaternion(angles_towards(direction)))
    np.testing.assert_allclose(-rotation[0, :, 2], direction[0] / np.linalg.norm(direction), atol=1e-9)


@given(pitches, yaws)
def test_both_axes_steer_the_view_everywhere(pitch: float, yaw: float) -> None:
    """Regular: the view's Jacobian keeps its rank over the range; its smallest singular value is cos(pitch)."""
    step = 1e-6
    angles = np.array([[pitch, yaw]])

    def view(offset: Array) -> Array:
        return -quat_to_matrix(view_quaternion(angles + offset))[0, :, 2]

    columns = [(view(step * unit) - view(-step * unit)) / (2 * step) for unit in np.eye(2)[:, None]]
    least = np.linalg.svd(np.stack(columns, axis=1), compute_uv=False).min()
    assert least == pytest.approx(np.cos(pitch), abs=1e-6)
    assert least > 0.67


# --- stabilisation ---


def tilted(pose: Pose, roll: float, pitch: float) -> Pose:
    """The same camera position and heading under a tilted body."""
    attitude = turn(2, pose.heading) @ turn(0, roll) @ turn(1, pitch)
    hung = pose.position - 0.05 * pose.attitude[:, 2]
    return pose._replace(attitude=attitude, position=hung + 0.05 * attitude[:, 2])


def test_stabilised_view_is_unaffected_by_the_bodys_tilt_and_shows_nothing_of_the_drone() -> None:
    level = straight_down(3.0, x=0.4, y=-0.3, heading=0.8)._replace(pitch=0.3, yaw=-0.5)
    poses = [level, tilted(level, 0.4, 0.0), tilted(level, -0.3, 0.5)]
    for stabilized in (True, False):
        task = make_task(3, stabilized=stabilized, pad_size=1.4)
        for name in vars(task.scenarios):
            getattr(task.scenarios, name)[:] = getattr(task.scenarios, name)[0]
        place(task, poses)
        views = task.views().astype(int)
        differing = [(np.abs(view - views[0]) > 2).mean() for view in views[1:]]
        if stabilized:
            assert max(differing) < 0.002
        else:
            assert min(differing) > 0.2
        task.close()


# --- its range ---


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, (0.6, 0.4)),
        ({"lock_down": True}, (0.0, 0.0)),
        ({"gimbal_enabled": False}, (0.0, 0.0)),
        ({"yaw_only": True}, (0.0, 0.4)),
        ({"pitch_only": True}, (0.6, 0.0)),
        ({"scale": (0.0, 1.0, 0.0)}, (0.0, 0.0)),  # the gimbal has no roll axis
    ],
)
def test_a_stage_opens_its_share_of_the_gimbals_range(changes: dict[str, object], scale: tuple[float, float]) -> None:
    stage = StageSettings.model_validate({"name": "S", "scale": (0.6, 0.9, 0.4)} | changes)
    np.testing.assert_array_equal(gimbal_scale(stage), scale)
    task = LandingTask(1, pinned_task(gimbal_max_rate=1.7), stage, pixels=False, num_threads=1)
    task.reset(np.array([0]), [np.random.default_rng(0)])
    action = np.zeros((1, ACTION_DIM))
    action[0, 3:] = [1.0, -1.0]
    before = task.gimbal.angles.copy()
    for _ in range(8):
        task.step(action)
        assert np.all(np.abs(task.gimbal.angles - before) <= 1.7 / 6 + 1e-9)
        before = task.gimbal.angles.copy()
    np.testing.assert_allclose(before[0], [scale[0] * PITCH_LIMIT, -scale[1] * YAW_LIMIT], atol=1e-9)


# --- how it looks ---


@pytest.fixture(scope="module")
def scene() -> Iterator[LandingTask]:
    task = make_task(5, pad_size=1.4)
    same_look(task)
    place(task, [straight_down(3.5, x=0.3, heading=0.5) for _ in range(5)])
    yield task
    task.close()


def same_look(task: LandingTask) -> None:
    """Give every environment the look of a task without randomised visuals."""
    plain = pinned_task(randomize_visuals=False, pad_paths=("static",))
    headings = task.scenarios.heading.copy()
    for env in range(task.num_envs):
        task.scenarios.draw(env, np.random.default_rng(0), plain, FULL_TASK)
    task.scenarios.heading[:] = headings


def test_same_pose_and_look_give_the_same_picture(scene: LandingTask) -> None:
    same_look(scene)
    views = scene.views()
    assert views.dtype == np.uint8
    assert views.shape == (5, SIZE, SIZE)
    np.testing.assert_array_equal(views, np.repeat(views[:1], 5, axis=0))
    assert views[0].std() > 5  # there is something to see


@pytest.mark.parametrize(("name", "textures"), [("ground_texture", GROUND_TEXTURES), ("pad_texture", PAD_TEXTURES)])
def test_every_texture_looks_different(scene: LandingTask, name: str, textures: tuple[str, ...]) -> None:
    same_look(scene)
    getattr(scene.scenarios, name)[:] = np.arange(5) % len(textures)
    views = scene.views().astype(int)
    for i in range(len(textures)):
        for j in range(i):
            assert np.abs(views[i] - views[j]).max() > 20


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ground_tint", (0.2, 0.4, 0.6, 0.8, 1.0)),
        ("pad_tint", (0.2, 0.4, 0.6, 0.8, 1.0)),
        ("sun_diffuse", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("sun_ambient", (0.0, 0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_brighter_is_brighter(scene: LandingTask, name: str, values: tuple[float, ...]) -> None:
    same_look(scene)
    field = getattr(scene.scenarios, name)
    field[:] = np.array(values).reshape(5, *[1] * (field.ndim - 1))
    assert np.all(np.diff(scene.views().mean(axis=(1, 2))) > 0.5)


def test_a_lower_sun_is_darker_and_texture_scale_shows(scene: LandingTask) -> None:
    same_look(scene)
    tilt = np.linspace(0.0, 1.2, 5)
    scene.scenarios.sun_direction[:] = np.stack([np.sin(tilt), 0 * tilt, -np.cos(tilt)], axis=1)
    assert np.all(np.diff(scene.views().mean(axis=(1, 2))) < 0)
    same_look(scene)
    scene.scenarios.texture_scale[:] = [0.15, 0.25, 0.35, 0.45, 0.6]
    views = scene.views()
    assert len({view.tobytes() for view in views}) == 5


def test_single_views_equal_those_of_the_batch(scene: LandingTask) -> None:
    for env in range(5):
        scene.scenarios.draw(env, np.random.default_rng(env), scene.task, FULL_TASK)
    place(scene, [straight_down(3.0 + 0.2 * env, y=0.1 * env, heading=env) for env in range(5)])
    together = scene.views()
    np.testing.assert_array_equal(scene.views(np.array([3, 0])), together[[3, 0]])
    assert len({view.tobytes() for view in together}) == 5


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_some_views_equal_those_of_the_batch_however_they_are_shared_out(num_threads: int) -> None:
    """Among threads, of which each draws a part of them."""
    task = make_task(13, num_threads=num_threads)
    place(task, [straight_down(3.0 + 0.1 * env, y=0.1 * env, heading=env) for env in range(13)])
    together = task.views()
    assert len({view.tobytes() for view in together}) == 13
    for count in range(1, 14):
        some = np.random.default_rng(count).permutation(13)[:count]
        np.testing.assert_array_equal(task.views(some), together[some])
    task.close()


def test_gray_is_the_luma_of_the_colour_picture(scene: LandingTask) -> None:
    camera = Camera(scene.model, "onboard", num_worlds=5, resolution=(SIZE, SIZE))
    colour = camera.render(scene.physics, scene.scenarios, np.arange(5))
    assert colour.shape == (5, SIZE, SIZE, 3)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(scene.views() - luma).max() <= 1.5
    assert np.abs(colour[..., 0].astype(int) - colour[..., 2]).max() > 10  # it has colour


def test_no_views_without_pixels() -> None:
    with pytest.raises(RuntimeError, match="without pixels"):
        make_task(1, pixels=False).views()
