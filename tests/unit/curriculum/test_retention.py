"""Forgetting: the best success rate of a stage so far minus the current one."""

from __future__ import annotations

import pytest

from glideslope.curriculum.retention import Retention


def test_hand_worked_evaluations() -> None:
    retention = Retention()
    assert retention.row({0: 0.9}, reached=0) == {
        "eval/success_rate_stage0": 0.9,
        "eval/forgetting_stage0": 0.0,
        "eval/forgetting": 0.0,
    }
    # Every stage is evaluated; stage 2 has not been reached, so it forgets nothing.
    row = retention.row({0: 0.7, 1: 0.5, 2: 0.4}, reached=1)
    assert row["eval/forgetting_stage0"] == pytest.approx(0.2)
    assert row["eval/forgetting_stage1"] == 0.0
    assert "eval/forgetting_stage2" not in row
    assert row["eval/success_rate_stage2"] == 0.4
    assert row["eval/forgetting"] == pytest.approx(0.1)
    # Not every stage reached: no mean.
    assert "eval/forgetting" not in retention.row({1: 0.5}, reached=1)
    # A new best of stage 0; what stage 2 could before it was reached does not count.
    row = retention.row({0: 1.0, 1: 0.3, 2: 0.2}, reached=2)
    assert row["eval/forgetting_stage0"] == 0.0
    assert row["eval/forgetting_stage1"] == pytest.approx(0.2)
    assert row["eval/forgetting_stage2"] == 0.0
    assert row["eval/forgetting"] == pytest.approx(0.2 / 3)


def test_a_restored_one_goes_on_alike() -> None:
    one, other = Retention(), Retention()
    one.row({0: 0.8, 1: 0.6}, reached=1)
    other.load_state_dict(one.state_dict())
    rates = {0: 0.5, 1: 0.7}
    assert one.row(rates, reached=1) == other.row(rates, reached=1)
    assert one.state_dict() == other.state_dict() == [[0, 0.8], [1, 0.7]]
