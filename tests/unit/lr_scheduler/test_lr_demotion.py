"""Schedules by stage where the curriculum goes back: values worked by hand, and against a plain reference."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.lr_scheduler import LiveSchedules, Schedule, build_schedules

BASE = 0.1
STAGES = ("S0", "S1", "S2", "S3", "S4")


def by_stage(*intervals: dict[str, Any], shape: str = "step_decay") -> Schedule:
    config = {"actor": {"type": shape, "intervals": list(intervals)}}
    return build_schedules(config, base={"actor": BASE}, total_steps=1000, stage_names=STAGES)["actor"]


def rates(schedule: Schedule, history: list[tuple[int, int]], *steps: int) -> list[float]:
    """One at a time, forwards and backwards, and as an array: always the same."""
    found = [schedule(step, history) for step in steps]
    assert [schedule(step, history) for step in reversed(steps)] == found[::-1]
    assert schedule(np.array(steps), history).tolist() == found
    return found


def test_below_the_first_stage_listed_is_the_base_rate_again() -> None:
    schedule = by_stage({"stage": 2, "lr": 0.5}, {"stage": 3, "lr": 0.3})
    history = [(0, 0), (100, 1), (200, 2), (300, 1), (400, 2), (500, 3), (600, 2), (700, 1), (800, 0)]
    expected = {0: BASE, 199: BASE, 200: 0.5, 299: 0.5, 300: BASE, 399: BASE, 400: 0.5, 500: 0.3}
    expected |= {599: 0.3, 600: 0.5, 699: 0.5, 700: BASE, 799: BASE, 800: BASE, 10**9: BASE}
    assert rates(schedule, history, *expected) == list(expected.values())


def test_a_stage_entered_again_begins_again() -> None:
    # From 0.9 down by 0.008 a step, for 100 steps.
    fade = {"stage": 1, "type": "linear_decay", "lr": 0.9, "final_lr": 0.1, "duration": 100}
    schedule = by_stage({"stage": 0, "lr": 0.4}, fade, {"stage": 2, "lr": 0.2})
    history = [(0, 0), (100, 1), (150, 0), (200, 1), (350, 2), (400, 1)]
    expected = {99: 0.4, 100: 0.9, 149: 0.9 - 49 * 0.008, 150: 0.4, 199: 0.4, 200: 0.9, 250: 0.5, 300: 0.1}
    expected |= {349: 0.1, 350: 0.2, 399: 0.2, 400: 0.9, 425: 0.7, 500: 0.1, 900: 0.1}
    assert rates(schedule, history, *expected) == pytest.approx(list(expected.values()), rel=1e-12)


def test_a_stage_without_an_interval_goes_on_with_the_one_before_when_it_is_fallen_back_to() -> None:
    # Stage 1 has none and continues stage 0's, whose t counts from step 0, or from 700 once it is entered again.
    fade = {"stage": 0, "type": "linear_decay", "lr": 0.9, "final_lr": 0.1, "duration": 400}
    schedule = by_stage(fade, {"stage": 2, "lr": 0.05})
    history = [
        (0, 0),
        (100, 1),
        (200, 2),
        (300, 1),
        (500, 2),
        (600, 1),
        (700, 0),
        (800, 1),
        (850, 2),
        (860, 1),
    ]
    expected = {0: 0.9, 100: 0.7, 199: 0.9 - 199 * 0.002, 200: 0.05, 299: 0.05, 300: 0.3, 350: 0.2, 400: 0.1}
    expected |= {
        499: 0.1,
        500: 0.05,
        600: 0.1,
        699: 0.1,
        700: 0.9,
        800: 0.7,
        850: 0.05,
        860: 0.9 - 160 * 0.002,
    }
    expected |= {1100: 0.1, 10**9: 0.1}
    assert rates(schedule, history, *expected) == pytest.approx(list(expected.values()), rel=1e-12)


def test_a_warm_up_begins_again_from_the_rate_before_the_stage_was_entered_again() -> None:
    schedule = by_stage({"stage": 0, "lr": 0.2, "warmup": 10}, {"stage": 1, "lr": 0.8, "warmup": 20})
    history = [(0, 0), (100, 1), (110, 0), (200, 1)]
    expected = {0: 0.0, 5: 0.1, 10: 0.2, 100: 0.2, 109: 0.2 + 0.6 * 9 / 20}  # 0.47, frozen for the next one
    expected |= {110: 0.47, 115: 0.47 - 0.27 / 2, 120: 0.2, 199: 0.2, 200: 0.2, 210: 0.5, 220: 0.8}
    assert rates(schedule, history, *expected) == pytest.approx(list(expected.values()), rel=1e-12)


def test_a_warm_up_left_half_way_goes_on_from_its_own_beginning() -> None:
    # Stage 1 continues stage 0's warm-up from 0 to 0.8 over 400 steps, before and after stage 2.
    schedule = by_stage({"stage": 0, "lr": 0.8, "warmup": 400}, {"stage": 2, "lr": 0.1})
    history = [(0, 0), (50, 1), (100, 2), (200, 1)]
    expected = {0: 0.0, 50: 0.1, 100: 0.1, 199: 0.1, 200: 0.4, 300: 0.6, 400: 0.8, 500: 0.8}
    assert rates(schedule, history, *expected) == pytest.approx(list(expected.values()), rel=1e-12)


def test_changes_at_the_same_step_leave_the_last_one_in_force() -> None:
    schedule = by_stage({"stage": 0, "lr": 0.2}, {"stage": 1, "lr": 0.8, "warmup": 10}, {"stage": 2, "lr": 0.4})
    history = [(0, 0), (100, 1), (100, 2), (100, 1)]
    assert rates(schedule, history, 99, 100, 105, 110) == pytest.approx([0.2, 0.2, 0.5, 0.8], rel=1e-12)
    assert rates(schedule, [*history, (100, 0)], 99, 100, 105) == [0.2, 0.2, 0.2]


def test_the_rate_written_follows_the_way_back() -> None:
    import torch

    schedule = by_stage({"stage": 1, "lr": 0.5}, {"stage": 2, "lr": 0.3})
    live = LiveSchedules({"actor": schedule})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    history = [(0, 0), (10, 1), (20, 2), (30, 1), (40, 0), (50, 1)]
    written = []
    for step in range(5, 60, 10):
        known = [entry for entry in history if entry[0] <= step]
        live.write({"actor": optimizer}, step, known)
        written.append(optimizer.param_groups[0]["lr"])
    assert written == [BASE, 0.5, 0.3, 0.5, BASE, 0.5]


# --- plateaus ---

PLATEAU = {"type": "reduce_on_plateau", "factor": 0.5, "patience": 1}


def watched(*intervals: dict[str, Any]) -> LiveSchedules:
    return LiveSchedules({"actor": by_stage(*intervals, shape="constant")})


def evaluate(live: LiveSchedules, history: list[tuple[int, int]], values: dict[int, float]) -> list[int]:
    """The steps of the evaluations that reduced the rate."""
    reduced = []
    for step, value in values.items():
        known = [entry for entry in history if entry[0] <= step]
        if live.evaluated(step, {"success_rate": value}, known):
            reduced.append(step)
    return reduced


def test_a_plateau_entered_again_starts_at_its_own_rate_with_no_memory() -> None:
    live = watched({"stage": 0, "lr": 0.4}, {"stage": 1, "lr": 0.8, **PLATEAU})
    history = [(0, 0), (100, 1), (200, 0), (300, 1)]
    # 0.9 is the best of the first visit; two that are no better reduce. Entered again, 0.1 is the first and best.
    values = {110: 0.9, 120: 0.9, 130: 0.9, 210: 0.5, 310: 0.1, 320: 0.1, 330: 0.1, 340: 0.2}
    assert evaluate(live, history, values) == [130, 330]
    found = [live.rate("actor", step, history) for step in (100, 130, 131, 199, 200, 300, 330, 331, 900)]
    assert found == [0.8, 0.8, 0.4, 0.4, 0.4, 0.8, 0.8, 0.4, 0.4]


def test_a_plateau_gone_on_with_counts_its_own_reductions_only() -> None:
    # Stage 1 continues stage 0's plateau; the reductions made in stage 2 are stage 2's.
    live = watched({"stage": 0, "lr": 0.8, **PLATEAU}, {"stage": 2, "lr": 0.6, **PLATEAU})
    history = [(0, 0), (100, 1), (200, 2), (300, 1)]
    values = {10: 0.5, 20: 0.5, 30: 0.5, 210: 0.5, 220: 0.5, 230: 0.5, 240: 0.5, 250: 0.5}
    values |= {310: 0.4, 320: 0.4, 330: 0.4}
    assert evaluate(live, history, values) == [30, 230, 250, 330]
    steps = (30, 31, 199, 200, 231, 251, 299, 300, 330, 331, 900)
    found = [live.rate("actor", step, history) for step in steps]
    assert found == [0.8, 0.4, 0.4, 0.6, 0.3, 0.15, 0.15, 0.4, 0.4, 0.2, 0.2]
    schedule, made = (
        by_stage({"stage": 0, "lr": 0.8, **PLATEAU}, {"stage": 2, "lr": 0.6, **PLATEAU}),
        [30, 230, 250, 330],
    )
    assert schedule(np.array(steps), history, made).tolist() == found


def test_the_least_rate_holds_for_a_plateau_gone_on_with() -> None:
    live = watched({"stage": 0, "lr": 0.8, **PLATEAU, "min_lr": 0.4}, {"stage": 2, "lr": 0.6})
    history = [(0, 0), (100, 1), (200, 2), (300, 1)]
    values = {10: 0.5, 20: 0.5, 30: 0.5, 310: 0.5, 320: 0.5, 330: 0.5, 340: 0.5, 350: 0.5}
    assert evaluate(live, history, values) == [30]


def test_the_best_value_is_forgotten_even_where_no_evaluation_saw_the_other_stage() -> None:
    # One interval for all stages; from stage 1 down to 0 and back between two evaluations.
    live = watched({"stage": 0, "lr": 0.8, **PLATEAU})
    history = [(0, 0), (100, 1), (200, 2), (210, 1)]
    assert evaluate(live, history, {110: 0.9, 120: 0.8, 220: 0.5, 230: 0.4, 240: 0.4}) == [240]
    stayed = watched({"stage": 0, "lr": 0.8, **PLATEAU})
    assert evaluate(stayed, history[:2], {110: 0.9, 120: 0.8, 220: 0.5}) == [220]


def test_what_a_watch_has_seen_survives_a_way_back() -> None:
    intervals = ({"stage": 0, "lr": 0.8, **PLATEAU}, {"stage": 2, "lr": 0.6, **PLATEAU})
    history = [(0, 0), (100, 1), (200, 2), (300, 1)]
    values = {10: 0.5, 20: 0.5, 30: 0.5, 210: 0.5, 220: 0.5, 230: 0.5, 310: 0.4, 320: 0.4, 330: 0.4, 340: 0.4}
    whole = watched(*intervals)
    evaluate(whole, history, values)
    for cut in range(len(values)):
        first = watched(*intervals)
        evaluate(first, history, dict(list(values.items())[:cut]))
        second = watched(*intervals)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        evaluate(second, history, dict(list(values.items())[cut:]))
        assert second.state_dict() == whole.state_dict()


# --- a plain reference ---


def reference(step: int, history: list[tuple[int, int]], lines: dict[int, tuple[float, float, int, int]]) -> float:
    """The rate by stage, from its definition; lines: stage → (from, to, duration, warm-up)."""
    known = [entry for entry in history if entry[0] <= step]
    listed = [stage for stage in lines if known and stage <= known[-1][1]]
    if not listed:
        return BASE
    begin = max(entered for entered, stage in known if stage == max(listed))
    first, last, duration, warmup = lines[max(listed)]
    t = step - begin
    rate = first + (last - first) * min(t / duration, 1.0)
    if t >= warmup:
        return rate
    before = reference(begin - 1, history, lines) if begin else 0.0
    return before + (rate - before) * t / warmup


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], dict[int, tuple[float, float, int, int]]]:
    """A history of single moves up and down, and a line for some of the stages."""
    stage, step, history = 0, 0, [(0, 0)]
    for up in draw(st.lists(st.booleans(), max_size=12)):
        stage = stage - 1 if stage == 4 or (stage and not up) else stage + 1
        step += draw(st.integers(1, 40))
        history.append((step, stage))
    rate = st.sampled_from([0.0, 0.05, 0.2, 0.7, 1.0])
    lines = {}
    for listed in sorted(draw(st.sets(st.integers(0, 4), min_size=1))):
        duration = draw(st.integers(1, 120))
        lines[listed] = (draw(rate), draw(rate), duration, draw(st.integers(0, duration)))
    return history, lines


@given(runs(), st.lists(st.integers(0, 700), max_size=20))
def test_any_way_up_and_down_gives_what_the_definition_says(
    run: tuple[list[tuple[int, int]], dict[int, tuple[float, float, int, int]]], steps: list[int]
) -> None:
    history, lines = run
    schedule = by_stage(
        *(
            {"stage": stage, "lr": first, "final_lr": last, "duration": duration}
            | ({"warmup": warmup} if warmup else {})
            for stage, (first, last, duration, warmup) in lines.items()
        ),
        shape="linear_decay",
    )
    assert all(abs(stage - before) == 1 for (_, before), (_, stage) in pairwise(history))
    steps = sorted({*steps, *(entered + d for entered, _ in history for d in (-1, 0, 1) if entered + d >= 0)})
    found = rates(schedule, history, *steps)
    assert found == pytest.approx([reference(step, history, lines) for step in steps], rel=1e-9, abs=1e-12)
    for step, rate in zip(steps, found, strict=True):  # what comes later changes nothing
        assert schedule(step, [entry for entry in history if entry[0] <= step]) == rate
