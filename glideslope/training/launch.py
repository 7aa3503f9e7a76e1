"""Starts a training run: checks what can be checked, claims the folder, builds the parts, trains, sums up."""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console

from glideslope.agent import DrQV2Agent, keep_freed_memory
from glideslope.build import (
    make_agent,
    make_env,
    make_replay,
    replay_bytes,
    require_memory,
    resolve_device,
    use_threads,
    uses_pixels,
)
from glideslope.curriculum.stages import Curriculum
from glideslope.display.commands import evaluate_command, resume_command, started, tensorboard_command
from glideslope.display.console import say, screen
from glideslope.display.figures import plot_run
from glideslope.display.progress import Progress
from glideslope.display.results import results_table, unfinished_curriculum
from glideslope.display.time_left import Costs
from glideslope.display.workload import scoring_envs, work_left
from glideslope.errors import UserError, data_size, duration, failure
from glideslope.evaluation.scoring import Score
from glideslope.lr_scheduler import LiveSchedules, Schedule, Schedules
from glideslope.replay.store import ReplayStore
from glideslope.runs.folder import FINISHED, RunFolder, claim, claim_new, require_free_space, version_changes
from glideslope.runs.logger import Logger
from glideslope.runs.resume import Learner, Resumption, find_resumption, require_length
from glideslope.runs.snapshots import ROLLING, Snapshots, resume_candidates
from glideslope.runs.tracking import End, open_tracker, require_service
from glideslope.settings import Settings
from glideslope.settings.schedules import exploration_noise, learning_rates
from glideslope.storage.caches import use_writable_caches
from glideslope.training.estimate import measure_costs
from glideslope.training.trainer import FILM, Parts, StoppedError, Trainer, TrainingError

REPLAY = "replay"  # the replay buffer's files in a run folder
# What a finished training leaves to look at, where it could be written.
RESULT_FILES = (FILM, "training.png", "learning_rates.png", "train.csv", "eval.csv", FINISHED, ROLLING)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
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
    require_service(settings.track)
    return Plan(settings, schedules, stddev, device, replay_device)


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
) -> int:
    """Train to the end in ``run_dir``, from the newest good snapshot there if there is one.

    Returns the exit status: 0, 1 after a training error, 128 + the signal's number when stopped by one.

    Args:
        settings: the run's settings.
        run_dir: the run's folder, made if need be.
        new_folder: give it a number where it exists already, as another run's.
        given: the keys that the user set.
        overrides: the settings as the user typed them, kept in the folder.
        accept_schedule: go on with these schedules where the snapshot's are different.
        changes: what differs from the settings that the run had before, to be told.
        console: where to show progress; standard output by default.

    Raises:
        UserError, ScheduleError: before anything is written.
    """
    console = console or screen()
    planned = plan(settings, given)
    with claim_new(run_dir) if new_folder else claim(run_dir, resume=True) as folder:
        finished = folder.finished_frames() if folder.contents == "finished" else 0
        require_length(settings.num_train_frames, finished)
        if settings.num_train_frames == finished:
            _say(console, f"This run is finished: {folder.path}")
            _say_next(planned, folder.path, console)
            return 0
        use_writable_caches(lambda note: _say(console, f"Note: {note}"))
        _prepare_process(settings)
        learner = _learner(planned, folder.path)
        resumption = None
        if folder.contents != "empty":
            resumption = find_resumption(
                folder,
                learner,
                num_train_frames=settings.num_train_frames,
                accept_schedule=accept_schedule,
                note=lambda text: _say(console, text),
            )
        _require_space(planned, folder.path, learner)
        for line in changes:
            _say(console, f"Changed: {line}")
        _introduce(planned, folder.path, learner.agent, resumption, console)
        costs = _measure(planned, console)
        logger = _open(folder, settings, overrides, resumption, console)
        return _run(planned, folder, learner, resumption, logger, costs, console)


