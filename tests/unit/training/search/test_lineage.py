"""The rates that a training has had, as a schedule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.lr_scheduler import build_schedules
from glideslope.settings import NETWORKS
from glideslope.training.search.lineage import Lineage, first_step_behind, rounded

RATE = st.floats(1e-6, 1.0).map(rounded)
SETS = st.lists(st.tuples(st.integers(1, 9_999), st.fixed_dictionaries(dict.fromkeys(NETWORKS, RATE))), max_size=6)


@given(first=st.fixed_dictionaries(dict.fromkeys(NETWORKS, RATE)), later=SETS)
def test_a_lineage_is_the_schedule_of_exactly_its_rates(first: dict[str, float], later: Any) -> None:
    lineage, expected = Lineage().then(0, first), {0: first}
    for step, rates in sorted(later, key=lambda entry: entry[0]):
        lineage = lineage.then(step, rates)
        expected[step] = rates
    lineage = Lineage.from_plain(lineage.to_plain())
    schedules = build_schedules(lineage.schedule(), base=dict.fromkeys(NETWORKS, 0.5), total_steps=10_000)
    for step in {0, 9_999, *expected, *(step - 1 for step in expected if step)}:
        held = expected[max(start for start in expected if start <= step)]
        assert {network: schedules[network](step) for network in NETWORKS} == held


@pytest.mark.parametrize(
    ("frame", "parallel", "step"),
    # 12 environments, frames of two decisions each: a vector step is 24 frames and 12 steps.
    [(0, False, 1), (24, False, 13), (25, False, 25), (240, True, 120), (241, True, 132), (1000, False, 481)],
)
def test_rates_change_with_the_first_update_behind_a_pause(frame: int, parallel: bool, step: int) -> None:
    settings: Any = SimpleNamespace(num_envs=12, action_repeat=2, total_steps=480, parallel=parallel)
    assert first_step_behind(settings, frame) == step


def test_rates_have_four_digits() -> None:
    assert [rounded(rate) for rate in (0.000123456, 1.0, 3e-4)] == [0.0001235, 1.0, 0.0003]
