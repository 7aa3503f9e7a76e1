"""What differs from episode to episode: start pose, pad path, wind, and how the world looks.

Everything is drawn at the episode's start from its own generator, so an episode is a pure function of its seed,
its curriculum stage and the actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.state import State, copies, restore
from glideslope.settings import RandomizationSettings, StageSettings, TaskSettings

Array = NDArray[np.float64]
Ids = NDArray[np.intp]

GROUND_TEXTURES = ("ground_asphalt", "ground_grass", "ground_tiles", "ground_dirt", "ground_concrete")
PAD_TEXTURES = ("pad_h", "pad_rings", "pad_cross", "pad_quarters")
MAX_PAD_ACCELERATION = 3.0  # m/s², sideways: a ground vehicle on tyres skids at twice to three times as much


@dataclass(frozen=True)
class StageMix:
    """Which stage an episode is of: ``stage``, or with probability ``share`` one of ``earlier``, all alike likely."""

    stage: StageSettings
    index: int = 0
    earlier: tuple[StageSettings, ...] = ()  # each one's index is its place
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share: the share of earlier stages must be from 0 to 1, got {self.share}")

    def draw(self, rng: np.random.Generator) -> tuple[int, StageSettings]:
        """Return the index and the settings of one episode's stage."""
        if not self.earlier or rng.random() >= self.share:
            return self.index, self.stage
        index = int(rng.integers(len(self.earlier)))
        return index, self.earlier[index]

    def state_dict(self) -> State:
        """Return the mix as numbers; the stages themselves are given again to :meth:`from_state_dict`."""
        return {"index": self.index, "earlier": len(self.earlier), "share": self.share}

    @classmethod
    def from_state_dict(cls, state: State, stages: Sequence[StageSettings]) -> StageMix:
        """Return the mix that ``state`` was taken from, of the curriculum's ``stages``.

        Raises:
            ValueError: ``stages`` lacks one of its stages, or a number is of the wrong kind.
        """
        index, earlier, share = state["index"], state["earlier"], state["share"]
        if type(index) is not int or not 0 <= index < len(stages):
            raise ValueError(f"mix.index: there is no stage {index!r}; {len(stages)} stages are given")
        if type(earlier) is not int or not 0 <= earlier <= len(stages):
            raise ValueError(f"mix.earlier: there are no {earlier!r} stages; {len(stages)} are given")
        if not isinstance(share, float):
            raise ValueError(f"mix.share: a number is needed, got {share!r}")
        return cls(stages[index], index, tuple(stages[:earlier]), share)


