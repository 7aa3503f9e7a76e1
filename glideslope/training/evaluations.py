"""Evaluates the policy during training, on validation scenarios, and logs the rows of eval.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeAlias

from glideslope.curriculum.retention import Retention
from glideslope.envs.gym import LandingVectorEnv
from glideslope.evaluation.scoring import VALIDATION_SEED, Act, Episode, Score, play, summarise
from glideslope.settings import NETWORKS, StageSettings
from glideslope.settings.schedules import METRICS, NOISE
from glideslope.training.objective import EVAL
from glideslope.training.run import StoppedError, TrainingRun

# An evaluation that is due: of the current stage, of every stage reached (at the end of all stages), or none.
Due: TypeAlias = Literal["stage", "all stages"] | None


class Scorer:
    """Scores the policy on a stage, and shows that; in environments of its own, as training's are amid episodes.

    With two vectors of environments each plays half of the scenarios, on a thread of its own.
    """

    def __init__(self, run: TrainingRun, envs: Sequence[LandingVectorEnv], act: Act, act_beside: Act) -> None:
        self._run, self._envs, self._acts = run, envs, (act, act_beside)

    def score(self, index: int, seeds: Sequence[int], what: str) -> Score:
        """Play the scenarios ``seeds`` of a stage.

        Raises:
            StoppedError: a stop was requested.
            TrainingError: a network has diverged.
        """
        stage, display = self._run.curriculum.stages[index], self._run.display
        with display.scoring(index, len(seeds), what):
            result = summarise(self._play(stage, index, seeds), stage, index)
        display.scored(result.episode_length)
        return result

    def _play(self, stage: StageSettings, index: int, seeds: Sequence[int]) -> list[Episode]:
        """Play the scenarios, of which each process has its part."""
        ranks, own = self._run.ranks, None
        every, first = ranks.share.count, ranks.share.rank
        try:
            own = self._play_own(stage, index, seeds[first::every])
        except StoppedError:
            if every == 1:
                raise
        parts = ranks.gather(own)
        if any(part is None for part in parts):
            raise StoppedError
        return [parts[place % every][place // every] for place in range(len(seeds))]  # type: ignore[index]

    def _play_own(self, stage: StageSettings, index: int, seeds: Sequence[int]) -> list[Episode]:
        ended = self._run.display.progress.advance
        (act, act_beside), (env, *beside) = self._acts, self._envs
        if not beside or len(seeds) < 2:
            return play(env, act, stage, index, seeds, ended) if seeds else []
        half = (len(seeds) + 1) // 2
        with ThreadPoolExecutor(1, thread_name_prefix="evaluation") as worker:
            later = worker.submit(play, beside[0], act_beside, stage, index, seeds[half:], ended)
            return play(env, act, stage, index, seeds[:half], ended) + later.result()


class Validation:
    """Evaluations during training, which choose the snapshots to keep and lower rates that wait for progress.

    Attributes:
        due: the evaluation to make before the next step.
    """

    def __init__(self, run: TrainingRun, scorer: Scorer) -> None:
        self._run, self._scorer = run, scorer
        self._seeds = range(VALIDATION_SEED, VALIDATION_SEED + run.settings.num_eval_episodes)
        self._retention = Retention()
        self.due: Due = None

    def plan(self, stage_changed: bool) -> None:
        """Set what is due behind a vector step."""
        clock, every = self._run.clock, self._run.settings.eval_every_frames
        if stage_changed or clock.at_end:
            self.due = "all stages"
        else:
            self.due = "stage" if clock.passed(every) else None

    @property
    def due_stages(self) -> Sequence[int]:
        """The stages to be evaluated before the next step."""
        if self.due is None:
            return ()
        curriculum = self._run.curriculum
        if self.due == "stage":
            return [curriculum.stage]
        return range(len(curriculum.stages) if self._run.clock.at_end else curriculum.reached + 1)

    def run(self) -> Score | None:
        """Make the evaluation that is due; return the score on the current stage, None where nothing was due.

        Raises:
            StoppedError, TrainingError: as :meth:`Scorer.score`.
        """
        run, curriculum, display = self._run, self._run.curriculum, self._run.display
        chosen = self.due_stages
        if not chosen:
            return None
        results = {}
        for left, stage in zip(reversed(range(len(chosen))), chosen, strict=True):
            results[stage] = self._scorer.score(stage, self._seeds, "evaluating")
            display.plan(due=left)
        self.due = None
        result = results[curriculum.stage]
        rates = {stage: scored.success_rate for stage, scored in results.items()}
        row: dict[str, float | None] = {f"eval/{name}": getattr(result, name) for name in EVAL}
        row |= self._retention.row(rates, curriculum.reached)
        run.write(lambda: run.logger.log_eval(run.clock.frame, row), "the evaluation log")
        display.note(_described(result))
        if len(results) > 1:
            each = ", ".join(f"{scored.name} {scored.success_rate:.0%}" for scored in results.values())
            display.note(f"every stage{'' if run.clock.at_end else ' so far'}: {each}")
        self._lower_rates(result)
        return result

    def _lower_rates(self, result: Score) -> None:
        """Lower the rates and the noise that have waited too long for progress."""
        step, history = self._run.clock.step, self._run.curriculum.history
        schedules = self._run.learner.schedules
        metrics = {name: getattr(result, name, None) for name in METRICS} | self._run.losses
        known = {name: math.nan if value is None else value for name, value in metrics.items()}
        for name in schedules.evaluated(step, known, history):
            rate = schedules.rate(name, step + 1, history)
            kind = "exploration noise" if name == NOISE else name
            if name in NETWORKS:
                kind = f"learning rate of the {name}"
            self._run.display.note(f"no progress, so the {kind} is reduced to {rate:g}")

    def state_dict(self) -> dict[str, Any]:
        """Return what is due, and the best success rates."""
        return {"due": self.due, "retention": self._retention.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.due = state["due"]
        self._retention.load_state_dict(state["retention"])


def _described(result: Score) -> str:
    """Return a score in one line."""
    error = "" if result.touchdown_error_m is None else f", {result.touchdown_error_m:.2f} m off centre"
    return (
        f"stage {result.stage} {result.name}: {result.success_rate:.0%} landed of {result.episodes} "
        f"(95% interval {result.low:.0%} to {result.high:.0%}), {result.crash_rate:.0%} crashed, "
        f"{result.timeout_rate:.0%} timed out{error}"
    )
