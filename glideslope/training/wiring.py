"""Makes the parts of the training loop and connects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glideslope.envs.gym import LandingVectorEnv
from glideslope.runs.snapshots import Snapshots
from glideslope.training.actions import Actions
from glideslope.training.evaluations import Scorer, Validation
from glideslope.training.experience import Experience
from glideslope.training.final_evaluation import FinalEvaluation
from glideslope.training.run import TrainingRun
from glideslope.training.snapshot_state import RunSnapshots
from glideslope.training.stage_changes import StageChanges
from glideslope.training.training_log import Records
from glideslope.training.updates import Updates


class Parts:
    """What the loop works with; `files` are the folder's snapshots."""

    def __init__(
        self,
        run: TrainingRun,
        eval_envs: Sequence[LandingVectorEnv],
        make_film_env: Callable[[], LandingVectorEnv],
        files: Snapshots,
    ) -> None:
        self.actions, self.records = Actions(run), Records(run)
        self.updates = Updates(run, self.records)
        self.experience = Experience(run.learner.replay, run.settings.reward_scale)
        scorer = Scorer(run, eval_envs, self.actions.greedy, self.actions.greedy_beside)
        self.validation = Validation(run, scorer)
        self.snapshots = RunSnapshots(run, self.actions, self.records, self.validation, files)
        self.stages = StageChanges(run, self.snapshots)
        self.final_evaluation = FinalEvaluation(run, scorer, self.snapshots, make_film_env, self.actions.greedy)
