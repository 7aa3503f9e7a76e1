"""The shares of a training among processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.settings import WHOLE, Settings, Share


def sound_settings(**changes: object) -> Settings:
    return Settings.from_config({"curriculum": {"stages": [{"name": "S0"}], "last_stage": 0}, **changes})


@given(count=st.integers(1, 8), each=st.integers(1, 50))
def test_shares_are_equal_and_leave_nothing_out(count: int, each: int) -> None:
    whole = list(range(count * each))
    parts = [whole[Share(rank, count).rows(len(whole))] for rank in range(count)]
    assert [row for part in parts for row in part] == whole
    assert {len(part) for part in parts} == {each}


def test_a_share_has_its_part_of_everything_and_rings_as_long_as_the_whole() -> None:
    settings = sound_settings(num_envs=12, batch_size=96, replay_buffer_size=100_000, num_eval_episodes=7)
    own = Share(1, 4).of(settings)
    assert (own.num_envs, own.batch_size, own.num_eval_episodes) == (3, 24, 2)
    assert own.replay_buffer_size // own.num_envs == settings.replay_buffer_size // settings.num_envs
    assert own.num_train_frames == settings.num_train_frames
    assert WHOLE.of(settings) is settings


@pytest.mark.parametrize(("count", "broken"), [(1, []), (2, []), (3, ["batch_size"]), (5, ["num_envs", "batch_size"])])
def test_what_cannot_be_shared_equally_is_refused(count: int, broken: list[str]) -> None:
    settings: Settings = sound_settings(num_envs=12, batch_size=64)
    rules = list(Share(0, count).broken_rules(settings))
    assert [rule.key for rule in rules] == broken
    assert all(str(count) in rule.rule for rule in rules)
