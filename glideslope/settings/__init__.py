"""Every setting as a frozen, checked object: a plain mapping in, `Settings` out, or a report of every fault.

The description below a field is part of it: `Settings.model_fields["lr"].description`.

>>> try:
...     TaskSettings.from_config({"image_sise": 64, "pad_size": -1})
... except SettingsError as error:
...     print(error)
pad_size=-1: must be greater than 0
image_sise=64: unknown key; did you mean image_size?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from glideslope.errors import Fault, SettingsError, listed, meant
from glideslope.settings.checks import (
    Broken,
    CheckedSettings,
    Count,
    Device,
    Flag,
    Frames,
    NonNegative,
    Positive,
    PositiveShare,
    Rate,
    Seed,
    Share,
    SomeFrames,
    StageChoice,
    StageName,
    Text,
    Whole,
)
from glideslope.settings.intervals import Z_95, wilson_interval

__all__ = [
    "FULL_TASK",
    "ActorCriticSettings",
    "AgentSettings",
    "AnyActorCriticSettings",
    "AttentionActorCriticSettings",
    "AttentionSettings",
    "AutoregressiveActorSettings",
    "CommandSettings",
    "CompareSettings",
    "ConvEncoderSettings",
    "CrossAttentionEncoderSettings",
    "CurriculumSettings",
    "EncoderSettings",
    "EvaluateSettings",
    "PatchEncoderSettings",
    "PreviewSettings",
    "RewardSettings",
    "Settings",
    "StageSettings",
    "StateEncoderSettings",
    "SweepSettings",
    "TaskSettings",
    "least_image_size",
    "select_stages",
]

# --- The task -------------------------------------------------------------------------------------


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
    """Penalty for a crash."""


class TaskSettings(CheckedSettings):
    """The landing task: rates, limits, geometry and what is randomised."""

    image_size: Annotated[Count, Field(le=1024)] = 84
    """Edge of the square camera image in pixels."""
    decision_hz: Count = 6
    """Decisions of the policy per second."""
    physics_hz: Count = 240
    """Physics steps per second; a whole multiple of controller_hz."""
    controller_hz: Count = 60
    """Updates of the flight controller per second; a whole multiple of decision_hz."""
    episode_seconds: Positive = 18.0
    """Time limit of an episode in seconds."""
    max_horizontal_speed: Positive = 2.0
    """Largest horizontal speed command in m/s."""
    max_vertical_speed: Positive = 1.0
    """Largest vertical speed command in m/s."""
    max_touchdown_speed: Positive = 1.1
    """Largest vertical speed in m/s that counts as landing."""
    pad_size: Positive = 1.4
    """Edge of the square pad in metres."""
    camera_fov_deg: Annotated[Positive, Field(lt=180)] = 60.0
    """Field of view of the camera in degrees."""
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
    pad_paths: Annotated[
        tuple[Literal["static", "straight", "sinusoidal", "circular"], ...], Field(min_length=1)
    ] = ("static", "straight", "sinusoidal", "circular")
    """Paths of the pad, each as likely as the others."""
    arena_radius: Positive = 8.0
    """Horizontal distance to the pad in metres that is a crash."""
    arena_height: Positive = 8.0
    """Height in metres that is a crash."""
    randomize_visuals: Flag = True
    """Whether textures, colours and light differ by episode."""
    rewards: RewardSettings = RewardSettings()
    """Weights of the reward's terms."""

    @property
    def episode_decisions(self) -> int:
        """The longest episode in decisions of the policy."""
        return round(self.episode_seconds * self.decision_hz)

    @property
    def moving_paths(self) -> tuple[Literal["straight", "sinusoidal", "circular"], ...]:
        """The paths along which the pad moves."""
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


# --- The curriculum -------------------------------------------------------------------------------


