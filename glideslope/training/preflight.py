"""What can be refused before a training writes anything: schedules, devices, memory, disk space."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from glideslope.build import replay_bytes, require_memory, resolve_device
from glideslope.lr_scheduler import Schedules
from glideslope.runs.resume_source import REPLAY, Learner
from glideslope.runs.run_folder import require_free_space
from glideslope.runs.tracking import require_service
from glideslope.settings import Settings
from glideslope.settings.schedules import run_schedules


@dataclass(frozen=True)
class TrainingPlan:
    """A run's settings with everything derived from them that can be refused."""

    settings: Settings
    schedules: Schedules
    device: str
    replay_device: str


def make_plan(settings: Settings, given: Collection[str] = ()) -> TrainingPlan:
    """Check schedules, devices and memory; touch nothing. Of the keys `given` those without effect are told.

    Raises:
        ScheduleError: a schedule is malformed.
        UserError: a device or the tracking service isn't there, or the replay buffer can't fit.
    """
    schedules = run_schedules(settings, given)
    device = resolve_device(settings.device)
    replay_device = device
    if settings.replay_device != "auto":
        replay_device = resolve_device(settings.replay_device, "replay_device")
    require_memory(replay_bytes(settings), replay_device)
    require_service(settings.track)
    return TrainingPlan(settings, schedules, device, replay_device)


def require_space(settings: Settings, run_dir: Path, learner: Learner) -> None:
    """Refuse a run that would fill the disk with its replay buffer and the snapshots that are kept at least.

    Raises:
        UserError: with the bytes needed and free.
    """
    networks = sum(
        tensor.numel() * tensor.element_size()
        for network in learner.agent.networks.values()
        for tensor in network.parameters()
    )
    there = sum(file.stat().st_size for file in (run_dir / REPLAY).glob("*"))
    # Files leave the ring as a whole: beyond it there are up to two intervals between snapshots.
    share = 1.0 + 2.0 * min(1.0, settings.snapshot_every_frames / settings.replay_buffer_size)
    replay = min(share, settings.num_train_frames / settings.replay_buffer_size) * replay_bytes(settings)
    # A snapshot has weights, target weights and two moments; there are two and one being written.
    needed = max(round(replay) - there, 0) + 3 * 4 * networks
    require_free_space(run_dir, needed, "the run (its replay buffer and snapshots)")
