"""What a training prints at its start and at its end: what runs where, how it went, what one would type next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from glideslope.agent import DrQV2Agent
from glideslope.build import replay_bytes
from glideslope.display.commands import evaluate_command, resume_command, tensorboard_command
from glideslope.display.console import say
from glideslope.display.progress import Progress
from glideslope.display.results import results_table, unfinished_curriculum
from glideslope.errors import data_size, duration, failure
from glideslope.runs.resume_source import REPLAY, Resumption
from glideslope.runs.run_folder import FINISHED, RunFolder, version_changes
from glideslope.runs.snapshots import ROLLING, resume_candidates
from glideslope.settings.schedules import run_schedules
from glideslope.training.final_evaluation import FILM, FinalResult
from glideslope.training.preflight import TrainingPlan
from glideslope.training.run import TrainingRun

# A run longer than this on a processor gets advice before it starts.
LONG_RUN_SECONDS = 12 * 3600
# What a finished training leaves to look at, where it could be written.
RESULT_FILES = (FILM, "training.png", "learning_rates.png", "train.csv", "eval.csv", FINISHED, ROLLING)


def introduce(
    plan: TrainingPlan,
    run_dir: Path,
    agent: DrQV2Agent,
    resumption: Resumption | None,
    console: Console,
    processes: int = 1,
) -> None:
    """Print what will run, where, and how much memory it takes."""
    settings, threads = plan.settings, torch.get_num_threads()
    sizes = [sum(p.numel() for p in network.parameters()) for network in agent.networks.values()]
    say(console, "Run folder: ", str(run_dir))
    lines = [
        f"Profile {settings.profile}: {settings.num_train_frames:,} frames, {settings.num_envs} environments, "
        f"{'' if processes == 1 else f'{processes} processes on '}{plan.device} "
        f"({threads} {'thread' if threads == 1 else 'threads'}{'' if processes == 1 else ' each'})",
        f"Replay buffer: {settings.replay_buffer_size:,} frames, {data_size(replay_bytes(settings))} on "
        f"{plan.replay_device}",
        f"Networks: encoder {settings.agent.encoder.name}, actor-critic {settings.agent.actor_critic.name}; "
        "{:,} + {:,} + {:,} parameters".format(*sizes),
        *(f"Note: {note}" for note in plan.schedules.notes),
    ]
    if resumption is not None:
        lines.append(f"Resuming from frame {resumption.frame:,}: {resumption.path.name}")
        lines += [f"Note: {note}" for note in version_changes(run_dir)]
    for line in lines:
        say(console, line)


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


def conclude(
    plan: TrainingPlan,
    folder: RunFolder,
    run: TrainingRun,
    result: FinalResult,
    fault: str | None,
    saved: bool,
    console: Console,
) -> int:
    """Mark the run finished, unless `fault` says why a result can't be written, and print how it went.

    `saved` is whether the rolling snapshot is of the last frame. Returns the exit status.
    """
    clock, settings, path = run.clock, run.settings, folder.path
    rows = [score.to_plain() for score in result.scores]
    summary = {
        "frames": settings.num_train_frames,
        "snapshot": result.snapshot,
        "minutes": round(clock.seconds / 60, 2),
        "evaluation": rows[run.curriculum.stage],
        "stages": rows,
    }
    if fault is None:
        try:
            folder.mark_finished(summary)
            if not settings.keep_replay:
                shutil.rmtree(path / REPLAY, ignore_errors=True)
        except OSError as error:
            fault = failure(error)
    done = "Finished" if fault is None else "Trained"
    before = ", the time before resuming included" if clock.was_resumed else ""
    policy = "last policy" if result.snapshot is None else f"best policy, {result.snapshot},"
    say(console, f"{done} in {duration(clock.seconds)}{before}. The {policy} on held-out scenarios:")
    console.print(results_table(rows), markup=False)
    unfinished = unfinished_curriculum(run.curriculum.reached, settings.curriculum.stage_names, "the run")
    if unfinished is not None:
        say(console, f"Note: {unfinished}")
    say(console, "Run folder: ", str(path))
    left = [name for name in RESULT_FILES if (path / name).exists()]
    best = [result.snapshot] if result.snapshot is not None else []
    say(console, f"In it: {', '.join([*left, *best])}")
    say_next(plan, path, console)
    if fault is not None:
        say(console, f"Trained, but the results can't be written: {fault}")
    if not saved:
        say(console, "The last snapshot could not be written; the ones there are good.")
    return 0 if fault is None and saved else 1


def say_stopped(reason: str, run_dir: Path, console: Console) -> None:
    """Print why a run has stopped, and how it is resumed."""
    say(console, reason)
    snapshots = any(run_dir.glob("*.pt"))
    say(console, "Resume it:" if snapshots else "There is no snapshot yet. Start it again:")
    say(console, "  ", resume_command(run_dir))


def say_next(plan: TrainingPlan, run_dir: Path, console: Console) -> None:
    """Print what one would type after a training."""
    for purpose, command in next_commands(plan, run_dir):
        say(console, f"{purpose}:")
        say(console, "  ", command)


def next_commands(plan: TrainingPlan, run_dir: Path) -> Iterator[tuple[str, str]]:
    """Yield what one would type after a training: (purpose, command)."""
    yield "Evaluate this run", evaluate_command(run_dir, "stage=all")
    longer = 2 * plan.settings.num_train_frames
    if (run_dir / REPLAY).exists() and any(resume_candidates(run_dir)):
        held = ["resume_lr_schedule=hold"] if _depends_on_length(plan, longer) else []
        yield "Resume it with more frames", resume_command(run_dir, f"num_train_frames={longer}", *held)
    yield "See its curves", tensorboard_command(run_dir)


def _depends_on_length(plan: TrainingPlan, frames: int) -> bool:
    """Return whether a schedule is another one in a training of ``frames`` frames."""
    then = run_schedules(plan.settings.model_copy(update={"num_train_frames": frames}))
    return any(schedule.describe() != then[name].describe() for name, schedule in plan.schedules.items())