class StageSettings(CheckedSettings):
    """A stage of the curriculum: what the gimbal may do and is rewarded for, and how hard episodes are."""

    name: StageName
    """Name of the stage, unique in its curriculum."""
    gimbal_enabled: Flag = True
    """Whether the policy moves the gimbal."""
    lock_down: Flag = False
    """Whether the camera is locked looking straight down."""
    scale: tuple[Share, Share, Share] = (1.0, 0.0, 1.0)
    """Share of the angle range [pitch, roll, yaw]; the gimbal has no roll axis."""
    include_viz_reward: Flag = True
    """Whether looking at the pad is rewarded and losing it penalised."""
    viz_weight: NonNegative = 0.05
    """Reward per decision for looking straight at the pad."""
    not_visible_penalty: NonNegative = 0.1
    """Penalty per decision with the pad out of view."""
    smooth_penalty: NonNegative = 0.05
    """Penalty per rad² that the gimbal turns in a decision."""
    yaw_only: Flag = False
    """Whether pitch is locked."""
    pitch_only: Flag = False
    """Whether yaw is locked."""
    pad_speed: tuple[NonNegative, NonNegative] = (0.0, 0.5)
    """Lowest and highest speed of a moving pad in m/s."""
    start_offset: NonNegative = 2.5
    """Largest horizontal distance to the pad at the start in metres."""
    wind: NonNegative = 0.5
    """Largest wind speed in m/s."""

    def broken_rules(self) -> Iterator[Broken]:
        if self.yaw_only and self.pitch_only:
            yield Broken("pitch_only", "yaw_only and pitch_only exclude each other", True, ("yaw_only",))
        if self.pad_speed[0] > self.pad_speed[1]:
            yield Broken("pad_speed", "the lowest speed must not be above the highest", self.pad_speed)


FULL_TASK = StageSettings(name="S4_full")
"""The whole task: the gimbal over its full range. Its values are the defaults of a stage."""


class CurriculumSettings(CheckedSettings):
    """When the curriculum advances or goes back, and its stages; those after `last_stage` are not used."""

    window: Count = 100
    """Episodes that the success rate is taken over."""
    min_episodes: Count = 80
    """Episodes that the window must hold."""
    success_rate: PositiveShare = 0.85
    """Success rate over the window to be reached."""
    criterion: Literal["success_rate", "wilson_lower_bound"] = "success_rate"
    """What must reach it, the rate itself or the lower bound of its 95% Wilson score interval."""
    require_consecutive_windows: Count = 5
    """Episodes in a row at which all conditions hold."""
    min_stage_episodes: Whole = 0
    """Episodes to be played in a stage, those of the cooldown included."""
    cooldown_episodes: Whole = 0
    """Episodes after a change of stage that the window leaves out."""
    demotion_rate: Share | None = None
    """Success rate over the window at or below which a stage is given up for the one before; null for never."""
    replay_earlier_stages: Annotated[NonNegative, Field(lt=1)] = 0.0
    """Share of the episodes that are of an earlier stage."""
    last_stage: Whole = 0
    """Index of the last stage to be played."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1)]
    """The stages in order."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages that are played."""
        return tuple(stage.name for stage in self.stages[: self.last_stage + 1])

    def broken_rules(self) -> Iterator[Broken]:
        if self.min_episodes > self.window:
            rule = f"must not be greater than window ({self.window})"
            yield Broken("min_episodes", rule, self.min_episodes, ("window",))
        highest = wilson_interval(self.window, self.window)[0]
        if self.criterion == "wilson_lower_bound" and highest < self.success_rate:
            yield Broken(
                "success_rate", self._out_of_reach(highest), self.success_rate, ("criterion", "window")
            )
        if self.demotion_rate is not None and self.demotion_rate >= self.success_rate:
            rule = f"must be less than success_rate ({self.success_rate:.15g})"
            yield Broken("demotion_rate", rule, self.demotion_rate, ("success_rate",))
        if self.last_stage >= len(self.stages):
            rule = f"must be at most {len(self.stages) - 1}, the index of the last of the stages"
            yield Broken("last_stage", rule, self.last_stage)
        names = [stage.name for stage in self.stages]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield Broken(f"stages.{i}.name", f"stage {names.index(name)} has this name too", name)

    def _out_of_reach(self, highest: float) -> str:
        """What to change where even a window full of landings has a lower bound below `success_rate`."""
        floor = math.floor(highest * 1000) / 1000
        told = f"the lower bound of {self.window} landings in {self.window} is only {floor:.3f}"
        # Of n landings in n it is n / (n + z²), up to rounding.
        window = Z_95**2 * self.success_rate / max(1 - self.success_rate, 1e-12)
        if window > 1e9:
            return f"{told}, and no window's reaches this; a rate of {floor:.3f} or less can be reached"
        smallest = max(math.floor(window) - 1, 1)
        while wilson_interval(smallest, smallest)[0] < self.success_rate:
            smallest += 1
        return f"{told}; the smallest window that can reach this is {smallest}"


# --- The agent ------------------------------------------------------------------------------------

_LARGEST_IMAGE = 1024
_WIDTH, _LARGEST_WIDTH = 64, 4096  # of tokens
_KERNEL = 3  # edge of the encoder's convolutions, which pad nothing


