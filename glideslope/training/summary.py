"""What a training prints at its end: how it went, which files it left, and what one would type next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from glideslope.display.commands import evaluate_command, resume_command, tensorboard_command
from glideslope.display.console import say
from glideslope.display.results import results_table, unfinished_curriculum
from glideslope.errors import duration, failure
from glideslope.runs.folder import FINISHED, RunFolder
from glideslope.runs.resume import REPLAY
from glideslope.runs.snapshots import ROLLING, resume_candidates
from glideslope.settings.schedules import run_schedules
from glideslope.training.film import FILM
from glideslope.training.final_evaluation import FinalResult
from glideslope.training.plan import TrainingPlan
from glideslope.training.run import TrainingRun

# What a finished training leaves to look at, where it could be written.
RESULT_FILES = (FILM, "training.png", "learning_rates.png", "train.csv", "eval.csv", FINISHED, ROLLING)


def conclude(
    plan: TrainingPlan,
    folder: RunFolder,
    run: TrainingRun,
    result: FinalResult,
    fault: str | None,
    saved: bool,
    console: Console,
) -> int:
    """Mark the run finished, unless there is a fault, and print how it went; return the exit status.

    Args:
        plan: the run's.
        folder: its folder.
        run: the training.
        result: its final evaluation.
        fault: why a result can't be written.
        saved: whether the rolling snapshot is of the last frame.
        console: where to print.
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
    say(console, "Resume it:" if snapshots else "There is no snapshot yet. Start it anew:")
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
