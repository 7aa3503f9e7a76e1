"""The landing task: rates, limits, geometry, what is randomised, and the weights of the reward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from glideslope.settings.checks import Broken, CheckedSettings, Count, Flag, NonNegative, Positive, Real, Share

LARGEST_IMAGE = 1024
"""Largest edge of an image in pixels."""

Factor = Annotated[Real, Field(ge=0.5, le=1.5)]
Lag = Annotated[Real, Field(ge=0, le=1)]
Exposure = Annotated[Real, Field(ge=0.1, le=10)]
Blur = Annotated[Real, Field(ge=0, le=20)]


class RewardSettings(CheckedSettings):
    """Weights of the reward's terms, each at least 0; those of the gimbal's terms are the stages' own."""

    approach: NonNegative = 1.0
    """Per metre of horizontal approach to the pad."""
    descent: NonNegative = 2.0
    """Per metre of height lost above the pad."""
    speed: NonNegative = 1.0
    """Penalty per m/s of sinking faster than is safe at that height."""
    time: NonNegative = 0.05
    """Penalty per decision."""
    landing: NonNegative = 10.0
    """Bonus for landing in the pad's centre; half of it at the edge."""
    crash: NonNegative = 5.0
    """Penalty for a crash; a share of it for touching the pad too fast."""


class RandomizationSettings(CheckedSettings):
    """What differs from the nominal drone and camera: the lowest and highest value, drawn evenly for each episode."""

    mass: tuple[Factor, Factor] = (1.0, 1.0)
    """Mass and inertia as a share of those that the controller reckons with."""
    thrust: tuple[Factor, Factor] = (1.0, 1.0)
    """Thrust of the rotors as a share of that which the controller reckons with."""
    motor_lag: tuple[Lag, Lag] = (0.0, 0.0)
    """Time constant of the rotors' thrust in seconds."""
    latency: tuple[Share, Share] = (0.0, 0.0)
    """Probability that an action takes effect a decision late."""
    exposure: tuple[Exposure, Exposure] = (1.0, 1.0)
    """Factor on the brightness of the images, drawn for each image."""
    blur: tuple[Blur, Blur] = (0.0, 0.0)
    """Standard deviation of a Gaussian blur of the images in pixels."""

    def broken_rules(self) -> Iterator[Broken]:
        for name in type(self).model_fields:
            low, high = pair = getattr(self, name)
            if low > high:
                yield Broken(name, "the lowest value must not be above the highest", pair)

    @property
    def of_images(self) -> bool:
        """Whether the camera's images differ from the rendered ones."""
        return self.exposure != (1.0, 1.0) or self.blur != (0.0, 0.0)


REWARD_TERMS = (*RewardSettings.model_fields, "alignment", "not_visible", "smoothness")
"""The terms of the reward by name; the weights of the last three are the stages' own."""