def _open(
    folder: RunFolder,
    settings: Settings,
    overrides: Sequence[str],
    resumption: Resumption | None,
    console: Console,
) -> Logger:
    """The first writes of a run: its settings, what computes it, and its logs, cut to the snapshot's frame."""
    first = None
    if resumption is not None:
        first = resumption.frame
    elif folder.contents != "empty":
        first = -1  # it never came to a snapshot: its logs begin anew
    plain, command = settings.to_plain(), " ".join([started("train"), *map(shlex.quote, overrides)])
    tracker = open_tracker(settings.track, folder.path, plain, command, lambda text: _say(console, text))
    try:
        folder.reopen()
        folder.write_config(plain)
        folder.write_overrides(overrides)
        folder.write_versions()
        due = resumption is not None and resumption.evaluation_due
        logger = Logger(folder.path, resume_frame=first, evaluation_due=due, tracker=tracker)
        logger.log_settings(plain, command)
        return logger
    except OSError as error:
        raise UserError(f"can't write to the run folder: {failure(error)}") from error


def _prepare_process(settings: Settings) -> None:
    """What holds for the whole process; first of all, as even the initial weights' last bits depend on threads."""
    use_threads(settings.num_threads)
    # Dead units leave denormal Adam moments, which processors multiply many times slower.
    torch.set_flush_denormal(True)
    keep_freed_memory()


def _learner(planned: Plan, path: Path) -> Learner:
    settings = planned.settings
    replay = make_replay(settings, planned.replay_device)
    return Learner(
        agent=_fitting_agent(planned),
        replay=replay,
        store=ReplayStore(path / REPLAY, replay),
        schedules=LiveSchedules({**planned.schedules, "stddev": planned.stddev}),
    )


def _fitting_agent(planned: Plan) -> DrQV2Agent:
    """The agent, refused where the device's memory can't hold it."""
    try:
        return make_agent(planned.settings, planned.device)
    except (RuntimeError, MemoryError) as error:  # torch tells of memory on the CPU by a RuntimeError
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "memory" in str(error):
            settings = planned.settings
            raise UserError(
                f"the networks don't fit into the memory of {planned.device}; lower hidden_dim "
                f"({settings.hidden_dim}), feature_dim ({settings.feature_dim}) or the sizes of agent.encoder "
                f"({settings.agent.encoder.name}) and agent.actor_critic ({settings.agent.actor_critic.name})"
            ) from error
        raise


def _require_space(planned: Plan, path: Path, learner: Learner) -> None:
    """Refuse to begin what would fill the disk: the replay buffer and the snapshots that are kept at least."""
    networks = sum(
        tensor.numel() * tensor.element_size()
        for network in learner.agent.networks.values()
        for tensor in network.parameters()
    )
    settings = planned.settings
    there = sum(file.stat().st_size for file in (path / REPLAY).glob("*"))
    # Files leave the ring as a whole: beyond it there are up to two intervals between snapshots.
    share = 1.0 + 2.0 * min(1.0, settings.snapshot_every_frames / settings.replay_buffer_size)
    replay = min(share, settings.num_train_frames / settings.replay_buffer_size) * replay_bytes(settings)
    # A snapshot has weights, target weights and two moments; there are two and one being written.
    needed = max(round(replay) - there, 0) + 3 * 4 * networks
    require_free_space(path, needed, "the run (its replay buffer and snapshots)")


def _run(
    planned: Plan,
    folder: RunFolder,
    learner: Learner,
    resumption: Resumption | None,
    logger: Logger,
    costs: Costs,
    console: Console,
) -> int:
    settings = planned.settings
    first = 0 if resumption is None else resumption.frame
    unwritten: list[OSError] = []
    end: End = "failed"
    failed: TrainingError | None = None
    results = None
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
        stack.callback(lambda: logger.tracker.finish(_film(folder.path, end), end))
        if resumption is None:
            _tell_duration(progress, planned.device)
        parts = _build(planned, folder.path, learner, logger, progress)
        for env in (parts.env, parts.eval_env):
            stack.callback(env.close)
        trainer = Trainer(settings, folder.path, parts)
        if resumption is not None:
            _restore(trainer, resumption)
            progress.plan(trainer.work_left())
            _tell_duration(progress, planned.device)
        with _stopping(trainer) as caught:
            try:
                results = trainer.finish() if trainer.train() else None
            except StoppedError:
                pass
            except TrainingError as error:
                failed = error
        if failed is None:
            end = "stopped" if results is None else "finished"
        stack.close()  # the logs are whole now
        if results is not None and not unwritten:
            with progress.activity("draw", "drawing the pictures"):
                undrawn = _draw(folder.path, settings)
            progress.finish()
    if unwritten:
        _say(console, f"The logs can't be written: {failure(unwritten[0])}")
    if failed is not None:
        _say_stopped(f"Stopped: {failed}", folder.path, console)
        return 1
    if results is None:
        _say_stopped(f"Stopped at frame {trainer.frame:,}.", folder.path, console)
        return 128 + next(iter(caught), signal.SIGINT)
    if unwritten:
        _say_stopped("Trained, but not finished: its logs are incomplete.", folder.path, console)
        return 1
    return _conclude(planned, folder, results, parts.curriculum.stage, trainer, undrawn, console)


