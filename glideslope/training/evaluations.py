"""Evaluates the policy during training, on validation scenarios, and logs the rows of eval.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from glideslope.curriculum.retention import Retention
from glideslope.curriculum.stages import Curriculum
from glideslope.envs.gym import LandingVectorEnv
from glideslope.evaluation.scoring import VALIDATION_SEED, Act, Score, score
from glideslope.lr_scheduler import LiveSchedules
from glideslope.runs.logger import Logger
from glideslope.settings import Settings
from glideslope.settings.schedules import NOISE
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.write_errors import OnWriteError

# An evaluation that is due: of the current stage, of every stage, or none.
Due: TypeAlias = Literal["stage", "all stages"] | None


class Scorer:
    """Scores the policy on a stage, and shows that.

    Args:
        env: environments of its own, as training's are in the middle of episodes.
        act: the policy.
        curriculum: has the stages.
        display: shows it.
    """

    def __init__(
        self, env: LandingVectorEnv, act: Act, curriculum: Curriculum, display: TrainingDisplay
    ) -> None:
        self._env, self._act, self._curriculum, self._display = env, act, curriculum, display

    def score(self, index: int, seeds: Sequence[int], what: str) -> Score:
        """Play the scenarios ``seeds`` of a stage.

        Raises:
            StoppedError: a stop was requested.
            TrainingError: a network has diverged.
        """
        stage, display = self._curriculum.stages[index], self._display
        with display.scoring(index, len(seeds), what):
            result = score(self._env, self._act, stage, index, seeds, display.progress.advance)
        display.scored(result.episode_length)
        return result


class Validation:
    """Evaluations during training, which choose the snapshots to keep and lower rates that wait for progress.

    Attributes:
        due: the evaluation to make before the next step.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        scorer: Scorer,
        curriculum: Curriculum,
        schedules: LiveSchedules,
        logger: Logger,
        write: OnWriteError,
        display: TrainingDisplay,
    ) -> None:
        self._every = settings.eval_every_frames
        self._seeds = range(VALIDATION_SEED, VALIDATION_SEED + settings.num_eval_episodes)
        self._clock, self._scorer, self._curriculum = clock, scorer, curriculum
        self._schedules, self._logger, self._write, self._display = schedules, logger, write, display
        self._retention = Retention()
        self.due: Due = None

    def plan(self, stage_changed: bool) -> None:
        """Set what is due behind a vector step."""
        if stage_changed or self._clock.at_end:
            self.due = "all stages"
        else:
            self.due = "stage" if self._clock.passed(self._every) else None

    @property
    def due_stages(self) -> Sequence[int]:
        """The stages to be evaluated before the next step."""
        if self.due is None:
            return ()
        return [self._curriculum.stage] if self.due == "stage" else range(len(self._curriculum.stages))

    def run(self) -> Score | None:
        """Make the evaluation that is due; return the score on the current stage, None where nothing was due.

        Raises:
            StoppedError, TrainingError: as :meth:`Scorer.score`.
        """
        chosen, display = self.due_stages, self._display
        if not chosen:
            return None
        results = {}
        for left, stage in zip(reversed(range(len(chosen))), chosen, strict=True):
            results[stage] = self._scorer.score(stage, self._seeds, "evaluating")
            display.plan(due=left)
        self.due = None
        result = results[self._curriculum.stage]
        rates = {stage: scored.success_rate for stage, scored in results.items()}
        row = _validation_row(result)
        row |= self._retention.row(rates, self._curriculum.reached, len(self._curriculum.stages))
        self._write(lambda: self._logger.log_eval(self._clock.frame, row), "the evaluation log")
        display.note(_described(result))
        if len(results) > 1:
            each = ", ".join(f"{scored.name} {scored.success_rate:.0%}" for scored in results.values())
            display.note(f"every stage: {each}")
        self._lower_rates(result)
        return result

    def _lower_rates(self, result: Score) -> None:
        """Lower the rates and the noise that have waited too long for progress."""
        step, history = self._clock.step, self._curriculum.history
        metrics = {"success_rate": result.success_rate, "episode_reward": result.episode_reward}
        for name in self._schedules.evaluated(step, metrics, history):
            rate = self._schedules.rate(name, step + 1, history)
            kind = "exploration noise" if name == NOISE else f"learning rate of the {name}"
            self._display.note(f"no progress, so the {kind} is reduced to {rate:g}")

    def state_dict(self) -> dict[str, Any]:
        """Return what is due, and the best success rates."""
        return {"due": self.due, "retention": self._retention.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.due = state["due"]
        self._retention.load_state_dict(state["retention"])


def _validation_row(result: Score) -> dict[str, float | None]:
    """Return a score under its log tags."""
    return {
        "eval/stage": result.stage,
        "eval/success_rate": result.success_rate,
        "eval/crash_rate": result.crash_rate,
        "eval/timeout_rate": result.timeout_rate,
        "eval/touchdown_error_m": result.touchdown_error_m,
        "eval/touchdown_speed": result.touchdown_speed,
        "eval/episode_reward": result.episode_reward,
        "eval/episode_length": result.episode_length,
    }


def _described(result: Score) -> str:
    """Return a score in one line."""
    error = "" if result.touchdown_error_m is None else f", {result.touchdown_error_m:.2f} m off centre"
    return (
        f"stage {result.stage} {result.name}: {result.success_rate:.0%} landed of {result.episodes} "
        f"(95% interval {result.low:.0%} to {result.high:.0%}), {result.crash_rate:.0%} crashed, "
        f"{result.timeout_rate:.0%} timed out{error}"
    )
