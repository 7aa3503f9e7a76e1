"""Evaluates the finished policy on held-out scenarios, which chose nothing, and logs its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glideslope.curriculum.stages import Curriculum
from glideslope.evaluation.scoring import TEST_SEED, Score
from glideslope.runs.logger import Logger
from glideslope.settings import Settings
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.evaluations import Scorer
from glideslope.training.film import NoFilm
from glideslope.training.snapshots import RunSnapshots
from glideslope.training.write_errors import OnWriteError


@dataclass(frozen=True)
class FinalResult:
    """What a run has come to."""

    scores: Sequence[Score]  # on held-out scenarios, by stage
    snapshot: str | None  # the file of the policy that was scored; None for the last policy


class FinalEvaluation:
    """The evaluation behind the last frame, on test scenarios, which chose nothing."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        scorer: Scorer,
        curriculum: Curriculum,
        snapshots: RunSnapshots,
        film: NoFilm,
        logger: Logger,
        write: OnWriteError,
        display: TrainingDisplay,
    ) -> None:
        self._seeds = range(TEST_SEED, TEST_SEED + settings.final_eval_episodes)
        self._clock, self._scorer, self._curriculum = clock, scorer, curriculum
        self._snapshots, self._film = snapshots, film
        self._logger, self._write, self._display = logger, write, display

    def run(self) -> FinalResult:
        """Score the current stage's best snapshot on every stage, and film it.

        Raises:
            StoppedError, TrainingError: as :meth:`Scorer.score`; a resumed run repeats it.
        """
        index, stages = self._curriculum.stage, self._curriculum.stages
        self._display.plan()
        self._film.remove()
        snapshot = self._snapshots.load_best(index)
        scores = []
        for stage in range(len(stages)):
            scores.append(self._scorer.score(stage, self._seeds, "final evaluation,"))
            self._display.plan(final=len(stages) - len(scores))
        row = _held_out_row(scores, index)
        self._write(lambda: self._logger.log_held_out(self._clock.frame, row), "the held-out result")
        self._film.make(stages[index], index, self._seeds, scores[index].episode_length)
        return FinalResult(scores, snapshot)


def _held_out_row(results: Sequence[Score], stage: int) -> dict[str, float | None]:
    """Return the held-out scores of every stage under their log tags; the figures of `stage` without its number."""
    own = results[stage]
    return {
        "held_out/success_rate": own.success_rate,
        "held_out/success_rate_low": own.low,
        "held_out/success_rate_high": own.high,
        "held_out/crash_rate": own.crash_rate,
        "held_out/timeout_rate": own.timeout_rate,
        "held_out/touchdown_error_m": own.touchdown_error_m,
        "held_out/touchdown_speed": own.touchdown_speed,
        "held_out/episode_reward": own.episode_reward,
        **{f"held_out/success_rate_stage{result.stage}": result.success_rate for result in results},
    }
