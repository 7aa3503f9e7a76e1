"""Starts a training run: checks what can be checked, claims the folder, builds the parts, trains, sums up."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import torch
from rich.console import Console

from glideslope.agent import keep_freed_memory
from glideslope.assembly import (
    make_agent,
    make_env,
    make_replay,
    replay_bytes,
    require_memory,
    resolve_device,
    use_threads,
    uses_pixels,
)
from glideslope.checkpoint import Snapshots
from glideslope.curriculum import Curriculum
from glideslope.envs.landing import ACTION_DIM, PRIVILEGED_DIM, STATE_DIM
from glideslope.logger import Logger
from glideslope.lr_scheduler import LiveSchedules, Schedule, Schedules
from glideslope.plots import plot_run
from glideslope.progress import Progress
from glideslope.run_folder import RunFolder, claim
from glideslope.schedules import exploration_noise, learning_rates
from glideslope.scoring import Score
from glideslope.settings import Settings
from glideslope.trainer import Parts, Trainer, TrainingError, describe

# A run longer than this on a processor gets advice before it starts.
LONG_RUN_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Plan:
    """A run's settings with everything derived from them that can be refused."""

    settings: Settings
    schedules: Schedules
    stddev: Schedule
    device: str
    replay_device: str


def plan(settings: Settings, given: Collection[str] = ()) -> Plan:
    """Check schedules, devices and memory; touches nothing.

    Args:
        settings: the run's settings.
        given: the keys that the user set, to tell of those without effect.

    Raises:
        ScheduleError: a schedule is malformed.
        UserError: a device isn't there, or the replay buffer can't fit.
    """
    schedules, stddev = learning_rates(settings, given), exploration_noise(settings)
    device = resolve_device(settings.device)
    replay_device = (
        device
        if settings.replay_device == "auto"
        else resolve_device(settings.replay_device, "replay_device")
    )
    require_memory(replay_bytes(settings), replay_device)
    return Plan(settings, schedules, stddev, device, replay_device)


def train(
    settings: Settings, run_dir: Path, *, given: Collection[str] = (), console: Console | None = None
) -> int:
    """Train to the end in ``run_dir``; returns the exit status: 0, 1 after a training error, 130 when stopped.

    Args:
        settings: the run's settings.
        run_dir: the run's folder, made if need be.
        given: the keys that the user set.
        console: where to show progress; standard output by default.

    Raises:
        UserError, ScheduleError: before anything is written.
    """
    console = console or Console()
    planned = plan(settings, given)
    with claim(run_dir) as folder:
        if folder.contents == "finished":
            console.print(f"This run is finished: {folder.path}", highlight=False, soft_wrap=True)
            return 0
        folder.write_config(settings.to_plain())
        folder.write_versions()
        return _run(planned, folder, console)


def _run(planned: Plan, folder: RunFolder, console: Console) -> int:
    settings = planned.settings
    began = time.monotonic()
    threads = use_threads(settings.num_threads)
    # Dead units leave denormal Adam moments, which processors multiply many times slower.
    torch.set_flush_denormal(True)
    keep_freed_memory()
    _introduce(planned, folder.path, threads, console)
    curriculum = Curriculum(settings.curriculum)
    with (
        ExitStack() as stack,
        Logger(folder.path) as logger,
        Progress(settings.num_train_frames, console=console) as progress,
    ):
        parts = _build(planned, folder.path, curriculum, logger, progress)
        for env in (parts.env, parts.eval_env, parts.film_env):
            stack.callback(env.close)
        trainer = Trainer(settings, folder.path, parts)
        try:
            with _stopping(trainer):
                complete = trainer.train()
        except TrainingError as error:
            kept = "; its snapshots are good" if any(folder.path.glob("*.pt")) else ""
            progress.note(f"stopped: {error}{kept}: {folder.path}")
            return 1
        if not complete:
            progress.note(f"stopped at frame {trainer.frame:,}; snapshot written to {folder.path}")
            return 130
        result = trainer.finish()
    plot_run(folder.path, stage_names=settings.curriculum.stage_names)
    minutes = (time.monotonic() - began) / 60
    folder.mark_finished(
        {"frames": settings.num_train_frames, "minutes": round(minutes, 2), "evaluation": result.to_plain()}
    )
    _conclude(result, folder.path, minutes, console)
    return 0


