"""Builds the parts of a run from its settings, and checks that device and memory suffice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

from glideslope.agent import Average, DrQV2Agent
from glideslope.agent.auxiliary import Instruments
from glideslope.curriculum.stages import Curriculum
from glideslope.envs.gimbal import ANGLE_LIMITS
from glideslope.envs.layout import ACTION_DIM, GIMBAL_AXES, privileged_dim, state_dim, velocity_limits
from glideslope.envs.symmetry import mirrors
from glideslope.errors import SettingsError, UserError, data_size
from glideslope.lr_scheduler import LiveSchedules, ScheduleError, Schedules
from glideslope.replay.buffer import Batch, ReplayBuffer
from glideslope.replay.mirroring import Mirror
from glideslope.replay.store import ReplayStore
from glideslope.runs.resume_source import REPLAY, Learner
from glideslope.runs.snapshots import Note, Snapshots
from glideslope.settings import WHOLE, Settings, Share, StageSettings, StateEncoderSettings

if TYPE_CHECKING:
    from glideslope.envs.gym import LandingVectorEnv


def resolve_device(name: str, key: str = "device") -> str:
    """Return the torch device to use for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: the device isn't there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
            raise UserError(f"{key}={name}: this machine has no such device; available: {there}")
    return name


def use_threads(num_threads: int) -> None:
    """Give torch ``num_threads`` threads, all usable processors for 0."""
    from glideslope.envs.physics import usable_processors  # the simulator; a policy alone is built without it

    torch.set_num_threads(num_threads or usable_processors())


def uses_pixels(settings: Settings) -> bool:
    """Return whether the policy sees images, so that views must be rendered."""
    return not isinstance(settings.agent.encoder, StateEncoderSettings)


def make_env(
    settings: Settings, num_envs: int, stage: StageSettings, device: str, *, film: bool = False
) -> LandingVectorEnv:
    """Return the landing task as the policy of these settings sees it; for a film there are views in any case."""
    from glideslope.envs.gym import LandingVectorEnv  # the simulator

    pixels = uses_pixels(settings)
    return LandingVectorEnv(
        num_envs,
        task=settings.task,
        stage=stage,
        pixels=pixels or film,
        privileged=settings.sees_privileged,
        oracle_gimbal=settings.auxiliary_task == "gimbal_angles",
        frame_stack=settings.frame_stack,
        action_repeat=settings.action_repeat,
        device=device,
        num_threads=settings.num_threads,
    )


def make_agent(settings: Settings, device: str, share: Share = WHOLE, average: Average | None = None) -> DrQV2Agent:
    """Return an untrained agent, or of one that several processes train a `share`."""
    pixels = uses_pixels(settings)
    task, size = settings.task, settings.task.image_size
    return DrQV2Agent(
        pixels_shape=(settings.frame_stack, size, size) if pixels else None,
        state_dim=settings.frame_stack * state_dim(settings.task) if pixels else 0,
        privileged_dim=privileged_dim(settings.task) if settings.sees_privileged else 0,
        action_dim=ACTION_DIM,
        encoder=settings.agent.encoder,
        actor_critic=settings.agent.actor_critic,
        feature_dim=settings.feature_dim,
        hidden_dim=settings.hidden_dim,
        rates=settings.base_rates,
        lr_scale=settings.lr_scale or {},
        critic_target_tau=settings.critic_target_tau,
        stddev_clip=settings.stddev_clip,
        augmentation_pad=settings.augmentation_pad,
        augmentation_brightness=settings.augmentation_brightness,
        pretanh_penalty=settings.pretanh_penalty,
        noise_scale=[settings.gimbal_noise_scale if axis in GIMBAL_AXES else 1.0 for axis in range(ACTION_DIM)],
        gimbal_axes=GIMBAL_AXES,
        privileged_critic=settings.critic_observation == "privileged",
        critic_layer_norm=settings.critic_layer_norm,
        value_bins=settings.value_bins,
        value_range=settings.value_range,
        auxiliary_weight=settings.auxiliary_weight if settings.auxiliary_task else 0.0,
        auxiliary_target=settings.auxiliary_target,
        auxiliary_input=settings.auxiliary_input,
        gimbal_limits_deg=np.rad2deg(ANGLE_LIMITS).tolist(),
        instruments=Instruments(
            state_dim(task),
            velocity_limits(task),
            task.gimbal_stabilized,
        ),
        device=device,
        seed=settings.seed,
        share=share,
        average=average,
    )


def make_curriculum(settings: Settings) -> Curriculum:
    """Return the curriculum in its first stage."""
    return Curriculum(settings.curriculum)


def open_snapshots(settings: Settings, run_dir: Path, note: Note) -> Snapshots:
    """Return the snapshots of a run folder; ``note`` is told of damaged ones."""
    return Snapshots(run_dir, settings.curriculum.last_stage, resume=True, note=note)


