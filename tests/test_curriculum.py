"""The curriculum's rules: a hand-worked run, edges, and properties over random outcomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.curriculum import Curriculum
from glideslope.settings import CurriculumSettings, StageSettings


def make(**changes: Any) -> Curriculum:
    values: dict[str, Any] = {
        "window": 4,
        "min_episodes": 3,
        "success_rate": 0.75,
        "require_consecutive_windows": 2,
        "min_stage_episodes": 0,
        "cooldown_episodes": 0,
        "last_stage": 2,
        "stages": tuple(StageSettings(name=f"S{i}") for i in range(5)),
    }
    return Curriculum(CurriculumSettings(**values | changes))


def test_begins_in_stage_zero_at_step_zero() -> None:
    curriculum = make()
    assert curriculum.stage == 0
    assert curriculum.stage_settings.name == "S0"
    assert [stage.name for stage in curriculum.stages] == ["S0", "S1", "S2"]
    assert curriculum.history == [(0, 0)]
    assert curriculum.success_rate_window == 0.0
    assert curriculum.episodes_in_stage == 0


def test_hand_worked_run() -> None:
    curriculum = make(cooldown_episodes=2, min_stage_episodes=4)
    # (stage the episode began in, success) -> (advanced, stage after, window rate, episodes in stage)
    script = [
        (0, True, (False, 0, 1.0, 1)),
        (0, False, (False, 0, 0.5, 2)),
        (0, True, (False, 0, 2 / 3, 3)),
        (0, True, (False, 0, 0.75, 4)),  # 3 of 4 and four episodes: the first good window
        (0, False, (False, 0, 0.5, 5)),  # F T T F: the row is broken
        (0, True, (False, 0, 0.75, 6)),  # T T F T: first again
        (1, True, (False, 0, 0.75, 6)),  # not of this stage: ignored
        (0, True, (True, 1, 0.0, 0)),  # T F T T: second in a row
        (0, True, (False, 1, 0.0, 0)),  # begun before the advance: ignored
        (1, True, (False, 1, 0.0, 1)),  # cooldown
        (1, False, (False, 1, 0.0, 2)),  # cooldown
        (1, True, (False, 1, 1.0, 3)),
        (1, True, (False, 1, 1.0, 4)),  # two outcomes only: under min_episodes
        (1, True, (False, 1, 1.0, 5)),  # first good window
        (1, True, (True, 2, 0.0, 0)),
        (2, True, (False, 2, 0.0, 1)),
    ]
    for number, (stage, success, expected) in enumerate(script):
        advanced = curriculum.record(stage, success, step=10 * number)
        seen = (advanced, curriculum.stage, curriculum.success_rate_window, curriculum.episodes_in_stage)
        assert seen == expected, f"episode {number}"
    assert curriculum.history == [(0, 0), (70, 1), (140, 2)]


@pytest.mark.parametrize(
    ("changes", "episodes"),
    [
        ({}, 4),  # window of 3, then one more in a row
        ({"require_consecutive_windows": 1}, 3),
        ({"min_stage_episodes": 9}, 10),  # the row begins once every minimum is met
        ({"cooldown_episodes": 50}, 4),  # stage 0 follows no advance
    ],
)
def test_perfect_pilot_leaves_the_first_stage_after(changes: dict[str, Any], episodes: int) -> None:
    curriculum = make(**changes)
    advanced = [curriculum.record(0, True, step) for step in range(episodes)]
    assert advanced == [False] * (episodes - 1) + [True]


def test_threshold_is_met_exactly() -> None:
    # 17/20 and 0.85 are the same double; a mean of floats would not be.
    curriculum = make(window=20, min_episodes=20, success_rate=0.85, require_consecutive_windows=1)
    outcomes = [False] * 3 + [True] * 17
    assert [curriculum.record(0, outcome, 1) for outcome in outcomes] == [False] * 19 + [True]


def test_the_window_rolls() -> None:
    curriculum = make(success_rate=1.0, require_consecutive_windows=1)
    advanced = [curriculum.record(0, outcome, 1) for outcome in [True, True, False, True, True, True, True]]
    assert advanced == [False] * 6 + [True]


def test_last_stage_goes_on_counting_without_advancing() -> None:
    curriculum = make(last_stage=0)
    assert not any(curriculum.record(0, True, step) for step in range(50))
    assert (curriculum.stage, curriculum.success_rate_window, curriculum.episodes_in_stage) == (0, 1.0, 50)


def test_steps_do_not_run_backward() -> None:
    curriculum = make(require_consecutive_windows=1)
    for _ in range(3):
        curriculum.record(0, True, 100)
    assert curriculum.history[-1] == (100, 1)
    with pytest.raises(ValueError, match="99 lies before"):
        curriculum.record(1, True, 99)


def test_history_and_state_are_copies() -> None:
    curriculum = make()
    curriculum.history.append((5, 5))
    curriculum.state_dict()["outcomes"].append(1)
    assert curriculum.history == [(0, 0)]
    assert curriculum.success_rate_window == 0.0


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "not a curriculum history"),
        ([[0, 0], [10, 2]], "not a curriculum history"),
        ([[0, 0], [10, 1], [5, 2]], "not a curriculum history"),
        ([[3, 0]], "not a curriculum history"),
        ([[0, 0], [1, 1], [2, 2], [3, 3]], "in stage 3, but the last stage here is 2"),
    ],
)
def test_an_impossible_state_is_refused_and_changes_nothing(history: list[list[int]], message: str) -> None:
    curriculum = make()
    curriculum.record(0, True, 1)
    before = curriculum.state_dict()
    with pytest.raises(ValueError, match=message):
        curriculum.load_state_dict(before | {"history": history})
    assert curriculum.state_dict() == before


@st.composite
def settings_of_any_kind(draw: st.DrawFn) -> dict[str, Any]:
    window = draw(st.integers(1, 6))
    return {
        "window": window,
        "min_episodes": draw(st.integers(1, window)),
        "success_rate": draw(st.sampled_from([0.1, 0.5, 2 / 3, 0.75, 1.0])),
        "require_consecutive_windows": draw(st.integers(1, 4)),
        "min_stage_episodes": draw(st.integers(0, 8)),
        "cooldown_episodes": draw(st.integers(0, 5)),
        "last_stage": draw(st.integers(0, 4)),
    }


# How far behind the current stage the episode began, and whether it landed.
episodes_of_any_kind = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1]), st.booleans()), max_size=80)


@given(settings_of_any_kind(), episodes_of_any_kind)
def test_advances_exactly_when_the_definition_says(
    changes: dict[str, Any], episodes: list[tuple[int, bool]]
) -> None:
    curriculum, stage_log, stage = make(**changes), [], 0
    for number, (behind, success) in enumerate(episodes):
        advanced = curriculum.record(stage - behind, success, step=number)
        if behind == 0:
            stage_log.append(success)
        # The definition, worked from the whole log of the stage each time.
        cooldown = changes["cooldown_episodes"] if stage else 0

        def good(count: int, log: list[bool] = stage_log, cooldown: int = cooldown) -> bool:
            window = log[cooldown:count][-changes["window"] :]
            return (
                len(window) >= changes["min_episodes"]
                and count >= changes["min_stage_episodes"]
                and sum(window) / len(window) >= changes["success_rate"]
            )

        row, count = changes["require_consecutive_windows"], len(stage_log)
        expected = (
            behind == 0
            and stage < changes["last_stage"]
            and count >= row
            and all(good(i) for i in range(count - row + 1, count + 1))
        )
        assert advanced == expected
        if advanced:
            stage, stage_log = stage + 1, []
        assert curriculum.stage == stage
    assert [index for _, index in curriculum.history] == list(range(stage + 1))
    assert 0.0 <= curriculum.success_rate_window <= 1.0


@given(settings_of_any_kind(), episodes_of_any_kind, st.integers(0, 80))
def test_a_restored_curriculum_goes_on_as_the_one_that_never_stopped(
    changes: dict[str, Any], episodes: list[tuple[int, bool]], cut: int
) -> None:
    whole, first = make(**changes), make(**changes)
    for number, (behind, success) in enumerate(episodes):
        if number == cut:
            stored = json.loads(json.dumps(first.state_dict()))
            first = make(**changes)
            first.load_state_dict(stored)
        stage = whole.stage - behind
        assert first.record(stage, success, number) == whole.record(stage, success, number)
    assert first.state_dict() == whole.state_dict()
    assert first.history == whole.history


def test_a_shorter_window_keeps_the_latest_outcomes() -> None:
    curriculum, shorter = make(success_rate=1.0), make(window=2, min_episodes=1)
    for outcome in [True, True, False, False]:
        curriculum.record(0, outcome, 1)
    shorter.load_state_dict(curriculum.state_dict())
    assert shorter.success_rate_window == 0.0
