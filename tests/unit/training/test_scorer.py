"""Evaluations on two threads play the scenarios that one would play, with the same results."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.display.workload import scoring_envs
from glideslope.envs.baselines import expert
from glideslope.envs.gym import LandingVectorEnv
from glideslope.settings import FULL_TASK, Settings
from glideslope.training.evaluations import Scorer
from glideslope.training.ranks import ALONE
from glideslope.training.run import StoppedError
from tests.support.tasks import pinned_task


class Display:
    """Counts the episodes that are reported."""

    def __init__(self) -> None:
        self.ended = 0
        self.progress = SimpleNamespace(advance=self._advance)

    def _advance(self, count: int) -> None:
        self.ended += count

    @contextmanager
    def scoring(self, *about: Any) -> Any:
        yield

    def scored(self, length: float) -> None:
        self.length = length


def scorer(counts: tuple[int, ...], act: Any = lambda env, _: expert(env.task), beside: Any = None) -> Any:
    task = pinned_task(start_height=(1.0, 1.5))
    envs = [LandingVectorEnv(n, task=task, stage=FULL_TASK, pixels=False, num_threads=1) for n in counts]
    run: Any = SimpleNamespace(curriculum=SimpleNamespace(stages=[FULL_TASK]), display=Display(), ranks=ALONE)
    return Scorer(run, envs, act, beside or act), run.display


@pytest.mark.parametrize("episodes", [1, 2, 7, 10])
def test_two_threads_score_as_one(episodes: int) -> None:
    (alone, shown), (shared, shown_too) = scorer((4,)), scorer((2, 2))
    seeds = range(40, 40 + episodes)
    assert shared.score(0, seeds, "evaluating") == alone.score(0, seeds, "evaluating")
    assert shown.ended == shown_too.ended == episodes


def test_a_stop_on_either_thread_is_raised() -> None:
    def stop(*_: Any) -> Any:
        raise StoppedError

    for parts in ({"act": stop, "beside": lambda env, _: expert(env.task)}, {"beside": stop}):
        stopping, _ = scorer((2, 2), **parts)
        with pytest.raises(StoppedError):
            stopping.score(0, range(8), "evaluating")


@pytest.mark.parametrize(
    ("parallel", "episodes", "expected"),
    [(False, 50, (32,)), (True, 50, (16, 16)), (True, 7, (4, 3)), (True, 1, (1,)), (False, 3, (3,))],
)
def test_the_environments_are_shared_out(parallel: bool, episodes: int, expected: tuple[int, ...]) -> None:
    overrides = [f"parallel={parallel}", f"num_eval_episodes={episodes}"]
    assert scoring_envs(compose(TRAIN_CONFIG, overrides, Settings).settings) == expected
