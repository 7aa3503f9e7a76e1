"""What a training prints before it begins: what will run, where, and how long it may take."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from glideslope.agent import DrQV2Agent
from glideslope.build import replay_bytes
from glideslope.display.console import say
from glideslope.display.progress import Progress
from glideslope.errors import data_size, duration
from glideslope.runs.folder import version_changes
from glideslope.runs.resume import Resumption
from glideslope.training.plan import TrainingPlan

# A run longer than this on a processor gets advice before it starts.
LONG_RUN_SECONDS = 12 * 3600


def introduce(
    plan: TrainingPlan, run_dir: Path, agent: DrQV2Agent, resumption: Resumption | None, console: Console
) -> None:
    """Print what will run, where, and how much memory it takes."""
    settings, threads = plan.settings, torch.get_num_threads()
    sizes = [sum(p.numel() for p in network.parameters()) for network in agent.networks.values()]
    say(console, "Run folder: ", str(run_dir))
    say(
        console,
        f"Profile {settings.profile}: {settings.num_train_frames:,} frames, {settings.num_envs} environments, "
        f"{plan.device} ({threads} {'thread' if threads == 1 else 'threads'})",
    )
    say(
        console,
        f"Replay buffer: {settings.replay_buffer_size:,} frames, "
        f"{data_size(replay_bytes(settings))} on {plan.replay_device}",
    )
    say(
        console,
        f"Networks: encoder {settings.agent.encoder.name}, actor-critic {settings.agent.actor_critic.name}; "
        "{:,} + {:,} + {:,} parameters".format(*sizes),
    )
    for note in plan.schedules.notes:
        say(console, f"Note: {note}")
    if resumption is not None:
        say(console, f"Resuming from frame {resumption.frame:,}: {resumption.path.name}")
        for note in version_changes(run_dir):
            say(console, f"Note: {note}")


def tell_duration(progress: Progress, device: str) -> None:
    """Print how long the run will take, and what to do where that is long."""
    seconds = progress.seconds_left()
    progress.note(f"At the speed measured now this takes about {duration(seconds)}.")
    if device == "cpu" and seconds > LONG_RUN_SECONDS:
        here = "A GPU is here, but not used" if torch.cuda.is_available() else "There is no GPU here"
        progress.note(
            f"{here}. For a run sized for a processor, use profile=cpu (from pixels) or profile=state "
            "(from the simulator's state: minutes)."
        )