def least_image_size(strides: Sequence[int]) -> int:
    """The smallest image edge in pixels that unpadded 3 x 3 convolutions of these strides can read."""
    size = 1
    for stride in reversed(strides):
        size = (size - 1) * stride + _KERNEL
    return size


def _too_small(image_size: int, strides: Sequence[int]) -> str | None:
    least = least_image_size(strides)
    return (
        f"must be at least {least} for the encoder's strides {list(strides)}" if image_size < least else None
    )


def _neighbours(fits: Callable[[int], object], number: int, largest: int) -> list[str]:
    """Of the numbers from 1 to `largest` that fit, the first on either side of `number`."""
    below = next((str(n) for n in range(number, 0, -1) if fits(n)), "")
    above = next((str(n) for n in range(number, largest + 1) if fits(n)), "")
    return [n for n in (below, above) if n]


def _nearest(fits: Callable[[int], object], number: int, largest: int) -> str:
    """`the nearest are X and Y`."""
    near = _neighbours(fits, number, largest)
    return f"the nearest {'are' if len(near) > 1 else 'is'} {listed(near, 'and')}"


def _broken_heads(d_model: int, nhead: int) -> Iterator[Broken]:
    """The fault of heads that can't share the width evenly: of the one that isn't the default."""
    if d_model % nhead == 0:
        return
    if d_model == _WIDTH:
        rule = (
            f"must divide d_model ({d_model}); {_nearest(lambda heads: d_model % heads == 0, nhead, d_model)}"
        )
        yield Broken("nhead", rule, nhead, ("d_model",))
    else:
        nearest = _nearest(lambda width: width % nhead == 0, d_model, _LARGEST_WIDTH)
        yield Broken(
            "d_model", f"must be a whole multiple of nhead ({nhead}); {nearest}", d_model, ("nhead",)
        )


# A norm over a single unit is 0 whatever comes in.
Width: TypeAlias = Annotated[Count, Field(ge=2, le=_LARGEST_WIDTH)]
Strides: TypeAlias = Annotated[tuple[Annotated[Count, Field(le=8)], ...], Field(min_length=1, max_length=12)]


class ConvEncoderSettings(CheckedSettings):
    """The encoder of DrQ-v2: 3 x 3 convolutions on the pixels, one for each stride."""

    name: Literal["original"] = "original"
    """Name of the encoder."""
    channels: Annotated[Count, Field(le=4096)] = 32
    """Channels of each convolution."""
    strides: Strides = (2, 1, 1, 1)
    """Stride of each convolution."""

    def misfit(self, image_size: int) -> str | None:
        """The rule that an image of this edge breaks, or None where it is large enough."""
        return _too_small(image_size, self.strides)


class StateEncoderSettings(CheckedSettings):
    """Two hidden layers on the simulator's own state: no pixels, nothing is rendered."""

    name: Literal["state"] = "state"
    """Name of the encoder."""
    hidden_dim: Annotated[Count, Field(le=65536)] = 256
    """Width of both layers."""


class AttentionSettings(CheckedSettings):
    """What the encoders that attend share: attention within each frame, then over the frames of the stack."""

    d_model: Width = _WIDTH
    """Width of the tokens; a whole multiple of nhead."""
    nhead: Annotated[Count, Field(le=256)] = 4
    """Heads of each attention."""
    spatial_depth: Annotated[Count, Field(le=64)] = 1
    """Attention blocks within a frame."""
    temporal_depth: Annotated[Count, Field(le=64)] = 1
    """Attention blocks over the frames."""
    mlp_ratio: Annotated[Count, Field(le=16)] = 2
    """Width of a block's hidden layer as a multiple of d_model."""
    dropout: Annotated[NonNegative, Field(lt=1)] = 0.0
    """Share of each block's outputs that is dropped while learning."""

    def broken_rules(self) -> Iterator[Broken]:
        return _broken_heads(self.d_model, self.nhead)


class CrossAttentionEncoderSettings(AttentionSettings):
    """Convolutions make a token of each frame, which attends to the frame's instruments."""

    name: Literal["enc_A"] = "enc_A"
    """Name of the encoder."""
    channels: Annotated[Count, Field(le=4096)] = 16
    """Channels of each convolution."""
    strides: Strides = (2, 2, 2)
    """Stride of each convolution."""

    def misfit(self, image_size: int) -> str | None:
        """The rule that an image of this edge breaks, or None where it is large enough."""
        return _too_small(image_size, self.strides)


