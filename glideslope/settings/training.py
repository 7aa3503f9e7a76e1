"""A training run: its settings, and what its command line says beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from glideslope.errors import listed
from glideslope.settings.checks import (
    Broken,
    CheckedSettings,
    Count,
    Device,
    EnvCount,
    Flag,
    Frames,
    NonNegative,
    Positive,
    PositiveShare,
    Rate,
    Real,
    Seed,
    Share,
    SomeFrames,
    Text,
    Threads,
    Whole,
    flat_settings,
)
from glideslope.settings.curriculum import CurriculumSettings
from glideslope.settings.networks import AgentSettings, PatchEncoderSettings, StateEncoderSettings
from glideslope.settings.task import TaskSettings

NETWORKS = ("encoder", "actor", "critic")
"""The networks with a learning rate of their own."""


StageChange = Literal["keep", "reset_moments", "reset_step"]
"""What becomes of Adam's state when the task changes: `reset_moments` begins anew (Asadi et al. 2023,
arXiv:2306.17833); `reset_step` keeps the moments and sets its count of steps to 0 (Ellis et al. 2024,
arXiv:2412.17113)."""


class OnStageSettings(CheckedSettings):
    """What becomes of each network's optimizer when a stage begins; a word alone is for all of them."""

    encoder: StageChange = "keep"
    """What becomes of the encoder's moments when a stage begins."""
    actor: StageChange = "keep"
    """What becomes of the actor's moments when a stage begins."""
    critic: StageChange = "keep"
    """What becomes of the critic's moments when a stage begins."""

    @model_validator(mode="before")
    @classmethod
    def _for_all(cls, value: Any) -> Any:
        words = get_args(StageChange)
        if isinstance(value, str) and value not in words:
            raise ValueError(f"must be {listed(words)}, or a mapping of {', '.join(NETWORKS)} to these")
        return dict.fromkeys(NETWORKS, value) if isinstance(value, str) else value


class Settings(CheckedSettings):
    """A training run. Defaults are those of the profile `full`."""

    profile: Text = "full"
    """Name of the profile that the settings started from."""
    seed: Seed = 1
    """Seed of every random draw."""
    device: Device = "auto"
    """Where networks are trained and images rendered: auto, cpu, cuda or cuda:N."""
    num_threads: Threads = 0
    """Threads for physics and networks; 0 for all cores."""
    parallel: Flag = False
    """Whether environments step, and the actor learns if the critic is privileged, on a second thread meanwhile."""

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
    schedules: dict[str, Any] | None = None
    """Other quantities over time: critic.weight_decay, actor.beta1, critic_target_tau, discount, update_every_steps."""
    lr_scale: dict[str, NonNegative] | None = None
    """Factors on the learning rate by module, such as {encoder.convs.0: 0.1}; * in a name stands for any text."""
    on_stage: OnStageSettings = OnStageSettings()
    """What becomes of Adam's moments when a stage begins, for all networks or by network."""
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
    num_envs: EnvCount = 16
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
    augmentation_mirror: Flag = False
    """Whether half of a batch is mirrored left to right, and half of each half fore to aft."""
    critic_observation: Literal["pixels", "privileged"] = "pixels"
    """What the critic sees, the encoder's features or the simulator's state; the policy never sees the latter."""
    actor_every_updates: Count = 1
    """Updates of the critic per update of the actor, and of the encoder where the critic is privileged."""
    critic_layer_norm: Flag = False
    """Whether the critic's hidden layers are normalised."""
    value_bins: Annotated[Count, Field(le=4096)] = 1
    """Bins of a categorical value (HL-Gauss) within value_range; 1 for a scalar value."""
    value_range: tuple[Real, Real] = (-2.0, 2.0)
    """Lowest and highest return that bins hold, of rewards times reward_scale."""
    auxiliary_weight: NonNegative = 0.0
    """Weight of the encoder's auxiliary task beside the loss that trains the encoder; 0 for none, as with state."""
    auxiliary_target: Literal["gimbal_angles", "pad_motion"] = "gimbal_angles"
    """What the auxiliary task asks for, the angles that look at the pad or the pad's relative position and velocity."""
    auxiliary_input: Flag = False
    """Whether the actor reads what the auxiliary task predicts."""

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
    """Whether a finished run keeps its replay buffer, so that it can be resumed with more frames."""

    agent: AgentSettings = AgentSettings()
    """The networks."""
    task: TaskSettings = TaskSettings()
    """The landing task."""
    curriculum: CurriculumSettings
    """The curriculum."""

    @field_validator("lr_scale", mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """Take `lr_scale.encoder.convs=0.1`, a mapping in a mapping, as `{encoder.convs: 0.1}`."""
        return dict(flat_settings(value)) if isinstance(value, dict) and value else value

    @property
    def sees_privileged(self) -> bool:
        """Whether the simulator's state is learnt from: by the encoder `state`, the critic or the auxiliary task."""
        of_state = isinstance(self.agent.encoder, StateEncoderSettings)
        return of_state or self.critic_observation == "privileged" or self.auxiliary_task == "pad_motion"

    @property
    def auxiliary_task(self) -> Literal["gimbal_angles", "pad_motion"] | None:
        """What the encoder's auxiliary task asks for; None where it is off. The encoder `state` is given the answer."""
        on = self.auxiliary_weight > 0 and not isinstance(self.agent.encoder, StateEncoderSettings)
        return self.auxiliary_target if on else None

    @property
    def base_rates(self) -> dict[str, float]:
        """The base learning rate of each network."""
        return {network: getattr(self, key) for network, key in self.base_keys.items()}

    @property
    def base_keys(self) -> dict[str, str]:
        """The key that each network's base learning rate is set by."""
        own = {network: f"lr_{network}" for network in NETWORKS}
        return {network: "lr" if getattr(self, key) is None else key for network, key in own.items()}

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
        if self.auxiliary_input and not self.auxiliary_weight:
            rule = "must be false without an auxiliary task: auxiliary_weight is 0"
            yield Broken("auxiliary_input", rule, self.auxiliary_input, ("auxiliary_weight",))
        if self.value_range[0] >= self.value_range[1]:
            yield Broken("value_range", "the lowest return must be below the highest", self.value_range)
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
        else:
            reads: tuple[str, ...] = ("num_train_frames", "num_seed_frames", "action_repeat")
            for key, of_whom, every in (
                ("update_every_steps", "", self.update_every_steps),
                ("actor_every_updates", " of the actor", self.actor_every_updates * self.update_every_steps),
            ):
                if self.total_steps // every <= self.seed_steps // every:
                    rule = f"no update{of_whom} would fall between num_seed_frames and the end of the training"
                    yield Broken(key, rule, getattr(self, key), reads)
                    break
                reads = (*reads, key)
        least = self.num_envs * (self.nstep + 1) * self.action_repeat
        if self.num_seed_frames < least:
            rule = (
                f"must be at least {least} = num_envs * (nstep + 1) * action_repeat: "
                "an update needs a transition to learn from"
            )
            yield Broken("num_seed_frames", rule, self.num_seed_frames, ("num_envs", "nstep", "action_repeat"))


class CommandSettings(CheckedSettings):
    """What a training's command line says that is no setting of the run: how to start it, and what to hand back."""

    resume: Text | None = None
    """Run folder to resume; the rest of the command line is what changes in it."""
    resume_lr_schedule: Literal["config", "hold"] | None = None
    """What a resume does with changed schedules; null refuses them, config takes the new ones, hold keeps the old ones
    in a longer training."""
    objective: Text = "success_rate"
    """Number that a sweep optimizes: a held-out figure of the last stage, or a column of train.csv or eval.csv."""
