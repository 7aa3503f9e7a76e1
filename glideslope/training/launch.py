"""Starts a training run and brings it to its end: claims the folder, builds the parts, trains, sums up."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from glideslope.build import make_curriculum, make_env, make_learner, open_snapshots, uses_pixels
from glideslope.display.commands import started
from glideslope.display.console import say, screen
from glideslope.display.figures import plot_run
from glideslope.display.progress import Progress
from glideslope.display.time_left import Costs
from glideslope.display.workload import scoring_envs, work_left
from glideslope.errors import UserError, failure
from glideslope.runs.logger import Logger
from glideslope.runs.resume_source import Learner, Resumption, find_resumption, require_length
from glideslope.runs.run_folder import RunFolder, claim, claim_new, finished_frames
from glideslope.runs.tracking import End, open_tracker
from glideslope.settings import Settings
from glideslope.storage.caches import use_writable_caches
from glideslope.training.estimate import measure_costs
from glideslope.training.final_evaluation import FILM, FinalResult
from glideslope.training.messages import conclude, introduce, say_next, say_stopped, tell_duration
from glideslope.training.preflight import TrainingPlan, make_plan, require_space
from glideslope.training.process import prepare_process
from glideslope.training.ranks import ALONE, LostRankError, Ranks
from glideslope.training.run import StoppedError, TrainingError, TrainingRun
from glideslope.training.trainer import Trainer
from glideslope.training.wiring import Parts


def train(
    settings: Settings,
    run_dir: Path,
    *,
    new_folder: bool = False,
    given: Collection[str] = (),
    overrides: Sequence[str] = (),
    accept_schedule: bool = False,
    changes: Sequence[str] = (),
    console: Console | None = None,
    ranks: Ranks = ALONE,
    until: int | None = None,
) -> int:
    """Train to the end in ``run_dir``, from the newest good snapshot there if there is one.

    Returns the exit status: 0, 1 after a training error, 128 + the signal's number when stopped by one.

    Args:
        settings: the run's settings.
        run_dir: the run's folder, made if need be.
        new_folder: give it a number where it exists already, as another run's.
        given: the keys that the user set.
        overrides: the settings as the user typed them, kept in the folder.
        accept_schedule: resume with these schedules where the snapshot's are different.
        changes: what differs from the settings that the run had before, to be told.
        console: where to show progress; standard output by default.
        ranks: the processes that train together. The first one writes and shows; its `run_dir` counts.
        until: pause at this frame, with a snapshot from which the next call resumes; its costs are not measured.

    Raises:
        UserError, ScheduleError: before anything is written.
    """
    console = (console or screen()) if ranks.is_first else Console(quiet=True)
    plan = make_plan(settings, given, ranks)
    with ExitStack() as stack:
        folder = ranks.by_first(
            lambda: stack.enter_context(claim_new(run_dir) if new_folder else claim(run_dir, resume=True))
        )
        finished = ranks.from_first(finished_frames(folder.path) if folder.contents == "finished" else 0)
        require_length(settings.num_train_frames, finished)
        if settings.num_train_frames == finished:
            say(console, f"This run is finished: {folder.path}")
            say_next(plan, folder.path, console)
            return 0
        use_writable_caches(lambda note: say(console, f"Note: {note}"))
        prepare_process(ranks.own(settings).num_threads)
        learner = make_learner(
            *(ranks.own(settings), plan.schedules, plan.device, plan.replay_device, folder.path),
            share=ranks.share,
            average=ranks.average,
        )
        resumption = None
        if folder.contents != "empty":
            resumption = find_resumption(
                folder,
                learner,
                num_train_frames=settings.num_train_frames,
                accept_schedule=accept_schedule,
                note=lambda text: say(console, text),
            )
        require_space(settings, folder.path, learner)
        for line in changes:
            say(console, f"Changed: {line}")
        introduce(plan, folder.path, learner.agent, resumption, console, ranks.share.count)
        costs = _measure(plan, ranks, console) if until is None else {}
        if not ranks.is_first:
            # Nothing is written there, but for empty logs.
            folder = RunFolder(Path(stack.enter_context(TemporaryDirectory(prefix="glideslope-"))), "empty", None)
        ranks.wait()  # until all have read the folder
        opened: list[Logger] = []
        ranks.by_first(lambda: opened.append(_open(folder, settings, overrides, resumption, console)))
        logger = opened[0] if opened else Logger(folder.path)
        return _run(plan, folder, learner, resumption, logger, costs, console, ranks, until)


def _measure(plan: TrainingPlan, ranks: Ranks, console: Console) -> Costs:
    """Measure what the run's work costs here, which also prepares the renderer.

    Raises:
        UserError: the renderer can't be prepared.
    """
    if uses_pixels(plan.settings) or plan.settings.save_video:
        say(console, "Preparing the renderer (the first use on a machine takes up to a minute) ...")
    try:
        return measure_costs(ranks.own(plan.settings), plan.device)
    except OSError as error:
        raise UserError(f"the renderer can't be prepared: {error}") from error


def _open(
    folder: RunFolder, settings: Settings, overrides: Sequence[str], resumption: Resumption | None, console: Console
) -> Logger:
    """Make the first writes of a run: its settings, what computes it, and its logs, cut to the snapshot's frame."""
    first = None
    if resumption is not None:
        first = resumption.frame
    elif folder.contents != "empty":
        first = -1  # it never came to a snapshot: its logs begin anew
    plain, command = settings.to_plain(), " ".join([started("train"), *map(shlex.quote, overrides)])
    tracker = open_tracker(settings.track, folder.path, plain, command, lambda text: say(console, text))
    try:
        folder.reopen()
        folder.write_config(plain)
        folder.write_overrides(overrides)
        folder.write_versions()
        logger = Logger(
            folder.path,
            resume_frame=first,
            evaluation_due=resumption is not None and resumption.evaluation_due,
            update_due=resumption is not None and resumption.update_due,
            tracker=tracker,
        )
        logger.log_settings(plain, command)
        return logger
    except OSError as error:
        raise UserError(f"can't write to the run folder: {failure(error)}") from error


