"""Which scenarios a training is judged by: some choose the policy, others, which chose nothing, report on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glideslope.envs.landing import Outcome
from glideslope.evaluation.scoring import Episode, Score, summarise
from glideslope.settings import StageSettings
from glideslope.training.evaluations import Validation
from glideslope.training.final_evaluation import FILM, FinalEvaluation

STAGES = tuple(StageSettings(name=name) for name in ("first", "second", "third"))
BEST = "snapshot_best_sr80_stage1_100.pt"


def fail(*arguments: object) -> Any:
    raise AssertionError("no film was asked for")


class Parts:
    """Takes the place of a training, its scorer and its snapshots, in stage 1 of three at frame 600.

    It scores half of the episodes of stage 0 as landings, and none of the others; order keeps what was asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.order: list[tuple[Any, ...]] = []
        self.rows: list[dict[str, float | None]] = []
        self.settings = SimpleNamespace(num_eval_episodes=3, final_eval_episodes=4, save_video=False)
        self.curriculum = SimpleNamespace(stage=1, reached=1, stages=STAGES, history=[(0, 0), (90, 1)])
        self.display = SimpleNamespace(plan=lambda **left: None, note=lambda text: None)
        self.clock = SimpleNamespace(frame=600, step=300, at_end=False)
        self.logger = SimpleNamespace(log_held_out=self.log, log_eval=self.log)
        self.learner = SimpleNamespace(schedules=SimpleNamespace(evaluated=lambda *told: []))
        self.losses: dict[str, float] = {}

    def log(self, frame: int, row: dict[str, float | None]) -> None:
        assert frame == 600
        self.rows.append(row)

    def write(self, write: Callable[[], None], what: str) -> None:
        write()

    def score(self, index: int, seeds: Sequence[int], what: str) -> Score:
        self.order.append(("score", index, list(seeds)))
        outcomes = [Outcome.LANDED if index == 0 and place % 2 else Outcome.CRASHED for place in range(len(seeds))]
        episodes = [
            Episode(seed, outcome, 0.1 * index if outcome == Outcome.LANDED else None, None, 10.0 * index, 5)
            for seed, outcome in zip(seeds, outcomes, strict=True)
        ]
        return summarise(episodes, STAGES[index], index)

    def load_best(self, index: int) -> str:
        self.order.append(("load", index))
        return BEST


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    return Parts(tmp_path)


def test_the_best_policy_of_the_stage_is_scored_on_held_out_scenarios_of_every_stage(parts: Any) -> None:
    (parts.folder / FILM).touch()  # of an earlier end of the run
    result = FinalEvaluation(parts, parts, parts, make_film_env=fail, act=fail).run()
    held_out = [20_000_000, 20_000_001, 20_000_002, 20_000_003]
    assert parts.order == [
        ("load", 1),
        *(("score", stage, held_out) for stage in range(3)),
    ]
    assert not (parts.folder / FILM).exists()
    assert result.snapshot == BEST
    assert [score.stage for score in result.scores] == [0, 1, 2]


def test_the_held_out_figures_are_those_of_the_stage_that_was_reached(parts: Any) -> None:
    FinalEvaluation(parts, parts, parts, make_film_env=fail, act=fail).run()
    (row,) = parts.rows
    assert row["held_out/success_rate"] == 0.0
    assert row["held_out/success_rate_low"] == 0.0
    assert row["held_out/success_rate_high"] == pytest.approx(3.8416 / 7.8416, abs=1e-4)  # Wilson: z² / (n + z²)
    assert row["held_out/episode_reward"] == 10.0
    assert row["held_out/crash_rate"] == 1.0
    assert row["held_out/touchdown_error_m"] is None
    assert [row[f"held_out/success_rate_stage{stage}"] for stage in range(3)] == [0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("due", "at_end", "stages"),
    [("stage", False, [1]), ("all stages", False, [0, 1]), ("all stages", True, [0, 1, 2]), (None, True, [])],
)
def test_evaluations_in_training_are_on_scenarios_that_choose(
    parts: Any, due: Any, at_end: bool, stages: list[int]
) -> None:
    """Those of all stages reached, at the end of every stage."""
    parts.clock.at_end = at_end
    validation = Validation(parts, parts)
    validation.due = due
    result = validation.run()
    assert parts.order == [("score", stage, [10_000_000, 10_000_001, 10_000_002]) for stage in stages]
    assert (None if result is None else result.stage) == (1 if stages else None)
    assert validation.due is None
