"""Gymnasium's vector and single APIs of the landing task, together since the single one is a vector of one.

Observations are dictionaries of ``pixels`` uint8 (frame_stack, size, size) and ``state`` float32 (frame_stack, 12),
(frame_stack, 11) without the range finder, newest last; on request ``privileged`` float32 (20,), with the gimbal's
rates (22,) under acceleration control, and ``oracle_gimbal`` float32 (2,), the gimbal angles that look straight at the
pad as shares of their limits. Actions are float32 (5,) in [−1, 1]: velocity command (vx, vy, vz) in the heading frame;
gimbal pitch and yaw, as angles, rates or accelerations (``gimbal_control``).

The vector environment resets an ended episode in the same step (``AutoresetMode.SAME_STEP``): the observation
returned is the next episode's first, the ended one's last is in ``infos["final_obs"]``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from glideslope.envs.landing import LandingTask, Outcome, StepResult
from glideslope.envs.layout import ACTION_DIM, GIMBAL_AXES, VELOCITY_BOUND, privileged_dim, state_dim
from glideslope.envs.state import State, conform, copies, restore
from glideslope.settings import FULL_TASK, StageSettings, TaskSettings

if TYPE_CHECKING:
    from glideslope.envs.camera import Camera

Observation = dict[str, NDArray[Any]]

CHASE_RESOLUTION = (480, 360)


class LandingVectorEnv(VectorEnv[Observation, NDArray[np.float32], NDArray[Any]]):
    """N landing episodes in one process, simulated and rendered in batches."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: TaskSettings | Mapping[str, Any] | None = None,
        stage: StageSettings | Mapping[str, Any] | None = None,
        pixels: bool = True,
        privileged: bool = False,
        oracle_gimbal: bool = False,
        frame_stack: int = 3,
        action_repeat: int = 1,
        device: str = "cpu",
        num_threads: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Build N simulations.

        Args:
            num_envs: parallel episodes N.
            task: the task's settings, whole or only what differs from the defaults.
            stage: the curriculum stage to play; the full task by default.
            pixels: observe the onboard view. Without it nothing is rendered.
            privileged: observe the simulator's own state as well.
            oracle_gimbal: observe the gimbal angles that look straight at the pad as well: a target to be learnt.
            frame_stack: how many of the latest frames an observation holds.
            action_repeat: decisions for which an action is held.
            device: where to render: ``cpu``, ``cuda`` or ``cuda:N``.
            num_threads: threads for physics and CPU rendering; 0 uses all processors.
            render_mode: ``rgb_array`` lets :meth:`render` draw a chase view (360, 480, 3) per environment.

        Raises:
            SettingsError: a setting is out of range or unknown.
        """
        self.num_envs = num_envs
        self.render_mode = render_mode
        self._task_settings = task if isinstance(task, TaskSettings) else TaskSettings.from_config(task or {})
        stage = FULL_TASK if stage is None else stage
        self._stage = stage if isinstance(stage, StageSettings) else StageSettings.from_config(stage)
        self._task = LandingTask(
            num_envs,
            self._task_settings,
            self._stage,
            pixels=pixels,
            action_repeat=action_repeat,
            device=device,
            num_threads=num_threads,
        )
        self.metadata = self.metadata | {"render_fps": self._task_settings.decision_hz / action_repeat}
        self._device = device
        self._with_pixels, self._with_privileged, self._stack = pixels, privileged, frame_stack
        self._with_oracle = oracle_gimbal
        self.single_observation_space = observation_space(
            self._task_settings, frame_stack, pixels=pixels, privileged=privileged, oracle_gimbal=oracle_gimbal
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        size = self._task_settings.image_size
        self._pixels = np.zeros((num_envs, frame_stack, size, size), np.uint8)
        self._states = np.zeros((num_envs, frame_stack, state_dim(self._task_settings)), np.float32)
        self._seeds: list[int] = []
        self._episodes = np.zeros(num_envs, np.int64)
        self._queue: deque[tuple[int, int]] | None = None
        self._scenario = np.full(num_envs, -1, np.int64)
        self._idle = np.zeros(num_envs, bool)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._chase: Camera | None = None

    @property
    def task(self) -> LandingTask:
        """The simulations themselves: privileged, for baselines and tests."""
        return self._task

    def set_stage(
        self, stage: StageSettings, index: int = 0, *, earlier: Sequence[StageSettings] = (), share: float = 0.0
    ) -> None:
        """Draw the episodes that begin from now on from ``stage``; ``infos["stage"]`` tells each one's index.

        An episode is with probability ``share`` of one of ``earlier`` instead, all alike likely, its index the place
        there. The seed and the episode's number decide which; scenarios asked for by seed are of ``stage``.

        Raises:
            ValueError: the share isn't from 0 to 1.
        """
        self._task.set_stage(stage, index, earlier=earlier, share=share)

    def state_dict(self) -> State:
        """Return a copy of all that the future depends on, actions aside: NumPy arrays and plain data, nested.

        Stages are saved as their indices, observations as they are: nothing is drawn anew.
        """
        return copies(self._rows()) | {
            "num_envs": self.num_envs,
            "seeds": list(self._seeds),
            "queue": None if self._queue is None else [list(entry) for entry in self._queue],
            "task": self._task.state_dict(),
        }

    def load_state_dict(self, state: State, stages: Sequence[StageSettings]) -> None:
        """Restore ``state``: the environment continues as the one that it was taken from, bit for bit.

        What the next action answers is told by :meth:`observations`.

        Args:
            state: what :meth:`state_dict` returned; arrays may have become tensors in main memory.
            stages: the curriculum's stages, of which the state holds the indices; the ``earlier`` ones of
                :meth:`set_stage` are the first of them.

        Raises:
            ValueError: the state is of an environment built otherwise (number of environments, pixels, picture
                size, frames), incomplete, or of a stage that isn't given. Nothing is changed, the message names
                the key.
        """
        count = state.get("num_envs", self.num_envs)
        if count != self.num_envs:
            raise ValueError(f"num_envs: the state is of {count} environments, this one has {self.num_envs}")
        state = conform(state, self.state_dict())
        seeds, queue = _saved_seeds(state["seeds"], self.num_envs), _saved_queue(state["queue"])
        self._task.load_state_dict(state["task"], stages)
        self._seeds, self._queue = seeds, queue
        restore(self._rows(), state)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new episode in every environment.

        Args:
            seed: environment i is seeded with ``seed + i``, or with ``seed[i]``. Its k-th episode depends on that
                seed and k alone. None keeps the seeds in use (random ones at first).
            options: ``scenario_seeds``: play exactly these scenarios, one episode each, handed out in order as
                environments become free; an environment left without one idles (``infos["scenario"]`` is −1).
        """
        self._reseed(seed)
        queue = (options or {}).get("scenario_seeds")
        self._queue = None if queue is None else deque(enumerate(int(s) for s in queue))
        everyone = np.arange(self.num_envs)
        self._idle[:] = False
        self._begin(everyone)
        return self.observations(), self._infos()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Fly one decision everywhere; ended episodes are followed by new ones at once.

        ``infos`` holds, per environment, every reward term of this step (``reward/<term>``) and ``outcome``,
        ``stage`` and ``scenario`` of the episode that runs now; for ended episodes ``final_obs`` and
        ``final_info`` with the same keys plus ``success``, ``touchdown_error_m``, ``touchdown_speed``,
        ``episode_return`` and ``episode_length``.
        """
        if not self._seeds:
            raise gym.error.ResetNeeded("call reset() before step()")
        reward, terminated, truncated, infos = self.advance(actions)
        ended = terminated | truncated
        if ended.any():
            last = self.observations()
            final_obs = np.full(self.num_envs, None, dtype=object)
            for env in np.flatnonzero(ended):
                final_obs[env] = {name: value[env].copy() for name, value in last.items()}
            infos |= {"final_obs": final_obs, "_final_obs": ended}
            self._begin(np.flatnonzero(ended))
            infos |= self._status()
        return self.observations(), reward, terminated, truncated, infos

    def advance(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """As :meth:`step`, but ended episodes are left standing and no observation is put together."""
        if not self._seeds:
            raise gym.error.ResetNeeded("call reset() before step()")
        result = self._task.step(actions)
        self._returns += result.reward
        self._lengths += ~self._idle
        ended = (result.outcome != Outcome.RUNNING) & ~self._idle
        terminated = ended & (result.outcome != Outcome.TIMED_OUT)
        truncated = ended & (result.outcome == Outcome.TIMED_OUT)
        self._push()
        infos = self._infos(result)
        if ended.any():
            infos |= {"final_info": self._final_info(ended, infos, result), "_final_info": ended}
        return result.reward, terminated, truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Chase views (360, 480, 3), one per environment, if ``render_mode`` is ``rgb_array``."""
        if self.render_mode != "rgb_array":
            return None
        return tuple(self.chase_view(env) for env in range(self.num_envs))

    def chase_view(self, env: int) -> NDArray[np.uint8]:
        """Return the drone of ``env`` from behind and above, RGB (360, 480, 3)."""
        if self._chase is None:
            from glideslope.envs.camera import chase_camera  # loads the renderer, which takes seconds

            self._chase = chase_camera(self._task.model, CHASE_RESOLUTION, self._device)
        return self._chase.render(self._task.physics, self._task.scenarios, np.array([env]))[0]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        self._task.close()

    # --- internals ---

    def _rows(self) -> dict[str, NDArray[Any]]:
        """Return the environment's own arrays, a row per episode, by the name under which they are saved."""
        rows: dict[str, NDArray[Any]] = {
            "states": self._states,
            "episodes": self._episodes,
            "scenario": self._scenario,
            "idle": self._idle,
            "returns": self._returns,
            "lengths": self._lengths,
        }
        return rows | {"pixels": self._pixels} if self._with_pixels else rows

    def _reseed(self, seed: int | Sequence[int | None] | None) -> None:
        if seed is None and self._seeds:
            return
        fresh = [int(s) for s in np.random.SeedSequence().generate_state(self.num_envs)]
        if seed is None:
            self._seeds = fresh
        elif isinstance(seed, int | np.integer):
            self._seeds = [int(seed) + env for env in range(self.num_envs)]
        else:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed needs one entry per environment ({self.num_envs}), got {len(seed)}")
            self._seeds = [new if s is None else int(s) for s, new in zip(seed, fresh, strict=True)]
        self._episodes[:] = 0

    def _begin(self, ids: NDArray[np.intp]) -> None:
        """Start new episodes in ``ids``, or let them idle where the queue of scenarios is empty."""
        starting: list[np.intp] = []
        generators: list[np.random.Generator] = []
        mixers: list[np.random.Generator | None] = []
        for env in ids:
            self._scenario[env] = -1
            mixer = None
            if self._queue is None:
                self._episodes[env] += 1
                origin = [self._seeds[env], int(self._episodes[env])]
                generator = np.random.default_rng(origin)
                # A stream of its own: the scenario drawn doesn't depend on whether stages are mixed.
                mixer = np.random.default_rng(np.random.SeedSequence(origin, spawn_key=(1,)))
            elif self._queue:
                # Ordinary episodes count from 1: no seed ever trains on a scenario that is measured.
                self._scenario[env], scenario_seed = self._queue.popleft()
                generator = np.random.default_rng([scenario_seed, 0])
            else:
                self._idle[env] = True
                continue
            starting.append(env)
            generators.append(generator)
            mixers.append(mixer)
        self._task.stop(np.flatnonzero(self._idle))
        if not starting:
            return
        started = np.array(starting)
        self._task.reset(started, generators, mixers)
        self._returns[started] = 0.0
        self._lengths[started] = 0
        if self._with_pixels:
            everyone = len(started) == self.num_envs
            self._pixels[started] = self._task.views(None if everyone else started)[:, None]
        self._states[started] = self._task.state()[started, None]

    def _push(self) -> None:
        """Append everybody's newest frame to the stacks."""
        if self._with_pixels:
            self._pixels[:, :-1] = self._pixels[:, 1:]
            if not self._idle.any():
                self._pixels[:, -1] = self._task.views()
            elif not self._idle.all():
                seeing = np.flatnonzero(~self._idle)
                self._pixels[seeing, -1] = self._task.views(seeing)
        self._states[:, :-1] = self._states[:, 1:]
        self._states[:, -1] = self._task.state()

    def observations(self) -> Observation:
        """Return the current observation of every environment, (N, …) arrays of its own."""
        observations: Observation = {"state": self._states.copy()}
        if self._with_pixels:
            observations["pixels"] = self._pixels.copy()
        if self._with_privileged:
            observations["privileged"] = self._task.privileged()
        if self._with_oracle:
            observations["oracle_gimbal"] = self._task.oracle_gimbal()
        return observations

    def _infos(self, result: StepResult | None = None) -> dict[str, Any]:
        everyone = np.ones(self.num_envs, bool)
        infos: dict[str, Any] = self._status()
        if result is not None:
            infos |= {f"reward/{name}": term for name, term in result.terms.items()}
        return infos | {f"_{key}": everyone for key in infos}

    def _status(self) -> dict[str, NDArray[np.int64]]:
        return {
            "outcome": self._task.outcome.copy(),
            "stage": self._task.stage_index.copy(),
            "scenario": self._scenario.copy(),
        }

    def _final_info(self, ended: NDArray[np.bool_], infos: dict[str, Any], result: StepResult) -> dict[str, Any]:
        """Return how the episodes that ended went, in Gymnasium's layout."""
        final = {key: value for key, value in infos.items() if not key.startswith("_")} | {
            "success": result.outcome == Outcome.LANDED,
            "touchdown_error_m": result.touchdown_error,
            "touchdown_speed": result.touchdown_speed,
            "episode_return": self._returns.copy(),
            "episode_length": self._lengths.copy(),
        }
        return final | {f"_{key}": ended for key in final}