class PatchEncoderSettings(AttentionSettings):
    """Patches of each frame attend to each other, as in the vision transformer."""

    name: Literal["enc_B"] = "enc_B"
    """Name of the encoder."""
    patch: Annotated[Count, Field(le=_LARGEST_IMAGE)] | None = None
    """Edge of a patch in pixels; null for the largest of 4 to 12 that divides the image's."""

    def patch_for(self, image_size: int) -> int | None:
        """The edge of the patches of an image of this edge, or None where none fit."""
        tried = range(12, 3, -1) if self.patch is None else (self.patch,)
        return next((patch for patch in tried if image_size % patch == 0), None)

    def misfit(self, image_size: int) -> str | None:
        """The rule that an image of this edge breaks, or None where patches fit."""
        if self.patch_for(image_size) is not None:
            return None
        if self.patch is None:
            nearest = _nearest(self.patch_for, image_size, _LARGEST_IMAGE)
            return f"must be a whole multiple of a patch of 4 to 12; {nearest}"
        nearest = _nearest(lambda patch: image_size % patch == 0, self.patch, image_size)
        divided = listed(_neighbours(self.patch_for, image_size, _LARGEST_IMAGE), "and")
        return f"must divide task.image_size ({image_size}); {nearest} (it divides {divided})"


EncoderSettings: TypeAlias = (
    ConvEncoderSettings | StateEncoderSettings | CrossAttentionEncoderSettings | PatchEncoderSettings
)
"""Each encoder there is."""


class ActorCriticSettings(CheckedSettings):
    """Actor and twin critic of DrQ-v2."""

    name: Literal["original"] = "original"
    """Name of the actor-critic pair."""


class AutoregressiveActorSettings(CheckedSettings):
    """An actor that settles one part of the action first, the other part in the light of it; DrQ-v2's critic."""

    name: Literal["autoregressive_gimbal_first", "autoregressive_drone_first"] = "autoregressive_gimbal_first"
    """Name of the actor-critic pair: which part comes first."""
    depth: Annotated[Count, Field(le=8)] = 2
    """Hidden layers of each of the actor's two heads."""


class AttentionActorCriticSettings(CheckedSettings):
    """Actor and twin critic that attend to tokens of the code."""

    name: Literal["multihead_attention", "multihead_attention_factored"] = "multihead_attention"
    """Name of the actor-critic pair; the factored one adds a value of the drone's action alone."""
    tokens: Annotated[Count, Field(le=1024)] = 8
    """Tokens that the code is projected to."""
    d_model: Width = _WIDTH
    """Width of a token; a whole multiple of nhead."""
    nhead: Annotated[Count, Field(le=256)] = 4
    """Heads of the attention."""
    depth: Annotated[Count, Field(le=12)] = 1
    """Blocks of attention and feed-forward layer."""

    def broken_rules(self) -> Iterator[Broken]:
        return _broken_heads(self.d_model, self.nhead)


AnyActorCriticSettings: TypeAlias = (
    ActorCriticSettings | AutoregressiveActorSettings | AttentionActorCriticSettings
)
"""Each actor-critic pair there is."""


class AgentSettings(CheckedSettings):
    """The networks."""

    encoder: Annotated[EncoderSettings, Field(discriminator="name")] = ConvEncoderSettings()
    """From observations to features."""
    actor_critic: Annotated[AnyActorCriticSettings, Field(discriminator="name")] = ActorCriticSettings()
    """From features to actions and values."""


# --- Training -------------------------------------------------------------------------------------


