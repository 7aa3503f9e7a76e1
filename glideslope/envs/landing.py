"""The landing task for N drones at once, whole as each step reads all of its state: reset, decide, reward, end.

One decision holds an action for 1 / ``decision_hz`` seconds. Inside it the velocity–attitude–rate controller runs
at ``controller_hz`` and the physics at ``physics_hz``. An episode ends by *landing* (contact with the pad's top,
centre inside its edge, vertical speed acceptable), by *crashing* (any other contact, or leaving the arena round
the pad), both of which terminate with discount 0, or by time-out, which truncates: the learner bootstraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glideslope.envs import rewards
from glideslope.envs.controller import VelocityController
from glideslope.envs.gimbal import ANGLE_LIMITS, AccelerationGimbal, angles_towards, build_gimbal, view_quaternion
from glideslope.envs.instruments import motion, reading
from glideslope.envs.layout import ACTION_DIM, velocity_limits
from glideslope.envs.optics import expose
from glideslope.envs.physics import GIMBAL_DROP, HULL_BOTTOM, PAD_TOP_HEIGHT, Ids, Physics, build_model, read_airframe
from glideslope.envs.range_finder import distance_below
from glideslope.envs.rotation import quat_about, quat_multiply, quat_to_matrix, rotate_about_z
from glideslope.envs.rotors import Rotors
from glideslope.envs.scenario import Scenarios, StageMix
from glideslope.envs.state import State, conform, copies, restore
from glideslope.settings import REWARD_TERMS, StageSettings, TaskSettings

if TYPE_CHECKING:
    from glideslope.envs.camera import OnboardCamera

Array = NDArray[np.float64]


class Outcome(IntEnum):
    """How an episode stands."""

    RUNNING = 0
    LANDED = 1
    CRASHED = 2
    TIMED_OUT = 3


@dataclass(frozen=True)
class StepResult:
    """What one decision brought, a row per environment (N)."""

    reward: Array  # sum of the terms
    terms: dict[str, Array]
    outcome: NDArray[np.int64]  # Outcome
    touchdown_error: Array  # m from the pad's centre at landing, else NaN
    touchdown_speed: Array  # m/s downward at landing, else NaN


class LandingTask:
    """N landing episodes side by side; an ended one stands still until it is reset."""

    def __init__(
        self,
        num_envs: int,
        task: TaskSettings,
        stage: StageSettings,
        *,
        pixels: bool = True,
        action_repeat: int = 1,
        device: str = "cpu",
        num_threads: int = 0,
    ) -> None:
        """Build the simulations and, with ``pixels``, the cameras on ``device``.

        Args:
            num_envs: parallel simulations N.
            stage: the curriculum stage that episodes are drawn from, until :meth:`set_stage`.
            pixels: render the onboard views.
            action_repeat: decisions for which an action is held.
            device: where to render: ``cpu``, ``cuda`` or ``cuda:N``.
            num_threads: threads for physics and CPU rendering; 0 uses all processors.
        """
        self.num_envs = num_envs
        self.task = task
        self.model = build_model(physics_hz=task.physics_hz, pad_size=task.pad_size, camera_fov_deg=task.camera_fov_deg)
        self.physics = Physics(self.model, num_envs, num_threads)
        self._ticks = round(task.controller_hz / task.decision_hz)
        self._substeps = round(task.physics_hz / task.controller_hz)
        self._dt = 1.0 / task.controller_hz
        self._action_repeat = action_repeat
        self.action_seconds = action_repeat / task.decision_hz  # s for which an action is held
        self.max_decisions = task.episode_decisions
        airframe = read_airframe(self.model)
        self._controller = VelocityController(airframe, num_envs, self._dt)
        self._rotors = Rotors(num_envs, airframe, self._dt)
        self._commanded = np.zeros((num_envs, ACTION_DIM))  # the action of the decision before
        self.gimbal = build_gimbal(num_envs, task)
        self.scenarios = Scenarios.empty(num_envs, task)
        self._camera: OnboardCamera | None = None
        if pixels:
            from glideslope.envs.camera import OnboardCamera  # loads the renderer, which takes seconds

            self._camera = OnboardCamera(
                self.model,
                num_envs=num_envs,
                image_size=task.image_size,
                device=device,
                num_threads=num_threads or self.physics.num_threads,
            )
        self._velocity_limit = np.array(velocity_limits(task))
        self._view_tangent = np.tan(0.5 * np.deg2rad(task.camera_fov_deg))
        self.time = np.zeros(num_envs)
        self.decisions = np.zeros(num_envs, np.int64)
        self.outcome = np.full(num_envs, Outcome.TIMED_OUT, np.int64)
        self.stage_index = np.zeros(num_envs, np.int64)
        self._mix = StageMix(stage)
        self.gimbal_scale = np.zeros((num_envs, 2))
        self._viz_weight = np.zeros(num_envs)
        self._not_visible_penalty = np.zeros(num_envs)
        self._smooth_penalty = np.zeros(num_envs)
        self._distance = np.zeros(num_envs)
        self._descent = np.zeros(num_envs)
        self._severity = np.zeros(num_envs)  # share of the penalty that the last crash costs

    # --- episodes ---

    def set_stage(
        self, stage: StageSettings, index: int = 0, *, earlier: Sequence[StageSettings] = (), share: float = 0.0
    ) -> None:
        """Draw the episodes that begin from now on from ``stage``; running ones end as they began.

        An episode is with probability ``share`` of one of ``earlier`` instead, all alike likely, its index the place
        there; ``index`` is the stage's place in the curriculum.

        Raises:
            ValueError: the share isn't from 0 to 1.
        """
        self._mix = StageMix(stage, index, tuple(earlier), float(share))

    def reset(
        self,
        ids: Ids,
        generators: Sequence[np.random.Generator],
        mixers: Sequence[np.random.Generator | None] | None = None,
    ) -> None:
        """Begin a new episode in each environment of ``ids``, its scenario drawn from a generator of its own.

        A mixer decides whether it is of an earlier stage; None keeps to the present stage.
        """
        mix = self._mix
        for env, generator, mixer in zip(ids, generators, mixers or [None] * len(ids), strict=True):
            index, stage = (mix.index, mix.stage) if mixer is None else mix.draw(mixer)
            self.scenarios.draw(int(env), generator, self.task, stage)
            self._enter(int(env), index, stage)
        self.time[ids] = 0.0
        self.decisions[ids] = 0
        self.outcome[ids] = Outcome.RUNNING
        self._commanded[ids] = 0.0
        self._controller.reset(ids)
        self._rotors.reset(ids)
        self.gimbal.reset(ids)
        scenarios = self.scenarios
        attitude = quat_about(2, scenarios.heading[ids])
        self.physics.reset(ids, scenarios.start_position[ids], attitude, scenarios.start_velocity[ids])
        pad_position, _, pad_course = scenarios.pad_motion(self.time)
        self.physics.place_pad(pad_position[ids], pad_course[ids], ids)
        self.physics.place_gimbal(self.camera_orientation(), ids)
        self.physics.refresh(ids)
        relative, _ = self.pad_relative()
        distance, descent = self._potentials(relative)
        self._distance[ids], self._descent[ids] = distance[ids], descent[ids]

    def _enter(self, env: int, index: int, stage: StageSettings) -> None:
        """Apply to one environment what a stage asks for beyond its scenarios."""
        self.stage_index[env] = index
        self.gimbal_scale[env] = gimbal_scale(stage)
        self._viz_weight[env] = stage.viz_weight if stage.include_viz_reward else 0.0
        self._not_visible_penalty[env] = stage.not_visible_penalty if stage.include_viz_reward else 0.0
        self._smooth_penalty[env] = stage.smooth_penalty

    def stop(self, ids: Ids) -> None:
        """Let the environments ``ids`` stand still until their next reset."""
        self.outcome[ids] = Outcome.TIMED_OUT

    def step(self, actions: Array) -> StepResult:
        """Fly one action (N, 5) in [−1, 1] in every running episode; values outside are clipped.

        Raises:
            ValueError: the actions have another shape or aren't finite.
        """
        actions = np.asarray(actions, np.float64)
        if actions.shape != (self.num_envs, ACTION_DIM):
            raise ValueError(f"actions must have shape ({self.num_envs}, {ACTION_DIM}), got {actions.shape}")
        if not np.isfinite(actions).all():
            raise ValueError("actions must be finite numbers")
        actions = np.clip(actions, -1.0, 1.0)
        terms = {name: np.zeros(self.num_envs) for name in REWARD_TERMS}
        error = np.full(self.num_envs, np.nan)
        speed = np.full(self.num_envs, np.nan)
        for _ in range(self._action_repeat):
            running = self.outcome == Outcome.RUNNING
            angles_before = self.gimbal.angles.copy()
            self._fly(actions, error, speed)
            self._add_rewards(terms, running, self.gimbal.angles - angles_before)
        self.physics.place_gimbal(self.camera_orientation())
        self.physics.refresh()
        # Term by term: np.sum adds in another order when there is but one environment.
        reward = reduce(np.add, terms.values())
        return StepResult(reward, terms, self.outcome.copy(), error, speed)

    def _fly(self, actions: Array, error: Array, speed: Array) -> None:
        """Run the controller and the physics for one decision; sets outcomes and touchdown figures."""
        physics, scenarios = self.physics, self.scenarios
        late = scenarios.late[np.arange(self.num_envs), self.decisions]
        actions, self._commanded[:] = np.where(late[:, None], self._commanded, actions), actions
        command = rotate_about_z(actions[:, :3] * self._velocity_limit, scenarios.heading)
        running = self.outcome == Outcome.RUNNING
        self.decisions += running
        for _ in range(self._ticks):
            if not running.any():
                break
            sink_rate = -physics.velocity[:, 2]
            thrusts = self._controller.thrusts(
                physics.rotation, physics.velocity, physics.body_rate, command, scenarios.heading
            )
            thrusts = scenarios.thrust[:, None] * self._rotors.follow(thrusts, scenarios.motor_lag)
            moving = None if running.all() else np.flatnonzero(running)
            physics.step(thrusts, scenarios.wind(self.time), self._substeps, moving, scenarios.mass)
            self.gimbal.advance(actions[:, 3:], self.gimbal_scale, self._dt, running)
            self.time += np.where(running, self._dt, 0.0)
            position, _, course = scenarios.pad_motion(self.time)
            physics.place_pad(position, course)
            running = self._judge(running, sink_rate, position, course, error, speed)
        late = running & (self.decisions >= self.max_decisions)
        self.outcome[late] = Outcome.TIMED_OUT

    def _judge(
        self,
        running: NDArray[np.bool_],
        sink_rate: Array,
        pad_position: Array,
        pad_course: Array,
        error: Array,
        speed: Array,
    ) -> NDArray[np.bool_]:
        """End the episodes that touched something or left the arena; returns those still running."""
        task, physics = self.task, self.physics
        offset = physics.position[:, :2] - pad_position
        distance = np.linalg.norm(offset, axis=1)
        touched = running & physics.touches_anything
        outside = running & ((distance > task.arena_radius) | (physics.position[:, 2] > task.arena_height))
        if not (touched.any() or outside.any()):
            return running
        in_pad = rotate_about_z(np.column_stack([offset, np.zeros(len(offset))]), -pad_course)
        inside = np.abs(in_pad[:, :2]).max(axis=1) <= 0.5 * task.pad_size
        ended, on_pad = touched | outside, touched & physics.touches_pad & inside
        # Sensors lag one substep behind, so the speed before this tick is the speed of approach.
        landed = on_pad & (sink_rate <= task.max_touchdown_speed)
        self._severity[ended] = rewards.crash_severity(sink_rate, on_pad, task.max_touchdown_speed)[ended]
        self.outcome[ended] = Outcome.CRASHED
        self.outcome[landed] = Outcome.LANDED
        error[landed], speed[landed] = distance[landed], sink_rate[landed]
        return self.outcome == Outcome.RUNNING

    # --- saving ---

    def _rows(self) -> dict[str, NDArray[Any]]:
        """Return the task's own arrays, a row per environment, by the name under which they are saved."""
        return {
            "time": self.time,
            "decisions": self.decisions,
            "outcome": self.outcome,
            "stage_index": self.stage_index,
            "gimbal_scale": self.gimbal_scale,
            "viz_weight": self._viz_weight,
            "not_visible_penalty": self._not_visible_penalty,
            "smooth_penalty": self._smooth_penalty,
            "distance": self._distance,
            "descent": self._descent,
            "severity": self._severity,
            "commanded": self._commanded,
        }

    def state_dict(self) -> State:
        """Return a copy of all that the future depends on, actions and generators aside: arrays and plain numbers."""
        return copies(self._rows()) | {
            "physics": self.physics.state_dict(),
            "controller": self._controller.state_dict(),
            "rotors": self._rotors.state_dict(),
            "gimbal": self.gimbal.state_dict(),
            "scenarios": self.scenarios.state_dict(),
            "mix": self._mix.state_dict(),
        }

    def load_state_dict(self, state: State, stages: Sequence[StageSettings]) -> None:
        """Restore ``state`` bit for bit, in a task built alike; see :meth:`LandingVectorEnv.load_state_dict`.

        Raises:
            ValueError: the state isn't of such a task or of such ``stages``; nothing is changed.
        """
        state = conform(state, self.state_dict())
        unknown = set(state["stage_index"].tolist()) - set(range(len(stages)))
        if unknown:
            raise ValueError(f"stage_index: there is no stage {min(unknown)}; {len(stages)} stages are given")
        self._mix = StageMix.from_state_dict(state["mix"], stages)
        restore(self._rows(), state)
        self._controller.load_state_dict(state["controller"])
        self._rotors.load_state_dict(state["rotors"])
        self.gimbal.load_state_dict(state["gimbal"])
        self.scenarios.load_state_dict(state["scenarios"])
        self.physics.load_state_dict(state["physics"])

    # --- reward ---

    def _potentials(self, relative: Array) -> tuple[Array, Array]:
        distance = np.linalg.norm(relative[:, :2], axis=1)
        return (
            rewards.approach_potential(distance),
            rewards.descent_potential(distance, -relative[:, 2], self.task.pad_size),
        )

    def _add_rewards(self, terms: dict[str, Array], running: NDArray[np.bool_], turned: Array) -> None:
        """Add one decision's reward terms where the episode was running when it began."""
        task, weights = self.task, self.task.rewards
        relative, _ = self.pad_relative()
        distance, descent = self._potentials(relative)
        sink = rewards.excess_sink_rate(-self.physics.velocity[:, 2], -relative[:, 2], task.max_touchdown_speed)
        cosine, visible = self.pad_in_view()
        landed = self.outcome == Outcome.LANDED
        landing = landed * rewards.precision(np.linalg.norm(relative[:, :2], axis=1), task.pad_size)
        self._accumulate(terms, running, "approach", weights.approach * (distance - self._distance))
        self._accumulate(terms, running, "descent", weights.descent * (descent - self._descent))
        self._accumulate(terms, running, "speed", -weights.speed * sink)
        self._accumulate(terms, running, "time", np.full(self.num_envs, -weights.time))
        self._accumulate(terms, running, "landing", weights.landing * landing)
        self._accumulate(terms, running, "crash", -weights.crash * self._severity * (self.outcome == Outcome.CRASHED))
        self._accumulate(terms, running, "alignment", self._viz_weight * rewards.alignment(cosine))
        self._accumulate(terms, running, "not_visible", -self._not_visible_penalty * ~visible)
        self._accumulate(terms, running, "smoothness", -self._smooth_penalty * rewards.jerkiness(turned))
        self._distance, self._descent = distance, descent

    @staticmethod
    def _accumulate(terms: dict[str, Array], running: NDArray[np.bool_], name: str, value: Array) -> None:
        terms[name] += np.where(running, value, 0.0)

    # --- what can be seen ---

    def pad_relative(self) -> tuple[Array, Array]:
        """Return the pad's position (m) and velocity (m/s) relative to the drone, (N, 3) each, heading frame.

        The position is that of the touching point: at rest on the pad's centre its height is zero.
        """
        position, velocity, _ = self.scenarios.pad_motion(self.time)
        offset = np.column_stack([position, np.full(self.num_envs, PAD_TOP_HEIGHT + HULL_BOTTOM)])
        motion = np.column_stack([velocity, np.zeros(self.num_envs)])
        return (
            rotate_about_z(offset - self.physics.position, -self.scenarios.heading),
            rotate_about_z(motion - self.physics.velocity, -self.scenarios.heading),
        )

    def camera_orientation(self) -> Array:
        """Return the quaternions (N, 4) of the gimbal's inner frame in the world."""
        heading = quat_about(2, self.scenarios.heading)
        base = heading if self.task.gimbal_stabilized else self.physics.attitude
        return quat_multiply(base, view_quaternion(self.gimbal.angles))

    def pad_direction(self) -> Array:
        """Return the direction (N, 3) from camera to pad centre, in the gimbal's inner frame (view along −z)."""
        position, _, _ = self.scenarios.pad_motion(self.time)
        target = np.column_stack([position, np.full(self.num_envs, PAD_TOP_HEIGHT)])
        camera = self.physics.position - GIMBAL_DROP * self.physics.rotation[:, :, 2]
        view = quat_to_matrix(self.camera_orientation())
        direction = np.einsum("nji,nj->ni", view, target - camera)
        return direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)

    def pad_in_view(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the cosine between view axis and pad (N,), and whether its centre is inside the picture (N,)."""
        direction = self.pad_direction()
        depth = -direction[:, 2]
        reach = np.abs(direction[:, :2]).max(axis=1)
        return depth, (depth > 0.0) & (reach <= self._view_tangent * depth)

    def state(self) -> NDArray[np.float32]:
        """Return what the drone's own instruments tell, (N, ``state_dim``); heading frame.

        Velocity / limit (3); the attitudes of body (4) and gimbal (4) as quaternions; the range finder's distance to
        the surface below as a share of its longest (1), 1 where it measures nothing.
        """
        moving = self._motion()
        if not self.task.range_finder:
            return moving
        position, _, course = self.scenarios.pad_motion(self.time)
        distance = distance_below(self.physics.position, self.physics.rotation, position, course, self.task.pad_size)
        error = self.scenarios.range_error[np.arange(self.num_envs), self.decisions]
        measured = reading(distance, error, self.task.range_finder_range)
        return np.column_stack([moving, measured.astype(np.float32)])

    def _motion(self) -> NDArray[np.float32]:
        heading = self.scenarios.heading
        velocity = rotate_about_z(self.physics.velocity, -heading)
        attitude = quat_multiply(quat_about(2, -heading), self.physics.attitude)
        return motion(velocity, attitude, self.gimbal.angles, self._velocity_limit)

    def privileged(self) -> NDArray[np.float32]:
        """Return what only the simulator knows, (N, ``privileged_dim``).

        The pad's relative position / 5 m (3) and velocity / 2 m/s (3) in the heading frame; the direction to the pad in
        the camera's frame (3); the state without the range finder (11); under acceleration control the gimbal's rates /
        ``gimbal_max_rate`` (2), which no other value tells.
        """
        position, velocity = self.pad_relative()
        columns: list[NDArray[Any]] = [position / 5.0, velocity / 2.0, self.pad_direction(), self._motion()]
        if isinstance(self.gimbal, AccelerationGimbal):
            columns.append(self.gimbal.rates / self.task.gimbal_max_rate)
        return np.concatenate(columns, axis=1).astype(np.float32)

    def oracle_gimbal(self) -> NDArray[np.float32]:
        """Return the angles (N, 2) that look straight at the pad, as shares of their limits, clipped to [−1, 1]."""
        view = quat_to_matrix(view_quaternion(self.gimbal.angles))
        towards = angles_towards(np.einsum("nij,nj->ni", view, self.pad_direction()))
        return np.clip(towards / ANGLE_LIMITS, -1.0, 1.0).astype(np.float32)

    def views(self, ids: Ids | None = None) -> NDArray[np.uint8]:
        """Return the onboard grayscale views (n, size, size) of ``ids``, all if None."""
        if self._camera is None:
            raise RuntimeError("the task was built without pixels")
        views = self._camera.render(self.physics, self.scenarios, ids)
        if not self.task.randomization.of_images:
            return views
        rows, scenarios = np.arange(self.num_envs) if ids is None else ids, self.scenarios
        return expose(views, scenarios.blur[rows], scenarios.exposure[rows, self.decisions[rows]])

    def close(self) -> None:
        """Stop the cameras' threads."""
        if self._camera is not None:
            self._camera.close()


def gimbal_scale(stage: StageSettings) -> Array:
    """Return the shares (2,) of the gimbal's pitch and yaw range that a stage opens; a two-axis gimbal has no roll."""
    if stage.lock_down or not stage.gimbal_enabled:
        return np.zeros(2)
    pitch, _, yaw = stage.scale
    return np.array([0.0 if stage.yaw_only else pitch, 0.0 if stage.pitch_only else yaw])