class LandingEnv(gym.Env[Observation, NDArray[np.float32]]):
    """One landing episode at a time: the vector environment's first row, without its automatic reset."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 6}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        """As :class:`LandingVectorEnv` with ``num_envs=1``."""
        self._vector = LandingVectorEnv(1, render_mode=render_mode, **kwargs)
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": self._vector.metadata["render_fps"]}
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    @property
    def task(self) -> LandingTask:
        """The simulation itself: privileged, for baselines and tests."""
        return self._vector.task

    def set_stage(
        self, stage: StageSettings, index: int = 0, *, earlier: Sequence[StageSettings] = (), share: float = 0.0
    ) -> None:
        """Draw the episodes that begin from now on as :meth:`LandingVectorEnv.set_stage` says."""
        self._vector.set_stage(stage, index, earlier=earlier, share=share)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new episode; see :meth:`LandingVectorEnv.reset`."""
        super().reset(seed=seed)
        observations, infos = self._vector.reset(seed=seed, options=options)
        return _first(observations), _first_info(infos)

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Fly one decision; ``info`` holds the reward terms and, at the end, how the episode went."""
        reward, terminated, truncated, infos = self._vector.advance(np.asarray(action)[None])
        info = _first_info(infos) | _first_info(infos.get("final_info", {}))
        return _first(self._vector.observations()), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> NDArray[np.uint8] | None:
        """Return the chase view (360, 480, 3), if ``render_mode`` is ``rgb_array``."""
        return None if self.render_mode != "rgb_array" else self._vector.chase_view(0)

    def close(self) -> None:
        """Stop the threads."""
        self._vector.close()


def observation_space(
    task: TaskSettings, frame_stack: int, *, pixels: bool, privileged: bool, oracle_gimbal: bool = False
) -> gym.spaces.Dict:
    """Return the observation space of one environment."""
    bound, size = VELOCITY_BOUND, task.image_size
    instruments = gym.spaces.Box(-bound, bound, (frame_stack, state_dim(task)), np.float32)
    spaces: dict[str, gym.Space[Any]] = {"state": instruments}
    if pixels:
        spaces["pixels"] = gym.spaces.Box(0, 255, (frame_stack, size, size), np.uint8)
    if privileged:
        spaces["privileged"] = gym.spaces.Box(-np.inf, np.inf, (privileged_dim(task),), np.float32)
    if oracle_gimbal:
        spaces["oracle_gimbal"] = gym.spaces.Box(-1.0, 1.0, (len(GIMBAL_AXES),), np.float32)
    return gym.spaces.Dict(spaces)


def _saved_seeds(seeds: Any, num_envs: int) -> list[int]:
    """Return the seeds of a saved state: one per environment, or none before the first reset."""
    if not isinstance(seeds, list) or len(seeds) not in (0, num_envs) or not _whole(seeds):
        raise ValueError(f"seeds: {num_envs} whole numbers are needed, or none, got {seeds!r}")
    return list(seeds)


def _saved_queue(queue: Any) -> deque[tuple[int, int]] | None:
    """Return the scenarios still to be played, [number, seed] each; None where episodes are ordinary ones."""
    if queue is None:
        return None
    if not isinstance(queue, list) or not all(isinstance(e, list) and len(e) == 2 and _whole(e) for e in queue):
        raise ValueError(f"queue: None or pairs [number, seed] are needed, got {queue!r}")
    return deque((number, seed) for number, seed in queue)


def _whole(values: list[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _first(observations: Observation) -> Observation:
    return {name: value[0] for name, value in observations.items()}


def _first_info(infos: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in infos.items() if key not in ("final_info", "final_obs")}
    return {key: value[0] for key, value in shown.items() if not key.startswith("_")}
