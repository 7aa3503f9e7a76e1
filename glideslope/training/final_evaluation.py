"""Evaluates the finished policy on held-out scenarios, which chose nothing, logs its figures and films it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glideslope.display.workload import film_episodes, film_pictures
from glideslope.envs.gym import LandingVectorEnv
from glideslope.evaluation.filming import record_episodes
from glideslope.evaluation.scoring import TEST_SEED, Act, Score
from glideslope.training.evaluations import Scorer
from glideslope.training.run import TrainingRun
from glideslope.training.snapshot_state import RunSnapshots

FILM = "landing.mp4"

_FIGURES = ("crash_rate", "timeout_rate", "touchdown_error_m", "touchdown_speed", "episode_reward")


@dataclass(frozen=True)
class FinalResult:
    """What a run has come to."""

    scores: Sequence[Score]  # on held-out scenarios, by stage
    snapshot: str | None  # the file of the policy that was scored; None for the last policy


class FinalEvaluation:
    """The evaluation behind the last frame, on test scenarios, which chose nothing.

    `make_film_env` makes one environment with views; it is called where the film is made, as it loads the renderer.
    """

    def __init__(
        self,
        run: TrainingRun,
        scorer: Scorer,
        snapshots: RunSnapshots,
        make_film_env: Callable[[], LandingVectorEnv],
        act: Act,
    ) -> None:
        self._run, self._scorer, self._snapshots = run, scorer, snapshots
        self._make_film_env, self._act, self._film = make_film_env, act, run.folder / FILM
        self._seeds = range(TEST_SEED, TEST_SEED + run.settings.final_eval_episodes)

    def run(self) -> FinalResult:
        """Score the current stage's best snapshot on every stage, and film it.

        Raises:
            StoppedError, TrainingError: as :meth:`Scorer.score`; a resumed run repeats it.
        """
        run, display, index = self._run, self._run.display, self._run.curriculum.stage
        display.plan()
        # The film of an earlier end of this run shows another policy.
        run.write(lambda: self._film.unlink(missing_ok=True), "the film")
        snapshot = self._snapshots.load_best(index)
        scores: list[Score] = []
        for left in reversed(range(len(run.curriculum.stages))):
            scores.append(self._scorer.score(len(scores), self._seeds, "final evaluation,"))
            display.plan(final=left)
        row = _held_out_row(scores, index)
        run.write(lambda: run.logger.log_held_out(run.clock.frame, row), "the held-out result")
        if run.settings.save_video:
            pictures = film_pictures(run.settings, scores[index].episode_length)
            display.progress.plan({"film": pictures, "draw": 1.0})
            with display.progress.activity("film", "filming", units=pictures):
                run.write(lambda: self._record(index), "the film")
        return FinalResult(scores, snapshot)

    def _record(self, index: int) -> None:
        """Film the first scenarios of a stage."""
        stage, seeds, env = self._run.curriculum.stages[index], self._seeds, self._make_film_env()
        try:
            record_episodes(env, self._act, stage, index, seeds[: film_episodes(self._run.settings)], self._film)
        except (RuntimeError, ValueError) as error:  # of the encoder: no film, but the run is done
            raise OSError(errno.EIO, str(error), str(self._film)) from error
        finally:
            env.close()


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