def _film(path: Path, end: End) -> Path | None:
    """Return the film that this training has left."""
    film = path / FILM
    return film if end == "finished" and film.exists() else None


def _say_stopped(reason: str, path: Path, console: Console) -> None:
    """Say why a run has stopped, and how it is resumed."""
    _say(console, reason)
    snapshots = any(path.glob("*.pt"))
    _say(console, "Resume it:" if snapshots else "There is no snapshot yet. Start it anew:")
    _say(console, "  ", resume_command(path))


def _close(logger: Logger, failures: list[OSError]) -> None:
    try:
        logger.close()
    except OSError as error:
        failures.append(error)


def _restore(trainer: Trainer, resumption: Resumption) -> None:
    try:
        trainer.resume(resumption.content, rolling=resumption.is_rolling)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{resumption.path}: doesn't fit the run's settings: {error}") from error


def _build(planned: Plan, path: Path, learner: Learner, logger: Logger, progress: Progress) -> Parts:
    settings, device = planned.settings, planned.device
    curriculum = Curriculum(settings.curriculum)
    stage = curriculum.stage_settings
    # Evaluation draws all its worlds at once, so it has environments of its own.
    eval_envs = scoring_envs(settings)
    return Parts(
        env=make_env(settings, settings.num_envs, stage, device),
        eval_env=make_env(settings, eval_envs, stage, device),
        make_film_env=lambda: make_env(settings, 1, stage, device, film=True),
        agent=learner.agent,
        replay=learner.replay,
        store=learner.store,
        curriculum=curriculum,
        schedules=learner.schedules,
        logger=logger,
        progress=progress,
        snapshots=Snapshots(path, settings.curriculum.last_stage, resume=True, note=progress.note),
    )


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[list[int]]:
    """End cleanly on a signal: finish the vector step, write a snapshot. Yields the list of signals that came."""
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        trainer.stop()

    previous = {
        number: signal.signal(number, stop)
        for number in STOP_SIGNALS
        # What nohup has a program ignore is to be ignored.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _introduce(
    planned: Plan, path: Path, agent: DrQV2Agent, resumption: Resumption | None, console: Console
) -> None:
    """Say what will run, where, how much memory it takes and how long it may last."""
    settings = planned.settings

    def say(text: str) -> None:
        _say(console, text)

    _say(console, "Run folder: ", str(path))
    threads = torch.get_num_threads()
    say(
        f"Profile {settings.profile}: {settings.num_train_frames:,} frames, {settings.num_envs} environments, "
        f"{planned.device} ({threads} {'thread' if threads == 1 else 'threads'})"
    )
    say(
        f"Replay buffer: {settings.replay_buffer_size:,} frames, "
        f"{data_size(replay_bytes(settings))} on {planned.replay_device}"
    )
    sizes = [sum(p.numel() for p in network.parameters()) for network in agent.networks.values()]
    say(
        f"Networks: encoder {settings.agent.encoder.name}, actor-critic {settings.agent.actor_critic.name}; "
        "{:,} + {:,} + {:,} parameters".format(*sizes)
    )
    for note in (*planned.schedules.notes, *planned.stddev.notes):
        say(f"Note: {note}")
    if resumption is not None:
        say(f"Going on from frame {resumption.frame:,}: {resumption.path.name}")
        for note in version_changes(path):
            say(f"Note: {note}")