@dataclass
class Scenarios:
    """The running episodes' scenarios, one row per environment (N)."""

    start_position: Array  # (N, 3) m
    start_velocity: Array  # (N, 3) m/s
    heading: Array  # (N,) rad, held by the controller all episode
    pad_origin: Array  # (N, 2) m
    pad_heading: Array  # (N,) rad, of the path at t = 0
    pad_speed: Array  # (N,) m/s along the path
    pad_sway: Array  # (N,) m, sideways amplitude of a sinusoidal path
    pad_sway_rate: Array  # (N,) rad/s
    pad_turn_rate: Array  # (N,) rad/s, of a circular path; 0 on the others
    wind_mean: Array  # (N, 3) m/s
    gust: Array  # (N, 3) m/s, amplitude
    gust_rate: Array  # (N,) rad/s
    gust_phase: Array  # (N,) rad
    ground_texture: NDArray[np.int64]  # (N,) index into GROUND_TEXTURES
    pad_texture: NDArray[np.int64]  # (N,) index into PAD_TEXTURES
    ground_tint: Array  # (N, 3)
    pad_tint: Array  # (N, 3)
    vehicle_tint: Array  # (N, 3)
    texture_scale: Array  # (N,) texture tiles per metre of ground
    sun_direction: Array  # (N, 3) unit
    sun_diffuse: Array  # (N,)
    sun_ambient: Array  # (N,)
    range_error: Array  # (N, D + 1), the range finder's by decision, as a share of the distance
    mass: Array  # (N,) share of the nominal mass and inertia
    thrust: Array  # (N,) share of the nominal thrust
    motor_lag: Array  # (N,) s, time constant of the rotors
    late: NDArray[np.bool_]  # (N, D + 1), whether the decision's action takes effect at the next one
    exposure: Array  # (N, D + 1), factor on each image's brightness
    blur: Array  # (N,) pixels, standard deviation

    @classmethod
    def empty(cls, num_envs: int, task: TaskSettings) -> Scenarios:
        """Return rows for ``num_envs`` environments, all zero but the shares of mass and thrust, which divide.

        D is the longest episode's number of decisions.
        """
        vectors = {"start_position", "start_velocity", "wind_mean", "gust", "sun_direction"}
        vectors |= {"ground_tint", "pad_tint", "vehicle_tint"}
        columns = {}
        for field in fields(cls):
            width = (3,) if field.name in vectors else (2,) if field.name == "pad_origin" else ()
            width = (task.episode_decisions + 1,) if field.name in ("range_error", "late", "exposure") else width
            dtype = {"ground_texture": np.int64, "pad_texture": np.int64, "late": np.bool_}.get(field.name, np.float64)
            columns[field.name] = np.zeros((num_envs, *width), dtype)
        columns["mass"] += 1.0
        columns["thrust"] += 1.0
        return cls(**columns)

    def state_dict(self) -> State:
        """Return every row."""
        return copies(vars(self))

    def load_state_dict(self, state: State) -> None:
        """Restore ``state``, of as many environments."""
        restore(vars(self), state)

    def draw(self, env: int, rng: np.random.Generator, task: TaskSettings, stage: StageSettings) -> None:
        """Fill row ``env`` for a new episode."""
        offset = stage.start_offset * np.sqrt(rng.uniform())
        bearing = rng.uniform(-np.pi, np.pi)
        height = rng.uniform(*task.start_height)
        self.start_position[env] = [offset * np.cos(bearing), offset * np.sin(bearing), height]
        self.start_velocity[env] = rng.uniform(-0.3, 0.3, 3)
        self.heading[env] = rng.uniform(-np.pi, np.pi)
        self._draw_pad(env, rng, task, stage)
        self._draw_wind(env, rng, stage)
        self._draw_look(env, rng, task.randomize_visuals)
        # What came later is drawn later: what is above stays what it was.
        self.range_error[env] = task.range_finder_noise * rng.standard_normal(self.range_error.shape[1])
        self._draw_randomization(env, rng, task.randomization)

    def _draw_pad(self, env: int, rng: np.random.Generator, task: TaskSettings, stage: StageSettings) -> None:
        path = task.pad_paths[rng.integers(len(task.pad_paths))]
        speed = rng.uniform(*stage.pad_speed)
        sway_rate, radius = rng.uniform(0.5, 1.5), rng.uniform(1.0, 3.0)
        turn = rng.choice([-1.0, 1.0])
        self.pad_origin[env] = 0.0
        self.pad_heading[env] = rng.uniform(-np.pi, np.pi)
        self.pad_speed[env] = 0.0 if path == "static" else speed
        self.pad_sway[env] = self.pad_sway_rate[env] = self.pad_turn_rate[env] = 0.0
        if path == "sinusoidal":
            # 0.8 ahead and at most 0.6 sideways: the speed never exceeds the one drawn.
            self.pad_speed[env] = 0.8 * speed
            sway_rate = min(sway_rate, MAX_PAD_ACCELERATION / (0.6 * speed)) if speed else sway_rate
            self.pad_sway[env] = 0.6 * speed / sway_rate
            self.pad_sway_rate[env] = sway_rate
        elif path == "circular":
            self.pad_turn_rate[env] = turn * speed / max(radius, speed**2 / MAX_PAD_ACCELERATION)

    def _draw_wind(self, env: int, rng: np.random.Generator, stage: StageSettings) -> None:
        strength, bearing = rng.uniform(0.0, stage.wind), rng.uniform(-np.pi, np.pi)
        along = np.array([np.cos(bearing), np.sin(bearing), 0.0])
        self.wind_mean[env] = 0.7 * strength * along
        self.gust[env] = 0.3 * strength * along
        self.gust_rate[env] = rng.uniform(0.5, 3.0)
        self.gust_phase[env] = rng.uniform(-np.pi, np.pi)

    def _draw_look(self, env: int, rng: np.random.Generator, randomize: bool) -> None:
        spread = 1.0 if randomize else 0.0
        self.ground_texture[env] = rng.integers(len(GROUND_TEXTURES)) if randomize else 0
        self.pad_texture[env] = rng.integers(len(PAD_TEXTURES)) if randomize else 0
        self.ground_tint[env] = 0.8 + spread * rng.uniform(-0.2, 0.2, 3)
        self.pad_tint[env] = 1.0 - spread * rng.uniform(0.0, 0.15, 3)
        self.vehicle_tint[env] = 0.3 + spread * rng.uniform(-0.15, 0.15, 3)
        self.texture_scale[env] = 0.3 + spread * rng.uniform(-0.15, 0.3)
        tilt, bearing = spread * rng.uniform(0.0, 0.9), rng.uniform(-np.pi, np.pi)
        self.sun_direction[env] = [np.sin(tilt) * np.cos(bearing), np.sin(tilt) * np.sin(bearing), -np.cos(tilt)]
        self.sun_diffuse[env] = 0.7 + spread * rng.uniform(-0.2, 0.15)
        self.sun_ambient[env] = 0.3 + spread * rng.uniform(-0.1, 0.15)

    def _draw_randomization(self, env: int, rng: np.random.Generator, ranges: RandomizationSettings) -> None:
        self.mass[env] = rng.uniform(*ranges.mass)
        self.thrust[env] = rng.uniform(*ranges.thrust)
        self.motor_lag[env] = rng.uniform(*ranges.motor_lag)
        latency = rng.uniform(*ranges.latency)
        self.late[env] = rng.random(self.late.shape[1]) < latency
        self.exposure[env] = rng.uniform(*ranges.exposure, self.exposure.shape[1])
        self.blur[env] = rng.uniform(*ranges.blur)

    def pad_motion(self, time: Array) -> tuple[Array, Array, Array]:
        """Return the pad's position (N, 2) m, velocity (N, 2) m/s and heading (N,) rad at ``time`` (N,) s."""
        turn = self.pad_turn_rate
        angle = turn * time
        safe = np.where(turn == 0.0, 1.0, turn)
        curved = turn != 0.0
        ahead = self.pad_speed * np.where(curved, np.sin(angle) / safe, time)
        aside = self.pad_speed * np.where(curved, (1.0 - np.cos(angle)) / safe, 0.0)
        ahead_rate = self.pad_speed * np.cos(angle)
        aside_rate = self.pad_speed * np.sin(angle)
        phase = self.pad_sway_rate * time
        aside = aside + self.pad_sway * np.sin(phase)
        aside_rate = aside_rate + self.pad_sway * self.pad_sway_rate * np.cos(phase)
        cosine, sine = np.cos(self.pad_heading), np.sin(self.pad_heading)
        position = self.pad_origin + np.stack([cosine * ahead - sine * aside, sine * ahead + cosine * aside], 1)
        velocity = np.stack([cosine * ahead_rate - sine * aside_rate, sine * ahead_rate + cosine * aside_rate], 1)
        moving = (ahead_rate != 0.0) | (aside_rate != 0.0)
        course = np.where(moving, np.arctan2(velocity[:, 1], velocity[:, 0]), self.pad_heading)
        return position, velocity, course

    def wind(self, time: Array) -> Array:
        """Return the air's velocity (N, 3) m/s at ``time`` (N,) s: a mean and one gust frequency."""
        return self.wind_mean + self.gust * np.sin(self.gust_rate * time + self.gust_phase)[:, None]