def _build(planned: Plan, path: Path, curriculum: Curriculum, logger: Logger, progress: Progress) -> Parts:
    settings, device = planned.settings, planned.device
    stage = curriculum.stage_settings
    # Evaluation draws all its worlds at once, so it has environments of its own.
    eval_envs = min(settings.num_eval_episodes, 32)
    return Parts(
        env=make_env(settings, settings.num_envs, stage, device),
        eval_env=make_env(settings, eval_envs, stage, device),
        film_env=make_env(settings, 1, stage, device, film=True),
        agent=make_agent(settings, device),
        replay=make_replay(settings, planned.replay_device),
        curriculum=curriculum,
        schedules=LiveSchedules({**planned.schedules, "stddev": planned.stddev}),
        logger=logger,
        progress=progress,
        snapshots=Snapshots(path, settings.curriculum.last_stage),
    )


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """End cleanly on Ctrl-C or SIGTERM: finish the vector step, write a snapshot."""

    def stop(number: int, frame: FrameType | None) -> None:
        trainer.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _introduce(planned: Plan, path: Path, threads: int, console: Console) -> None:
    """Say what will run, where, how much memory it takes and how long it may last."""
    settings = planned.settings

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"Run folder: {path}")
    say(
        f"Profile {settings.profile}: {settings.num_train_frames:,} frames, {settings.num_envs} environments, "
        f"{planned.device} ({threads} threads)"
    )
    say(
        f"Replay buffer: {settings.replay_buffer_size:,} frames, "
        f"{replay_bytes(settings) / 1e9:.2f} GB on {planned.replay_device}"
    )
    for note in (*planned.schedules.notes, *planned.stddev.notes):
        say(f"Note: {note}")
    if uses_pixels(settings):
        say("Preparing the renderer (its first use on a machine compiles for up to a minute) ...")
    if planned.device == "cpu":
        seconds = estimate_seconds(planned)
        say(f"At the speed measured now this takes about {_span(seconds)}.")
        if seconds > LONG_RUN_SECONDS:
            here = "A GPU is here, but not used" if torch.cuda.is_available() else "There is no GPU here"
            say(f"{here}. For a run sized for a processor, use profile=cpu (from pixels)")
            say("or profile=state (from the simulator's state: minutes).")


def estimate_seconds(planned: Plan) -> float:
    """How long training would take on this machine, from a few steps and updates of throw-away parts."""
    settings = planned.settings
    env = make_env(settings, settings.num_envs, settings.curriculum.stages[0], planned.device)
    agent = make_agent(settings, planned.device)
    observation, _ = env.reset(seed=0)

    def act() -> None:
        env.step(agent.act(observation, 1.0).cpu().numpy())

    batch = _zero_batch(settings)
    per_step = _seconds(act) / settings.num_envs
    per_update = _seconds(lambda: agent.update(batch, 1.0))
    env.close()
    learning = settings.total_steps - settings.num_seed_frames // settings.action_repeat
    evaluations = settings.num_train_frames // settings.eval_every_frames
    episodes = evaluations * settings.num_eval_episodes + settings.final_eval_episodes
    # A policy that is learning lands in about half the time it is given.
    scoring = 0.5 * episodes * settings.task.episode_decisions / settings.action_repeat
    steps = settings.total_steps + scoring
    return steps * per_step + learning / settings.update_every_steps * per_update


def _seconds(action: Any) -> float:
    """The best of up to four runs, fewer where they are slow."""
    times = []
    began = time.perf_counter()
    for _ in range(4):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
        if time.perf_counter() - began > 8.0:
            break
    return min(times)


def _zero_batch(settings: Settings) -> Any:
    count, size = settings.batch_size, settings.task.image_size
    pixels = privileged = None
    if uses_pixels(settings):
        pixels = torch.zeros(count, settings.frame_stack, size, size, dtype=torch.uint8)
    else:
        privileged = torch.zeros(count, PRIVILEGED_DIM)
    state = torch.zeros(count, settings.frame_stack * STATE_DIM)
    return SimpleNamespace(
        pixels=pixels,
        state=state,
        privileged=privileged,
        action=torch.zeros(count, ACTION_DIM),
        reward=torch.zeros(count, 1),
        discount=torch.zeros(count, 1),
        next_pixels=pixels,
        next_state=state,
        next_privileged=privileged,
    )


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def _conclude(result: Score, path: Path, minutes: float, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"Finished in {minutes:.1f} minutes. On held-out scenarios, {describe(result)}.")
    say(f"Landing video, pictures, logs and snapshots: {path}")
    say(f"See the curves: tensorboard --logdir {path.parent}")
