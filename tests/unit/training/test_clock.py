"""Steps, frames, and the multiples that a vector step passes."""

from __future__ import annotations

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.settings import Settings
from glideslope.training.run import Clock


def clock(*overrides: str) -> Clock:
    return Clock(compose(TRAIN_CONFIG, ["profile=smoke", *overrides], Settings).settings)


@pytest.mark.parametrize(("num_envs", "repeat"), [(4, 1), (3, 2), (7, 1)])
def test_every_multiple_is_passed_once_and_none_behind_the_end(num_envs: int, repeat: int) -> None:
    """So many evaluations and snapshots are due, however many environments there are."""
    now = clock(f"num_envs={num_envs}", f"action_repeat={repeat}", "num_train_frames=600")
    passed, ends = [], []
    while not now.at_end:
        now.advance()
        if now.passed(100):
            passed.append(now.frame // 100)
        ends.append(now.frame)
    assert passed == [1, 2, 3, 4, 5, 6]
    assert ends[-1] == 600
    assert now.step == num_envs * len(ends)


def test_the_time_before_a_resume_counts() -> None:
    now = clock()
    assert not now.was_resumed
    now.load_state_dict({"seconds": 1000.0})
    assert now.was_resumed
    assert 1000.0 <= now.state_dict()["seconds"] < 1060.0