class TaskSettings(CheckedSettings):
    """The landing task: rates, limits, geometry and what is randomised."""

    image_size: Annotated[Count, Field(le=LARGEST_IMAGE)] = 84
    """Edge of the square camera image in pixels."""
    decision_hz: Count = 6
    """Decisions of the policy per second."""
    physics_hz: Count = 240
    """Physics steps per second; a whole multiple of controller_hz."""
    controller_hz: Count = 60
    """Updates of the flight controller per second; a whole multiple of decision_hz."""
    episode_seconds: Annotated[Positive, Field(le=3600)] = 18.0
    """Time limit of an episode in seconds."""
    max_horizontal_speed: Positive = 2.0
    """Largest horizontal speed command in m/s."""
    max_vertical_speed: Positive = 1.0
    """Largest vertical speed command in m/s."""
    max_touchdown_speed: Positive = 0.6
    """Largest vertical speed in m/s that counts as landing."""
    pad_size: Positive = 1.4
    """Edge of the square pad in metres."""
    camera_fov_deg: Annotated[Positive, Field(lt=180)] = 60.0
    """Field of view of the camera in degrees."""
    range_finder: Flag = True
    """Whether the policy reads a downward range finder."""
    range_finder_range: tuple[Positive, Positive] = (0.1, 8.0)
    """Shortest and longest distance that the range finder measures in metres."""
    range_finder_noise: Annotated[NonNegative, Field(le=0.5)] = 0.05
    """Standard deviation of the range finder's error as a share of the distance."""
    gimbal_control: Literal["position", "velocity", "acceleration"] = "position"
    """What the gimbal actions command."""
    gimbal_stabilized: Flag = True
    """Whether the gimbal cancels the tilt of the drone's body."""
    gimbal_max_rate: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 3.0
    """Largest angular rate of the gimbal in rad/s."""
    gimbal_max_acceleration: Annotated[Positive, Field(ge=1e-3, le=1e6)] = 10.0
    """Largest angular acceleration of the gimbal in rad/s²; of acceleration control alone."""
    start_height: tuple[Positive, Positive] = (3.0, 5.0)
    """Lowest and highest start in metres."""
    pad_paths: Annotated[tuple[Literal["static", "straight", "sinusoidal", "circular"], ...], Field(min_length=1)] = (
        "static",
        "straight",
        "sinusoidal",
        "circular",
    )
    """Paths of the pad, each as likely as the others."""
    arena_radius: Positive = 8.0
    """Horizontal distance to the pad in metres that is a crash."""
    arena_height: Positive = 8.0
    """Height in metres that is a crash."""
    randomize_visuals: Flag = True
    """Whether textures, colours and light differ by episode."""
    randomization: RandomizationSettings = RandomizationSettings()
    """Lowest and highest difference of drone and camera from the nominal ones, drawn for each episode."""
    rewards: RewardSettings = RewardSettings()
    """Weights of the reward's terms."""

    @property
    def episode_decisions(self) -> int:
        """Length of the longest episode in decisions of the policy."""
        return round(self.episode_seconds * self.decision_hz)

    @property
    def moving_paths(self) -> tuple[Literal["straight", "sinusoidal", "circular"], ...]:
        """Those of `pad_paths` along which the pad moves."""
        return tuple(path for path in self.pad_paths if path != "static")

    def broken_rules(self) -> Iterator[Broken]:
        yield from self._broken_ratio("controller_hz", "decision_hz")
        yield from self._broken_ratio("physics_hz", "controller_hz")
        if self.episode_decisions < 1:
            rule = f"must be long enough for a decision: at least {1 / self.decision_hz:.4g}"
            yield Broken("episode_seconds", rule, self.episode_seconds, ("decision_hz",))
        low, high = self.start_height
        if low > high:
            yield Broken("start_height", "the lowest start must not be above the highest", self.start_height)
        if high >= self.arena_height:
            rule = f"must be below arena_height ({self.arena_height:g})"
            yield Broken("start_height", rule, self.start_height, ("arena_height",))
        shortest, longest = self.range_finder_range
        if shortest >= longest:
            rule = "the shortest distance must be below the longest"
            yield Broken("range_finder_range", rule, self.range_finder_range)
        if len(set(self.pad_paths)) < len(self.pad_paths):
            yield Broken("pad_paths", "must name each path once", self.pad_paths)

    def _broken_ratio(self, fast_name: str, slow_name: str) -> Iterator[Broken]:
        fast, slow = getattr(self, fast_name), getattr(self, slow_name)
        if fast % slow:
            multiple = max(1, round(fast / slow)) * slow
            divisor = min((d for d in range(1, fast + 1) if fast % d == 0), key=lambda d: (abs(d - slow), d))
            rule = (
                f"must be a whole multiple of {slow_name} ({slow}); "
                f"the nearest are {fast_name}={multiple} and {slow_name}={divisor}"
            )
            yield Broken(fast_name, rule, fast, (slow_name,))