def _measure(planned: Plan, console: Console) -> Costs:
    """Measure what the run's work costs here, which also prepares the renderer.

    Raises:
        UserError: the renderer can't be prepared.
    """
    settings = planned.settings
    if uses_pixels(settings) or settings.save_video:
        _say(console, "Preparing the renderer (the first use on a machine takes up to a minute) ...")
    try:
        return measure_costs(settings, planned.device)
    except OSError as error:
        raise UserError(f"the renderer can't be prepared: {error}") from error


def _tell_duration(progress: Progress, device: str) -> None:
    """Say how long the run will take, and what to do where that is long."""
    seconds = progress.seconds_left()
    progress.note(f"At the speed measured now this takes about {duration(seconds)}.")
    if device == "cpu" and seconds > LONG_RUN_SECONDS:
        here = "A GPU is here, but not used" if torch.cuda.is_available() else "There is no GPU here"
        progress.note(
            f"{here}. For a run sized for a processor, use profile=cpu (from pixels) or profile=state "
            "(from the simulator's state: minutes)."
        )


def _conclude(
    planned: Plan,
    folder: RunFolder,
    results: Sequence[Score],
    stage: int,
    trainer: Trainer,
    fault: str | None,
    console: Console,
) -> int:
    """Mark the run finished, unless there is a fault, and say how it went; return the exit status."""

    def say(text: str) -> None:
        _say(console, text)

    settings, path = planned.settings, folder.path
    rows = [result.to_plain() for result in results]
    summary = {
        "frames": settings.num_train_frames,
        "snapshot": trainer.played,
        "minutes": round(trainer.seconds / 60, 2),
        "evaluation": rows[stage],
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
    before = ", the time before resuming included" if trainer.was_resumed else ""
    policy = "last policy" if trainer.played is None else f"best policy, {trainer.played},"
    say(f"{done} in {duration(trainer.seconds)}{before}. The {policy} on held-out scenarios:")
    console.print(results_table(rows), markup=False)
    unfinished = unfinished_curriculum(trainer.reached, settings.curriculum.stage_names, "the run")
    if unfinished is not None:
        say(f"Note: {unfinished}")
    _say(console, "Run folder: ", str(path))
    left = [name for name in RESULT_FILES if (path / name).exists()]
    best = [trainer.played] if trainer.played is not None else []
    say(f"In it: {', '.join([*left, *best])}")
    _say_next(planned, path, console)
    if fault is not None:
        say(f"Trained, but the results can't be written: {fault}")
    if not trainer.saved:
        say("The last snapshot could not be written; the ones there are good.")
    return 0 if fault is None and trainer.saved else 1


def _draw(path: Path, settings: Settings) -> str | None:
    """Draw the run's pictures; return why they can't be."""
    try:
        plot_run(path, stage_names=settings.curriculum.stage_names)
    except OSError as error:
        return failure(error)
    except ValueError as error:  # somebody has changed a table
        return str(error)
    return None


def _say_next(planned: Plan, path: Path, console: Console) -> None:
    """Say what one would type after a training."""
    for purpose, command in _next_commands(planned, path):
        _say(console, f"{purpose}:")
        _say(console, "  ", command)


def _next_commands(planned: Plan, path: Path) -> Iterator[tuple[str, str]]:
    """What one would type after a training, each with its purpose."""
    settings = planned.settings
    yield "Evaluate this run", evaluate_command(path, "stage=all")
    longer = 2 * settings.num_train_frames
    if (path / REPLAY).exists() and any(resume_candidates(path)):
        held = ["resume_lr_schedule=hold"] if _depends_on_length(planned, longer) else []
        yield "Resume it with more frames", resume_command(path, f"num_train_frames={longer}", *held)
    yield "See its curves", tensorboard_command(path)


def _depends_on_length(planned: Plan, frames: int) -> bool:
    """Whether a schedule is another one in a training of ``frames`` frames."""
    longer = planned.settings.model_copy(update={"num_train_frames": frames})
    now = {**planned.schedules, "stddev": planned.stddev}
    then = {**learning_rates(longer), "stddev": exploration_noise(longer)}
    return any(schedule.describe() != then[name].describe() for name, schedule in now.items())


def _say(console: Console, text: str, verbatim: str = "") -> None:
    say(console, text, verbatim)
