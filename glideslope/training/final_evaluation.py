"""Evaluates the finished policy on held-out scenarios, which chose nothing, and logs its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glideslope.evaluation.scoring import TEST_SEED, Score
from glideslope.training.evaluations import Scorer
from glideslope.training.film import NoFilm
from glideslope.training.run import TrainingRun
from glideslope.training.snapshots import RunSnapshots

_FIGURES = ("crash_rate", "timeout_rate", "touchdown_error_m", "touchdown_speed", "episode_reward")


@dataclass(frozen=True)
class FinalResult:
    """What a run has come to."""

    scores: Sequence[Score]  # on held-out scenarios, by stage
    snapshot: str | None  # the file of the policy that was scored; None for the last policy


class FinalEvaluation:
    """The evaluation behind the last frame, on test scenarios, which chose nothing."""

    def __init__(self, run: TrainingRun, scorer: Scorer, snapshots: RunSnapshots, film: NoFilm) -> None:
        self._run, self._scorer, self._snapshots, self._film = run, scorer, snapshots, film
        self._seeds = range(TEST_SEED, TEST_SEED + run.settings.final_eval_episodes)

    def run(self) -> FinalResult:
        """Score the current stage's best snapshot on every stage, and film it.

        Raises:
            StoppedError, TrainingError: as :meth:`Scorer.score`; a resumed run repeats it.
        """
        run, display = self._run, self._run.display
        index, stages = run.curriculum.stage, run.curriculum.stages
        display.plan()
        self._film.remove()
        snapshot = self._snapshots.load_best(index)
        scores = []
        for stage in range(len(stages)):
            scores.append(self._scorer.score(stage, self._seeds, "final evaluation,"))
            display.plan(final=len(stages) - len(scores))
        row = _held_out_row(scores, index)
        run.write(lambda: run.logger.log_held_out(run.clock.frame, row), "the held-out result")
        self._film.make(stages[index], index, self._seeds, scores[index].episode_length)
        return FinalResult(scores, snapshot)


def _held_out_row(results: Sequence[Score], stage: int) -> dict[str, float | None]:
    """Return the held-out scores of every stage under their log tags; the figures of `stage` without its number."""
    own = results[stage]
    return {
        "held_out/success_rate": own.success_rate,
        "held_out/success_rate_low": own.low,
        "held_out/success_rate_high": own.high,
        **{f"held_out/{name}": getattr(own, name) for name in _FIGURES},
        **{f"held_out/success_rate_stage{result.stage}": result.success_rate for result in results},
    }
