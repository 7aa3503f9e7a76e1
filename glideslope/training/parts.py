"""The parts that the training loop is handed, and how they are connected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.envs.gym import LandingVectorEnv
from glideslope.runs.logger import Logger
from glideslope.runs.resume import Learner
from glideslope.runs.snapshots import Snapshots
from glideslope.settings import Settings
from glideslope.training.actions import Actions
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.evaluations import Scorer, Validation
from glideslope.training.experience import Experience
from glideslope.training.film import LandingFilm, NoFilm
from glideslope.training.final_evaluation import FinalEvaluation
from glideslope.training.records import Records
from glideslope.training.snapshots import RunSnapshots
from glideslope.training.stage_changes import StageChanges
from glideslope.training.stopping import Stop
from glideslope.training.write_errors import OnWriteError


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    env: LandingVectorEnv
    learner: Learner
    curriculum: Curriculum
    clock: Clock
    stop: Stop
    display: TrainingDisplay
    actions: Actions
    experience: Experience
    records: Records
    validation: Validation
    snapshots: RunSnapshots
    stages: StageChanges
    final_evaluation: FinalEvaluation


def connect(
    settings: Settings,
    run_dir: Path,
    *,
    env: LandingVectorEnv,
    eval_env: LandingVectorEnv,
    make_film_env: Callable[[], LandingVectorEnv],
    learner: Learner,
    curriculum: Curriculum,
    logger: Logger,
    progress: Progress,
    files: Snapshots,
) -> Parts:
    """Return the parts of a training.

    Args:
        settings: the run's settings.
        run_dir: its folder.
        env: environments to train in.
        eval_env: others, to evaluate in.
        make_film_env: makes an environment with views.
        learner: the parts that hold what is learnt.
        curriculum: the curriculum.
        logger: the logs.
        progress: the display.
        files: the folder's snapshots.
    """
    clock, stop = Clock(settings), Stop()
    display = TrainingDisplay(settings, clock, curriculum, progress)
    write = OnWriteError(settings.on_write_error == "stop", clock, progress.note)
    actions = Actions(settings, clock, stop, learner, curriculum, progress)
    scorer = Scorer(eval_env, actions.greedy, curriculum, display)
    records = Records(settings, clock, learner, curriculum, logger, write)
    validation = Validation(settings, clock, scorer, curriculum, learner.schedules, logger, write, display)
    snapshots = RunSnapshots(
        settings,
        clock,
        learner,
        curriculum,
        env,
        actions,
        records,
        validation,
        files,
        logger,
        write,
        display,
    )
    film = NoFilm(run_dir, write)
    if settings.save_video:
        film = LandingFilm(settings, run_dir, make_film_env, actions.greedy, write, progress)
    share = settings.curriculum.replay_earlier_stages
    return Parts(
        env=env,
        learner=learner,
        curriculum=curriculum,
        clock=clock,
        stop=stop,
        display=display,
        actions=actions,
        experience=Experience(learner.replay, settings.reward_scale),
        records=records,
        validation=validation,
        snapshots=snapshots,
        stages=StageChanges(clock, curriculum, env, learner.agent, snapshots, display, share),
        final_evaluation=FinalEvaluation(
            settings, clock, scorer, curriculum, snapshots, film, logger, write, display
        ),
    )
