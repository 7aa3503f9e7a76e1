"""The parts that the training loop is handed, and how they are connected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from glideslope.envs.gym import LandingVectorEnv
from glideslope.runs.snapshots import Snapshots
from glideslope.training.actions import Actions
from glideslope.training.evaluations import Scorer, Validation
from glideslope.training.experience import Experience
from glideslope.training.film import LandingFilm, NoFilm
from glideslope.training.final_evaluation import FinalEvaluation
from glideslope.training.records import Records
from glideslope.training.run import TrainingRun
from glideslope.training.snapshots import RunSnapshots
from glideslope.training.stage_changes import StageChanges


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    actions: Actions
    experience: Experience
    records: Records
    validation: Validation
    snapshots: RunSnapshots
    stages: StageChanges
    final_evaluation: FinalEvaluation


def connect(
    run: TrainingRun,
    eval_env: LandingVectorEnv,
    make_film_env: Callable[[], LandingVectorEnv],
    files: Snapshots,
) -> Parts:
    """Return the parts of a training.

    Args:
        run: what they share.
        eval_env: environments to evaluate in.
        make_film_env: makes an environment with views.
        files: the folder's snapshots.
    """
    actions, records = Actions(run), Records(run)
    scorer = Scorer(run, eval_env, actions.greedy)
    validation = Validation(run, scorer)
    snapshots = RunSnapshots(run, actions, records, validation, files)
    film = LandingFilm(run, make_film_env, actions.greedy) if run.settings.save_video else NoFilm(run)
    return Parts(
        actions=actions,
        experience=Experience(run.learner.replay, run.settings.reward_scale),
        records=records,
        validation=validation,
        snapshots=snapshots,
        stages=StageChanges(run, snapshots),
        final_evaluation=FinalEvaluation(run, scorer, snapshots, film),
    )
