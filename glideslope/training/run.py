"""What all parts of one training share: its settings, its clock, what it learns, its logs and its display."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.envs.gym import LandingVectorEnv
from glideslope.runs.logger import Logger
from glideslope.runs.resume import Learner
from glideslope.settings import Settings
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.stopping import Stop
from glideslope.training.write_errors import OnWriteError


@dataclass(frozen=True)
class TrainingRun:
    """One training.

    Attributes:
        settings: its settings.
        folder: its run folder.
        clock: its steps, frames and seconds.
        stop: the request to end early.
        env: the environments that it trains in.
        learner: agent, replay buffer and schedules.
        curriculum: its stages.
        logger: its logs.
        display: shows it.
        write: writes files, as `on_write_error` has it.
    """

    settings: Settings
    folder: Path
    clock: Clock
    stop: Stop
    env: LandingVectorEnv
    learner: Learner
    curriculum: Curriculum
    logger: Logger
    display: TrainingDisplay
    write: OnWriteError


def begin_run(
    settings: Settings,
    folder: Path,
    env: LandingVectorEnv,
    learner: Learner,
    curriculum: Curriculum,
    logger: Logger,
    progress: Progress,
) -> TrainingRun:
    """Return a training at step 0, from built parts."""
    clock = Clock(settings)
    return TrainingRun(
        settings=settings,
        folder=folder,
        clock=clock,
        stop=Stop(),
        env=env,
        learner=learner,
        curriculum=curriculum,
        logger=logger,
        display=TrainingDisplay(settings, clock, curriculum, progress),
        write=OnWriteError(settings.on_write_error == "stop", clock, progress.note),
    )