class Settings(CheckedSettings):
    """A training run. Defaults are those of the profile `full`."""

    profile: Text = "full"
    """Name of the profile that the settings started from."""
    seed: Seed = 1
    """Seed of every random draw."""
    device: Device = "auto"
    """Where networks are trained and images rendered: auto, cpu, cuda or cuda:N."""
    num_threads: Annotated[Whole, Field(le=4096)] = 0
    """Threads for physics and networks; 0 for all cores."""

    lr: Rate = 1.0e-4
    """Base learning rate of every network."""
    lr_encoder: Rate | None = None
    """Base learning rate of the encoder; null for lr."""
    lr_actor: Rate | None = None
    """Base learning rate of the actor; null for lr."""
    lr_critic: Rate | None = None
    """Base learning rate of the critic; null for lr."""
    decay_rate: Positive | None = None
    """What the preset exponential_smooth multiplies a rate by at each decay."""
    lr_schedule: dict[str, Any] | None = None
    """Learning rate over time by network, set by the preset chosen; null for constant."""
    schedule_frames: SomeFrames | None = None
    """Frames that shares in schedules refer to; null for num_train_frames."""

    num_train_frames: SomeFrames = 6_000_000
    """Length of the training in frames; also written 6.0e6 or 6M."""
    num_seed_frames: Frames = 4_000
    """Frames of random actions before the first update."""
    action_repeat: Annotated[Count, Field(le=1000)] = 1
    """Decisions that an action is held for."""
    frame_stack: Annotated[Count, Field(le=256)] = 3
    """Frames in an observation."""
    discount: Share = 0.99
    """Discount of the reward per step."""
    nstep: Annotated[Count, Field(le=1000)] = 3
    """Steps of the n-step return."""
    batch_size: Count = 512
    """Transitions in an update."""
    replay_buffer_size: Count = 400_000
    """Frames that the replay buffer holds over all environments."""
    replay_device: Device = "auto"
    """Where the replay buffer lies; auto for the training device."""
    num_envs: Annotated[Count, Field(le=65536)] = 16
    """Environments side by side."""
    update_every_steps: Count = 2
    """Environment steps, over all environments, per update."""
    critic_target_tau: PositiveShare = 0.01
    """Share of the critic that enters its target per update."""
    feature_dim: Annotated[Count, Field(ge=2, le=65536)] = 50
    """Width of the features behind the trunk."""
    hidden_dim: Annotated[Count, Field(le=65536)] = 1024
    """Width of the actor's and critic's layers."""
    stddev: NonNegative = 1.0
    """Base of the exploration noise, for multiples such as 0.5x."""
    stddev_schedule: Any = "linear(1.0,0.1,500000)"
    """Exploration noise over time: linear(from,to,steps), a number, or a schedule as of a learning rate."""
    stddev_clip: NonNegative = 0.3
    """Bound of the noise on actions inside an update."""
    gimbal_noise_scale: NonNegative = 0.5
    """Factor on the exploration noise of the gimbal axes."""
    reward_scale: Positive = 0.1
    """Factor on rewards before they are learnt from."""
    pretanh_penalty: NonNegative = 0.0
    """Weight of the actor's squared pre-tanh output in its loss."""
    augmentation_pad: Whole = 4
    """Largest random shift of images in pixels; 0 for none."""
    augmentation_brightness: Annotated[NonNegative, Field(lt=1)] = 0.0
    """Largest random change of the images' brightness, as a share of it; 0 for none."""
    auxiliary_weight: NonNegative = 0.0
    """Weight of the encoder's auxiliary task, which angles look at the pad, in the critic's loss; 0 for none."""

    log_every_frames: SomeFrames = 1_000
    """Frames between rows of the training log."""
    eval_every_frames: SomeFrames = 20_000
    """Frames between evaluations."""
    num_eval_episodes: Count = 20
    """Episodes of an evaluation."""
    final_eval_episodes: Count = 100
    """Episodes of the evaluation after training."""
    snapshot_every_frames: SomeFrames = 50_000
    """Frames between snapshots."""
    save_video: Flag = True
    """Whether the final evaluation is filmed."""
    track: Literal["wandb", "mlflow"] | None = None
    """Experiment tracker that gets the run's numbers, settings and film too; null for none."""
    on_write_error: Literal["continue", "stop"] = "continue"
    """What to do when a snapshot or a log can't be written."""
    keep_replay: Flag = True
    """Whether a finished run keeps its replay buffer, so that it can go on with more frames."""

    agent: AgentSettings = AgentSettings()
    """The networks."""
    task: TaskSettings = TaskSettings()
    """The landing task."""
    curriculum: CurriculumSettings
    """The curriculum."""

    @property
    def base_rates(self) -> dict[str, float]:
        """The base learning rate of each network."""
        own = {"encoder": self.lr_encoder, "actor": self.lr_actor, "critic": self.lr_critic}
        return {network: self.lr if rate is None else rate for network, rate in own.items()}

    @property
    def base_keys(self) -> dict[str, str]:
        """The key that each network's base learning rate is set by."""
        own = {"encoder": self.lr_encoder, "actor": self.lr_actor, "critic": self.lr_critic}
        return {network: "lr" if rate is None else f"lr_{network}" for network, rate in own.items()}

    @property
    def total_steps(self) -> int:
        """Length of the training in environment steps over all environments."""
        return self.num_train_frames // self.action_repeat

    @property
    def schedule_steps(self) -> int:
        """Environment steps that shares in schedules refer to."""
        return (self.schedule_frames or self.num_train_frames) // self.action_repeat

    @property
    def seed_steps(self) -> int:
        """Environment steps of random actions, in which no update is made."""
        return self.num_seed_frames // self.action_repeat

    def broken_rules(self) -> Iterator[Broken]:
        yield from self._broken_sizes()
        yield from self._broken_lengths()
        encoder, size = self.agent.encoder, self.task.image_size
        if not isinstance(encoder, StateEncoderSettings):
            misfit = encoder.misfit(size)
            patch = encoder.patch if isinstance(encoder, PatchEncoderSettings) else None
            if misfit is not None and patch is not None:
                yield Broken("agent.encoder.patch", misfit, patch, ("task.image_size",))
            elif misfit is not None:
                yield Broken("task.image_size", misfit, size, ("agent.encoder",))
            if self.augmentation_pad >= size:
                rule = f"must be less than task.image_size ({size})"
                yield Broken("augmentation_pad", rule, self.augmentation_pad, ("task.image_size",))
        elif self.auxiliary_weight:
            rule = "must be 0 with the encoder 'state', which is given what the auxiliary task asks for"
            yield Broken("auxiliary_weight", rule, self.auxiliary_weight, ("agent.encoder",))
        for i, stage in enumerate(self.curriculum.stages):
            if stage.start_offset >= self.task.arena_radius:
                key = f"curriculum.stages.{i}.start_offset"
                rule = f"must be less than task.arena_radius ({self.task.arena_radius:g})"
                yield Broken(key, rule, stage.start_offset, ("task.arena_radius",))

    def _broken_sizes(self) -> Iterator[Broken]:
        if self.batch_size > self.replay_buffer_size:
            rule = f"must not be greater than replay_buffer_size ({self.replay_buffer_size})"
            yield Broken("batch_size", rule, self.batch_size, ("replay_buffer_size",))
        episode = -(-self.task.episode_decisions // self.action_repeat)
        least = self.num_envs * (episode + self.frame_stack + self.nstep)
        if self.replay_buffer_size < least:
            rule = (
                f"must be at least {least} = num_envs ({self.num_envs}) * (an episode of {episode} steps + "
                f"frame_stack ({self.frame_stack}) + nstep ({self.nstep}))"
            )
            reads = ("num_envs", "task", "action_repeat", "frame_stack", "nstep")
            yield Broken("replay_buffer_size", rule, self.replay_buffer_size, reads)

    def _broken_lengths(self) -> Iterator[Broken]:
        if self.num_seed_frames >= self.num_train_frames:
            rule = f"must be greater than num_seed_frames ({self.num_seed_frames})"
            yield Broken("num_train_frames", rule, self.num_train_frames, ("num_seed_frames",))
        elif self.total_steps // self.update_every_steps <= self.seed_steps // self.update_every_steps:
            rule = "no update would fall between num_seed_frames and the end of the training"
            reads = ("num_train_frames", "num_seed_frames", "action_repeat")
            yield Broken("update_every_steps", rule, self.update_every_steps, reads)
        least = self.num_envs * (self.nstep + 1) * self.action_repeat
        if self.num_seed_frames < least:
            rule = (
                f"must be at least {least} = num_envs * (nstep + 1) * action_repeat: "
                "an update needs a transition to learn from"
            )
            yield Broken(
                "num_seed_frames", rule, self.num_seed_frames, ("num_envs", "nstep", "action_repeat")
            )


class CommandSettings(CheckedSettings):
    """What a training's command line says that is no setting of the run: how to start it, and what to hand back."""

    resume: Text | None = None
    """Run folder to resume; the rest of the command line is what changes in it."""
    resume_lr_schedule: Literal["config", "hold"] | None = None
    """What a resume does with changed schedules; null refuses them, config takes the new ones, hold keeps the old ones
    in a longer training."""
    objective: Text = "success_rate"
    """Number that a sweep optimizes: a held-out figure of the last stage, or a column of train.csv or eval.csv."""


# --- Preview --------------------------------------------------------------------------------------


class PreviewSettings(Settings):
    """A training run whose learning rates are to be shown, and how."""

    steps: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100_000)] | None = None
    """Steps to be tabled, such as [0,1M,40%]; null for the whole training."""
    stage_steps: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100_000)] | None = None
    """Steps at which the stages are entered, such as [0,400000]; null for evenly spread."""
    scale: Literal["log", "linear"] = "log"
    """Axis of the learning rates."""
    out: Text = "."
    """Folder for lr_schedule.png and lr_schedule.csv."""

    @property
    def asked_steps(self) -> list[int] | None:
        """`steps` as whole numbers; a share between two steps is the later one, where an interval begins."""
        return None if self.steps is None else [self._step(value) for value in self.steps]

    @property
    def stage_entries(self) -> list[tuple[int, int]]:
        """The history of the curriculum to be shown: (step of entry, stage)."""
        count = len(self.curriculum.stage_names)
        if self.stage_steps is None:
            return [(-(-stage * self.total_steps // count), stage) for stage in range(count)]
        return [(self._step(value), stage) for stage, value in enumerate(self.stage_steps)]

    def _step(self, value: object) -> int:
        # Imported here, so that the settings of other programs load without numpy.
        from glideslope.lr_scheduler.values import Context, parse_time

        return math.ceil(parse_time(value, Context(base=self.lr, total=self.schedule_steps)))

    def broken_rules(self) -> Iterator[Broken]:
        yield from super().broken_rules()
        sound = True
        for key, values in (("steps", self.steps), ("stage_steps", self.stage_steps)):
            for i, value in enumerate(values or ()):
                try:
                    self._step(value)
                except ValueError as error:
                    sound = False
                    yield Broken(f"{key}.{i}", str(error), value, ("num_train_frames", "action_repeat"))
        if sound and self.stage_steps is not None:
            yield from self._broken_entries(self.stage_steps)

    def _broken_entries(self, shown: tuple[object, ...]) -> Iterator[Broken]:
        names, entries = self.curriculum.stage_names, self.stage_entries
        if len(shown) > len(names):
            rule = f"must have at most {len(names)} of them, one for each stage: {listed(names, 'and')}"
            yield Broken("stage_steps", rule, shown, ("curriculum",))
        if entries[0][0] != 0:
            yield Broken("stage_steps.0", "must be 0: training begins in stage 0", shown[0])
        for (earlier, _), (later, stage) in pairwise(entries):
            if later < earlier:
                rule = f"must not be before stage {stage - 1} is entered, at step {earlier}"
                yield Broken(f"stage_steps.{stage}", rule, shown[stage])


# --- Evaluation -----------------------------------------------------------------------------------


Point: TypeAlias = tuple[float | None, float | None]
"""A place in a sweep: (pad speed, wind) in m/s, None for what the stage says."""

NO_MOVING_PATHS = "the task's pad_paths are static only: its pad never moves"
MOST_POINTS = 1_000
MOST_FILMED_POINTS = 20


class SweepSettings(CheckedSettings):
    """Conditions to be played one after the other in place of the stage's own; with both lists, their grid."""

    pad_speed: Annotated[tuple[NonNegative, ...], Field(min_length=1, max_length=MOST_POINTS)] | None = None
    """Speeds of a moving pad in m/s, such as [0,0.5,1,2], the largest on a sinusoidal path; null for the stage's."""
    wind: Annotated[tuple[NonNegative, ...], Field(min_length=1, max_length=MOST_POINTS)] | None = None
    """Largest wind speeds in m/s, such as [0,1,2]; null for the stage's."""

    @property
    def points(self) -> tuple[Point, ...]:
        """The conditions in order, the pad's speed outermost; without a sweep the stage's own, once."""
        return tuple(product(self.pad_speed or (None,), self.wind or (None,)))

    def broken_rules(self) -> Iterator[Broken]:
        for key, values in (("pad_speed", self.pad_speed), ("wind", self.wind)):
            if values is not None and len(set(values)) < len(values):
                yield Broken(key, "must name each value once", values)
        if self.pad_speed and self.wind and len(self.points) > MOST_POINTS:
            rule = (
                f"must make at most {MOST_POINTS} points with pad_speed,"
                f" not {len(self.pad_speed)} * {len(self.wind)}"
            )
            yield Broken("wind", rule, self.wind, ("pad_speed",))


class EvaluateSettings(CheckedSettings):
    """An evaluation: of a run's policy, or of a scripted one on a task and a curriculum given here."""

    run: Text | None = None
    """Run folder or snapshot to be evaluated."""
    policy: Literal["expert", "random", "fixed_camera"] | None = None
    """Scripted policy to be evaluated."""
    inspect: Text | None = None
    """Snapshot whose contents are to be listed, or run folder whose snapshots and evaluations are; nothing is
    played."""
    stage: StageChoice | None = None
    """Stage to be played, by index or name, or all; null for the stage of the evaluated snapshot, or for the last
    one of a scripted policy."""
    episodes: Annotated[Count, Field(le=100_000)] = 100
    """Episodes of each stage, or of each point of a sweep in each stage."""
    sweep: SweepSettings = SweepSettings()
    """Pad speeds and winds to be played in place of the stages' own."""
    compare: tuple[Literal["expert", "fixed_camera", "random"], ...] | None = None
    """Scripted policies that play a run's scenarios too; null for all of them."""
    video: Flag = False
    """Whether videos are recorded: of some episodes, and of the best and the worst side by side."""
    seed: Seed = 12345
    """Seed of the episodes' scenarios."""
    num_envs: Annotated[Count, Field(le=65536)] = 25
    """Environments side by side."""
    num_threads: Annotated[Whole, Field(le=4096)] = 0
    """Threads for physics and networks; 0 for all cores."""
    device: Device = "auto"
    """Where networks run and images are rendered: auto, cpu, cuda or cuda:N."""
    out: Text | None = None
    """Folder for the results, without those of another evaluation; null for a new one in evaluations/, in the run's
    folder or, for a scripted policy, in the current one."""
    task: TaskSettings = TaskSettings()
    """The task that a scripted policy plays; a run plays the one it was trained on."""
    curriculum: CurriculumSettings
    """The curriculum whose stages a scripted policy plays; a run plays the one it was trained on."""

    def broken_rules(self) -> Iterator[Broken]:
        given = [key for key in ("run", "policy", "inspect") if getattr(self, key) is not None]
        if not given:
            rule = (
                "give run=<run folder or snapshot>, or policy=expert, random or fixed_camera;"
                " inspect=<run folder or snapshot> lists what is in it"
            )
            yield Broken("run", rule, None, ("policy", "inspect"))
        for key in given[1:]:
            yield Broken(key, f"{given[0]} and {key} exclude each other", getattr(self, key), (given[0],))
        if len(set(self.compare or ())) < len(self.compare or ()):
            yield Broken("compare", "must name each policy once", self.compare)
        if self.compare and self.policy is not None:
            rule = "goes with run=...; evaluate one scripted policy after the other instead"
            yield Broken("compare", rule, self.compare, ("policy",))
        if self.video and len(self.sweep.points) > MOST_FILMED_POINTS:
            rule = f"a sweep of {len(self.sweep.points)} points can't be filmed, only {MOST_FILMED_POINTS}"
            yield Broken("video", rule, self.video, ("sweep",))
        if self.policy is not None:
            if self.sweep.pad_speed is not None and not self.task.moving_paths:
                yield Broken("sweep.pad_speed", NO_MOVING_PATHS, self.sweep.pad_speed, ("policy", "task"))
            try:
                select_stages(self.stage, self.curriculum)
            except SettingsError as error:
                yield Broken("stage", error.faults[0].rule, self.stage, ("policy", "curriculum"))


def select_stages(stage: int | str | None, curriculum: CurriculumSettings) -> tuple[int, ...]:
    """Indices of the stages that `stage` means: an index, a name, `all`, or None for the last one.

    Raises:
        SettingsError: the curriculum does not play such a stage.
    """
    names = curriculum.stage_names
    if stage == "all":
        return tuple(range(len(names)))
    if stage is None:
        return (len(names) - 1,)
    if stage in names:
        return (names.index(str(stage)),)
    if isinstance(stage, int) and stage < len(names):
        return (stage,)
    numbered = listed([f"{i} {name}" for i, name in enumerate(names)], "and")
    rule = f"unknown stage; there are {numbered}, or all{meant(stage, [*names, 'all'])}"
    raise SettingsError([Fault("stage", stage, rule)])


# --- Comparison -----------------------------------------------------------------------------------


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Keys: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(_one_or_several), Field(min_length=1)]


class CompareSettings(CheckedSettings):
    """A comparison of runs."""

    runs: Annotated[tuple[Text, ...], BeforeValidator(_one_or_several)] = ()
    """Run folders, or folders with runs below them."""
    by: Keys | None = None
    """Keys whose values make the groups; null for all settings that differ, seeds aside."""
    out: Text | None = None
    """Folder for the files; null for a folder `comparison` beside the runs."""

    def broken_rules(self) -> Iterator[Broken]:
        if not self.runs:
            rule = "name run folders, or folders with runs below them: exp_local/a exp_local/b"
            yield Broken("runs", rule, self.runs)
        if len(set(self.by or ())) < len(self.by or ()):
            yield Broken("by", "must name each key once", self.by)
        for key, text in (("out", self.out), *(("runs", run) for run in self.runs)):
            if text == "":
                yield Broken(key, "must not be empty", text)