def make_learner(
    settings: Settings,
    schedules: Schedules,
    device: str,
    replay_device: str,
    run_dir: Path,
    share: Share = WHOLE,
    average: Average | None = None,
) -> Learner:
    """Return the parts that hold what is learnt, untrained; the folder is only named here.

    Args:
        settings: those of the `share`, which `average` connects with the others.

    Raises:
        SettingsError: `lr_scale` names no module, or one twice.
        UserError: the device's memory can't hold the networks.
    """
    replay = make_replay(settings, replay_device, share)
    return Learner(
        agent=_fitting_agent(settings, device, share, average),
        replay=replay,
        store=ReplayStore(run_dir / REPLAY, replay, share),
        schedules=LiveSchedules(schedules),
    )


def _fitting_agent(settings: Settings, device: str, share: Share, average: Average | None) -> DrQV2Agent:
    try:
        return make_agent(settings, device, share, average)
    except ScheduleError as error:  # a module of lr_scale
        raise SettingsError(error.faults) from error
    except (RuntimeError, MemoryError) as error:  # torch tells of memory on the CPU by a RuntimeError
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "memory" in str(error):
            raise UserError(
                f"the networks don't fit into the memory of {device}; lower hidden_dim "
                f"({settings.hidden_dim}), feature_dim ({settings.feature_dim}) or the sizes of agent.encoder "
                f"({settings.agent.encoder.name}) and agent.actor_critic ({settings.agent.actor_critic.name})"
            ) from error
        raise


def replay_bytes(settings: Settings) -> int:
    """Return the bytes that the replay buffer of these settings will take."""
    return ReplayBuffer.estimate_bytes(**_replay_sizes(settings))


def _replay_sizes(settings: Settings) -> dict[str, Any]:
    pixels, size = uses_pixels(settings), settings.task.image_size
    learnt_from = privileged_dim(settings.task) if settings.sees_privileged else 0
    return {
        "capacity": settings.replay_buffer_size,
        "num_envs": settings.num_envs,
        "frame_shape": (size, size) if pixels else None,
        "state_dim": state_dim(settings.task),
        "privileged_dim": learnt_from + (len(GIMBAL_AXES) if settings.auxiliary_task == "gimbal_angles" else 0),
        "action_dim": ACTION_DIM,
    }


def require_memory(needed: int, device: str) -> None:
    """Refuse a replay buffer that can't fit.

    Raises:
        UserError: the device has less free memory than ``needed`` bytes.
    """
    free = torch.cuda.mem_get_info(device)[0] if device != "cpu" else psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"replay_buffer_size: the replay buffer needs {data_size(needed)}, but only {data_size(free)}"
            f" are free on {device}; lower replay_buffer_size, task.image_size or set replay_device"
        )


def make_replay(settings: Settings, device: str, share: Share = WHOLE) -> ReplayBuffer:
    """Return an empty replay buffer on ``device``; ``settings`` are those of the ``share``."""
    return ReplayBuffer(
        **_replay_sizes(settings),
        frame_stack=settings.frame_stack,
        nstep=settings.nstep,
        discount=settings.discount,
        mirrors=make_mirrors(settings),
        device=device,
        # The agent draws from the seed itself; equal streams would tie its noise to the transitions drawn.
        seed=int(np.random.SeedSequence([settings.seed, 2]).generate_state(1)[0]),
        share=share,
    )


def make_mirrors(settings: Settings) -> list[Mirror]:
    """Return the mirrors of `augmentation_mirror`."""
    if not settings.augmentation_mirror:
        return []
    signs = mirrors(
        settings.task,
        settings.frame_stack,
        privileged=settings.sees_privileged,
        oracle_gimbal=settings.auxiliary_task == "gimbal_angles",
    )
    return [Mirror(*each) for each in signs]


def zero_batch(settings: Settings) -> Batch:
    """Return a batch of zeros with all that one of the replay buffer has, on the CPU."""
    sizes, count, frames = _replay_sizes(settings), settings.batch_size, settings.frame_stack
    pixels = privileged = None
    if sizes["frame_shape"] is not None:
        pixels = torch.zeros(count, frames, *sizes["frame_shape"], dtype=torch.uint8)
    if sizes["privileged_dim"]:
        privileged = torch.zeros(count, sizes["privileged_dim"])
    state = torch.zeros(count, frames * sizes["state_dim"])
    return Batch(
        pixels=pixels,
        state=state,
        privileged=privileged,
        action=torch.zeros(count, sizes["action_dim"]),
        reward=torch.zeros(count, 1),
        discount=torch.zeros(count, 1),
        next_pixels=pixels,
        next_state=state,
        next_privileged=privileged,
    )
