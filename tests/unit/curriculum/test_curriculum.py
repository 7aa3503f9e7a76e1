"""The curriculum's rules: hand-worked runs, edges, and properties over random outcomes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.curriculum.stages import Curriculum
from glideslope.errors import SettingsError
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


def episodes_in_stage(curriculum: Curriculum) -> int:
    return int(curriculum.state_dict()["episodes_in_stage"])


def test_begins_in_stage_zero_at_step_zero() -> None:
    curriculum = make()
    assert curriculum.stage == 0
    assert curriculum.stage_settings.name == "S0"
    assert [stage.name for stage in curriculum.stages] == ["S0", "S1", "S2"]
    assert curriculum.history == [(0, 0)]
    assert curriculum.success_rate_window == 0.0
    assert episodes_in_stage(curriculum) == 0


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
        seen = (advanced, curriculum.stage, curriculum.success_rate_window, episodes_in_stage(curriculum))
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
    assert (curriculum.stage, curriculum.success_rate_window, episodes_in_stage(curriculum)) == (0, 1.0, 50)


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
        ([[0, 0], [1, 1], [2, 2], [3, 3]], "is in stage 3, but the last stage here is 2"),
        ([[0, 0], [1, 1], [2, 1]], "not a curriculum history"),
        ([[0, 0], [1, -1]], "not a curriculum history"),
        ([[0, 0], [1, 1], [2, 2], [3, 0]], "not a curriculum history"),
        ([[0, 0], [1, 1], [2, 0]], "went back from stage 1 to 0, but there is no demotion_rate here"),
        ([[0, 0], [1, 1.0]], "not a state of a curriculum"),
        ([[0, 0], [1]], "not a state of a curriculum"),
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
def test_advances_exactly_when_the_definition_says(changes: dict[str, Any], episodes: list[tuple[int, bool]]) -> None:
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


def assert_restored_alike(changes: dict[str, Any], episodes: list[tuple[int, bool]], cut: int) -> None:
    """A curriculum that is saved and restored behind an episode goes the way of one that never stops."""
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


@given(settings_of_any_kind(), episodes_of_any_kind, st.integers(0, 80))
def test_a_restored_curriculum_goes_on_as_the_one_that_never_stopped(
    changes: dict[str, Any], episodes: list[tuple[int, bool]], cut: int
) -> None:
    assert_restored_alike(changes, episodes, cut)


def test_a_shorter_window_keeps_the_latest_outcomes() -> None:
    curriculum, shorter = make(success_rate=1.0), make(window=2, min_episodes=1)
    for outcome in [True, True, False, False]:
        curriculum.record(0, outcome, 1)
    shorter.load_state_dict(curriculum.state_dict())
    assert shorter.success_rate_window == 0.0


# --- going back, and the bound ---


def play(curriculum: Curriculum, outcomes: str, first: int) -> list[tuple[int, int]]:
    """Feed episodes of the current stage, one each 10 steps from 10 * first on, L for landed; the changes made."""
    changes = []
    for number, outcome in enumerate(outcomes, first):
        if curriculum.record(curriculum.stage, outcome == "L", 10 * number):
            changes.append((number, curriculum.stage))
    return changes


def test_a_recorded_run_with_demotion_by_hand() -> None:
    curriculum = make(demotion_rate=0.25, cooldown_episodes=1)
    # Stage 0, no cooldown at the beginning: LLL 3/3 is the first good window, LLLL the second.
    assert play(curriculum, "LLLL", 1) == [(4, 1)]
    # Stage 1. Cooldown: -. Then -, -L, -L- (1/3), -L-- (1/4: first bad), L--L (2/4: the row is broken),
    # --L- (1/4: first), -L-- (1/4: second).
    assert play(curriculum, "-" + "-L--L--", 5) == [(12, 0)]
    assert (curriculum.window_rate, episodes_in_stage(curriculum)) == (None, 0)
    # Stage 0 again, with a cooldown now: L. Then L, LL, LLL (first good), LLLL (second).
    assert play(curriculum, "L" + "LLLL", 13) == [(17, 1)]
    # Stage 1 again. Cooldown: -. Then -, --, --- (0/3: first bad), ---- (second).
    assert play(curriculum, "-" + "----", 18) == [(22, 0)]
    # There is nothing below stage 0.
    assert play(curriculum, "-" * 20, 23) == []
    assert curriculum.history == [(0, 0), (40, 1), (120, 0), (170, 1), (220, 0)]
    assert curriculum.earlier_stages == ()


def test_a_recorded_run_by_the_lower_bound_by_hand() -> None:
    changes = {"window": 10, "min_episodes": 10, "success_rate": 0.7, "last_stage": 2}
    run = "LL-LLLLL-L" + "L" * 10 + "LLLLLLLLL-" + "L" * 20
    # 8 of the first 10 landed: 0.8 is good at episode 10, and 8 of 10 again at 11. In stage 1 the first ten,
    # 12 to 21, all landed: good at 21 and 22. The rest is in the last stage.
    assert play(make(**changes), run, 1) == [(11, 1), (22, 2)]
    # Of 10 episodes the bound is 10 / (10 + 1.96²) = 0.722 for 10 landings, 0.596 for 9: all of them must land.
    # Episodes 10 to 19 do, and 11 to 20. In stage 1 the tenth, 30, doesn't: 31 to 40 do, and 32 to 41.
    bound = {"criterion": "wilson_lower_bound"}
    assert play(make(**changes, **bound), run, 1) == [(20, 1), (41, 2)]


def test_how_many_of_100_the_bound_asks_for() -> None:
    # 0.85 is reached by 92 of 100, whose interval is 0.8500 to 0.9589, and not by 91 (0.8377).
    for landings, advances in ((91, False), (92, True)):
        curriculum = make(
            window=100,
            min_episodes=100,
            success_rate=0.85,
            require_consecutive_windows=1,
            criterion="wilson_lower_bound",
        )
        changes = play(curriculum, "-" * (100 - landings) + "L" * landings, 1)
        assert changes == ([(100, 1)] if advances else [])


def test_going_back_goes_by_the_rate_itself_whatever_the_criterion() -> None:
    # The bounds of 3 of 3 and 4 of 4 are 0.44 and 0.51: episode 4 is the first good one. That of 3 of 4 is 0.30,
    # under demotion_rate; the rate of 0.75 itself is above it.
    curriculum = make(criterion="wilson_lower_bound", success_rate=0.45, demotion_rate=0.4)
    assert play(curriculum, "LLLLL" + "LL-L" * 5, 1) == [(5, 1)]


def test_demotion_waits_for_the_episodes_of_the_stage() -> None:
    curriculum = make(min_stage_episodes=9, demotion_rate=0.0)
    assert play(curriculum, "L" * 10 + "-" * 10, 1) == [(10, 1), (20, 0)]


def test_the_last_stage_is_left_downwards() -> None:
    curriculum = make(demotion_rate=0.5, last_stage=1)
    assert play(curriculum, "LLLL" + "L" * 9 + "----", 1) == [(4, 1), (16, 0)]
    assert [stage.name for stage in curriculum.stages] == ["S0", "S1"]


def test_earlier_stages_are_those_below() -> None:
    curriculum = make(demotion_rate=0.25, replay_earlier_stages=0.2)
    assert curriculum.earlier_stages == ()
    play(curriculum, "LLLLLLLL", 1)
    assert (curriculum.stage, [stage.name for stage in curriculum.earlier_stages]) == (2, ["S0", "S1"])
    before = curriculum.state_dict()
    assert not any(curriculum.record(stage, success, 90) for stage in (0, 1) for success in (False, True))
    assert curriculum.state_dict() == before  # a replayed episode is not of the current stage
    play(curriculum, "----", 10)
    assert (curriculum.stage, [stage.name for stage in curriculum.earlier_stages]) == (1, ["S0"])


@pytest.mark.parametrize(
    "changes",
    [
        {"outcomes": [0, 1, 2]},
        {"outcomes": [0, 1, None]},
        {"outcomes": [0, 1, 1, 1]},  # more than episodes
        {"episodes_in_stage": -1},
        {"episodes_in_stage": "3"},
        {"streak": 4},
        {"streak": -1},
        {"streak": 1, "demotion_streak": 1},
        {"history": None},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(changes: dict[str, Any]) -> None:
    curriculum = make(demotion_rate=0.25)
    play(curriculum, "-L-", 1)
    before = curriculum.state_dict()
    with pytest.raises(ValueError, match="not a state of a curriculum"):
        curriculum.load_state_dict(before | changes)
    for missing in before:
        with pytest.raises(ValueError, match=missing):
            curriculum.load_state_dict({key: value for key, value in before.items() if key != missing})
    assert curriculum.state_dict() == before


def test_a_stage_given_up_must_still_be_there() -> None:
    curriculum = make(demotion_rate=0.25)
    play(curriculum, "LLLLLLLL" + "----", 1)
    shorter = make(demotion_rate=0.25, last_stage=1)
    with pytest.raises(ValueError, match="was in stage 2, but the last stage here is 1"):
        shorter.load_state_dict(curriculum.state_dict())


# Which of the keys is at fault, and what is said of it.
REFUSED = [
    ({"demotion_rate": 0.75}, "demotion_rate=0.75: must be less than success_rate (0.75)"),
    ({"demotion_rate": 0.9}, "demotion_rate=0.9: must be less than success_rate (0.75)"),
    ({"demotion_rate": -0.1}, "demotion_rate=-0.1: must be at least 0"),
    ({"replay_earlier_stages": 1}, "replay_earlier_stages=1: must be less than 1"),
    ({"replay_earlier_stages": None}, "replay_earlier_stages=null: must be a number"),
    (
        {"criterion": "wilson"},
        "criterion=wilson: must be success_rate or wilson_lower_bound; did you mean wilson_lower_bound?",
    ),
    (
        {"criterion": "wilson_lower_bound"},
        "success_rate=0.75: the lower bound of 4 landings in 4 is only 0.510; "
        "the smallest window that can reach this is 12",
    ),
    (
        {"criterion": "wilson_lower_bound", "window": 21, "success_rate": 0.85},
        "success_rate=0.85: the lower bound of 21 landings in 21 is only 0.845; "
        "the smallest window that can reach this is 22",
    ),
    (
        {"criterion": "wilson_lower_bound", "window": 100, "success_rate": 1},
        "success_rate=1.0: the lower bound of 100 landings in 100 is only 0.963, and no window's reaches this; "
        "a rate of 0.963 or less can be reached",
    ),
]


@pytest.mark.parametrize(("changes", "line"), REFUSED)
def test_rules_that_cannot_be_met_are_refused(changes: dict[str, Any], line: str) -> None:
    plain = make()._settings.to_plain() | changes
    with pytest.raises(SettingsError) as caught:
        CurriculumSettings.from_config(plain)
    assert str(caught.value) == line


@given(st.integers(1, 400), st.floats(0.01, 0.999))
def test_the_smallest_window_named_is_the_smallest(window: int, success_rate: float) -> None:
    def faults(window: int) -> tuple[str, ...]:
        rules = {"criterion": "wilson_lower_bound", "window": window, "min_episodes": 1}
        try:
            make(**rules, success_rate=success_rate)
        except ValueError as error:
            return (str(error),)
        return ()

    said = faults(window)
    # Of n landings in n the bound is n / (n + z²).
    if abs(window / (window + 1.959963984540054**2) - success_rate) > 1e-12:
        assert bool(said) == (window / (window + 1.959963984540054**2) < success_rate)
    if said:
        smallest = int(said[0].split("can reach this is ")[1].split()[0])
        assert smallest > window
        assert faults(smallest - 1)
        assert not faults(smallest)


@st.composite
def rules_of_any_kind(draw: st.DrawFn) -> dict[str, Any]:
    """Settings with either criterion, with and without demotion."""
    changes = draw(settings_of_any_kind())
    if draw(st.booleans()):
        highest = changes["window"] / (changes["window"] + 3.85)
        changes |= {"criterion": "wilson_lower_bound", "success_rate": draw(st.floats(0.05, highest))}
    below = [rate for rate in (0.0, 0.2, 1 / 3, 0.5) if rate < changes["success_rate"]]
    return changes | {"demotion_rate": draw(st.sampled_from([None, *below]))}


def judge(changes: dict[str, Any], log: list[bool], cooldown: int) -> int:
    """1 to advance, -1 to go back, 0 to stay, from every outcome of a stage."""

    def verdict(count: int) -> int:
        window = log[cooldown:count][-changes["window"] :]
        n = len(window)
        if n < changes["min_episodes"] or count < changes["min_stage_episodes"]:
            return 0
        rate, asked = sum(window) / n, changes["success_rate"]
        # The bound is at or above `asked` if the score test at level z doesn't take the rate for that of chance.
        sure = (rate - asked) ** 2 * n >= 1.959963984540054**2 * asked * (1 - asked)
        if rate >= asked and (sure or changes.get("criterion") != "wilson_lower_bound"):
            return 1
        return -1 if changes["demotion_rate"] is not None and rate <= changes["demotion_rate"] else 0

    row = changes["require_consecutive_windows"]
    verdicts = {verdict(count) for count in range(len(log) - row + 1, len(log) + 1) if count > 0}
    return verdicts.pop() if len(log) >= row and len(verdicts) == 1 else 0


@given(rules_of_any_kind(), episodes_of_any_kind)
def test_changes_exactly_when_the_definition_says(changes: dict[str, Any], episodes: list[tuple[int, bool]]) -> None:
    curriculum, log, stage, cooldown = make(**changes), [], 0, 0
    for number, (behind, success) in enumerate(episodes):
        changed = curriculum.record(stage - behind, success, step=number)
        move = 0
        if behind == 0:
            log.append(success)
            move = judge(changes, log, cooldown)
        after = min(max(stage + move, 0), changes["last_stage"])
        assert changed == (after != stage)
        if changed:
            stage, log, cooldown = after, [], changes["cooldown_episodes"]
        assert curriculum.stage == stage
    history = curriculum.history
    assert history[0] == (0, 0)
    assert all(abs(now - then) == 1 for (_, then), (_, now) in pairwise(history))
    assert {stage for _, stage in history} <= set(range(changes["last_stage"] + 1))
    if changes["demotion_rate"] is None:
        assert [stage for _, stage in history] == list(range(len(history)))


@given(rules_of_any_kind(), episodes_of_any_kind, st.integers(0, 80))
def test_any_rules_restored_go_on_as_if_never_stopped(
    changes: dict[str, Any], episodes: list[tuple[int, bool]], cut: int
) -> None:
    assert_restored_alike(changes, episodes, cut)


@pytest.mark.parametrize(("success", "streak", "demotion_streak", "after"), [(True, 2, 0, 2), (False, 0, 2, 0)])
def test_a_restored_curriculum_needs_one_more_episode_of_a_row_that_was_cut(
    success: bool, streak: int, demotion_streak: int, after: int
) -> None:
    rules = {"demotion_rate": 0.25, "require_consecutive_windows": 3}
    curriculum = make(**rules)
    for step in range(5):
        curriculum.record(0, True, step)
    assert curriculum.history == [(0, 0), (4, 1)]
    for step in range(5, 9):  # the third and the fourth have a window of three or more
        assert not curriculum.record(1, success, step)
    state = curriculum.state_dict()
    assert state == {
        "history": [[0, 0], [4, 1]],
        "outcomes": [int(success)] * 4,
        "episodes_in_stage": 4,
        "streak": streak,
        "demotion_streak": demotion_streak,
    }
    resumed = make(**rules)
    resumed.load_state_dict(state)
    assert resumed.record(1, success, 9)
    assert resumed.stage == after


@given(rules_of_any_kind(), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80))
def test_the_steps_are_only_noted_down(changes: dict[str, Any], episodes: list[tuple[bool, int]]) -> None:
    one, other, step = make(**changes), make(**changes), 0
    for success, pause in episodes:
        step += pause
        assert one.record(one.stage, success, step) == other.record(other.stage, success, 7)
    assert [stage for _, stage in one.history] == [stage for _, stage in other.history]


@given(rules_of_any_kind(), st.lists(st.booleans(), max_size=80))
def test_demotion_changes_nothing_before_the_first(changes: dict[str, Any], outcomes: list[bool]) -> None:
    one, never = make(**changes), make(**changes | {"demotion_rate": None})
    for number, success in enumerate(outcomes):
        before = one.stage
        one.record(one.stage, success, number)
        if one.stage < before:
            break
        never.record(never.stage, success, number)
        assert one.history == never.history


@given(rules_of_any_kind(), st.lists(st.booleans(), max_size=80))
def test_the_bound_never_advances_earlier(changes: dict[str, Any], outcomes: list[bool]) -> None:
    advanced = []
    for criterion in ("success_rate", "wilson_lower_bound"):
        rules = {"success_rate": min(changes["success_rate"], changes["window"] / (changes["window"] + 3.85))}
        curriculum = make(**changes | rules | {"criterion": criterion, "demotion_rate": None})
        changes_made = (curriculum.record(0, success, 1) for success in outcomes)
        advanced.append(next((number for number, made in enumerate(changes_made) if made), len(outcomes)))
    assert advanced[0] <= advanced[1]
