"""What can be refused before a training writes anything: schedules, devices, memory, disk space."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from glideslope.build import replay_bytes, require_memory, resolve_device
from glideslope.errors import Fault, SettingsError
from glideslope.lr_scheduler import Schedules
from glideslope.runs.resume_source import REPLAY, Learner
from glideslope.runs.run_folder import require_free_space
from glideslope.runs.tracking import require_service
from glideslope.settings import Settings
from glideslope.settings.schedules import run_schedules
from glideslope.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class TrainingPlan:
    """A run's settings with everything derived from them that can be refused; devices are those of this process."""

    settings: Settings
    schedules: Schedules
    device: str
    replay_device: str


def make_plan(settings: Settings, given: Collection[str] = (), ranks: Ranks = ALONE) -> TrainingPlan:
    """Check schedules, devices and memory; touch nothing. Of the keys `given` those without effect are told.

    Raises:
        SettingsError: the training can't be shared equally among its processes.
        ScheduleError: a schedule is malformed.
        UserError: a device or the tracking service isn't there, or the replay buffer can't fit.
    """
    if broken := list(ranks.share.broken_rules(settings)):
        raise SettingsError([Fault(rule.key, rule.value, rule.rule) for rule in broken])
    schedules = run_schedules(settings, given)
    device = _own_device(settings.device, "device", ranks)
    replay_device = device
    if settings.replay_device != "auto":
        replay_device = _own_device(settings.replay_device, "replay_device", ranks)
    # Processes on one host share its memory, each has a GPU of its own.
    sharing = ranks.on_host if replay_device == "cpu" else 1
    require_memory(replay_bytes(ranks.share.of(settings)) * sharing, replay_device)
    require_service(settings.track)
    return TrainingPlan(settings, schedules, device, replay_device)


def _own_device(name: str, key: str, ranks: Ranks) -> str:
    """Return the device of this process: of several, each takes the GPU of its number on the host.

    Raises:
        SettingsError, UserError: it isn't there, or is named where each process needs another.
    """
    device = resolve_device(name, key)
    if ranks.share.count == 1 or device == "cpu":
        return device
    if name.startswith("cuda:"):
        raise SettingsError([Fault(key, name, "each process takes a GPU of its own: use cuda")])
    return resolve_device(f"cuda:{ranks.local}", key)


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