def _run(
    plan: TrainingPlan,
    folder: RunFolder,
    learner: Learner,
    resumption: Resumption | None,
    logger: Logger,
    costs: Costs,
    console: Console,
    ranks: Ranks,
    until: int | None,
) -> int:
    """Train, evaluate, draw, and print how it ended; return the exit status."""
    settings, path = plan.settings, folder.path
    first = 0 if resumption is None else resumption.frame
    unwritten: list[OSError] = []
    end: End = "failed"
    failed: TrainingError | LostRankError | None = None
    result: FinalResult | None = None
    undrawn = None
    progress = Progress(
        settings.num_train_frames,
        done=first,
        whole=work_left(settings, 0),
        work=work_left(settings, first),
        costs=costs,
        console=console,
    )
    with ExitStack() as stack, progress:
        stack.callback(_close, logger, unwritten)
        film = path / FILM
        stack.callback(lambda: logger.tracker.finish(film if end == "finished" and film.exists() else None, end))
        if resumption is None and until is None:
            tell_duration(progress, plan.device)
        run, parts = _build(plan, path, learner, logger, progress, ranks, stack)
        trainer = Trainer(run, parts)
        if resumption is not None:
            _restore(trainer, resumption)
            run.display.plan()
            if until is None:
                tell_duration(progress, plan.device)
        try:
            with run.stop.on_signals():
                result = parts.final_evaluation.run() if trainer.train(until) else None
        except StoppedError:
            pass
        except (TrainingError, LostRankError) as error:
            failed = error
        if failed is None:
            end = "stopped" if result is None else "finished"
        stack.close()  # the logs are whole now
        if result is not None and not unwritten and ranks.is_first:
            with progress.activity("draw", "drawing the pictures"):
                undrawn = _draw(path, settings)
            progress.finish()
    if unwritten:
        say(console, f"The logs can't be written: {failure(unwritten[0])}")
    if failed is not None:
        say_stopped(f"Stopped: {failed}", path, console)
        return 1
    if result is None and until is not None and not run.stop.requested:
        say(console, f"Paused at frame {run.clock.frame:,}.")
        return 0
    if result is None:
        say_stopped(f"Stopped at frame {run.clock.frame:,}.", path, console)
        return 128 + run.stop.signal
    if unwritten:
        say_stopped("Trained, but not finished: its logs are incomplete.", path, console)
        return 1
    if not ranks.is_first:
        return 0
    return conclude(plan, folder, run, result, undrawn, parts.snapshots.is_saved, console)


def _build(
    plan: TrainingPlan,
    run_dir: Path,
    learner: Learner,
    logger: Logger,
    progress: Progress,
    ranks: Ranks,
    stack: ExitStack,
) -> tuple[TrainingRun, Parts]:
    """Build what the training needs besides the learner, and connect it; the environments close with the stack."""
    settings, own = plan.settings, ranks.own(plan.settings)
    make = partial(make_env, own, stage=settings.curriculum.stages[0], device=plan.device)
    # Evaluation draws all its worlds at once, so it has environments of its own.
    env = make(num_envs=own.num_envs)
    eval_envs = [make(num_envs=count) for count in scoring_envs(own)]
    for each in (env, *eval_envs):
        stack.callback(each.close)
    run = TrainingRun(settings, run_dir, env, learner, make_curriculum(settings), logger, progress, ranks)
    files = open_snapshots(settings, run_dir, progress.note)
    return run, Parts(run, eval_envs, partial(make, num_envs=1, film=True), files)


def _restore(trainer: Trainer, resumption: Resumption) -> None:
    try:
        trainer.resume(resumption)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{resumption.path}: doesn't fit the run's settings: {error}") from error


def _close(logger: Logger, failures: list[OSError]) -> None:
    try:
        logger.close()
    except OSError as error:
        failures.append(error)


def _draw(run_dir: Path, settings: Settings) -> str | None:
    """Draw the run's pictures; return why they can't be."""
    try:
        plot_run(run_dir, stage_names=settings.curriculum.stage_names)
    except OSError as error:
        return failure(error)
    except ValueError as error:  # somebody has changed a table
        return str(error)
    return None
