"""Which updates belong to which vector step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.training.run import UpdateSteps, update_steps


def sizes(*, parallel: bool, envs: int = 4, every: int = 3, seed: int = 8, total: int = 24) -> Any:
    return SimpleNamespace(
        num_envs=envs, update_every_steps=every, seed_steps=seed, total_steps=total, parallel=parallel
    )


def iterations(settings: Any, begin: int = 0, learnt: int = 0) -> list[tuple[int, UpdateSteps]]:
    """A training's vector steps from ``begin`` on: where each begins, and its updates."""
    made = []
    while begin < settings.total_steps:
        made.append((begin, update_steps(settings, begin, learnt)))
        begin, learnt = begin + settings.num_envs, made[-1][1].learnt
    return made


def in_order(found: list[tuple[int, UpdateSteps]]) -> list[int]:
    return [step for _, updates in found for step in (*updates.during, *updates.behind)]


def test_one_loop_learns_behind_each_vector_step() -> None:
    assert [(list(u.during), list(u.behind), u.learnt) for _, u in iterations(sizes(parallel=False))] == [
        ([], [], 4),
        ([], [], 8),
        ([], [9, 12], 12),
        ([], [15], 16),
        ([], [18], 20),
        ([], [21, 24], 24),
    ]


def test_beside_a_vector_step_that_of_its_end_waits_and_the_last_one_does_not() -> None:
    assert [(list(u.during), list(u.behind), u.learnt) for _, u in iterations(sizes(parallel=True))] == [
        ([], [], 3),
        ([], [], 7),
        ([9], [], 11),
        ([12, 15], [], 15),
        ([18], [], 19),
        ([21], [24], 24),
    ]


def test_a_length_that_no_vector_step_ends_at_leaves_nothing_behind_the_last_one() -> None:
    last = iterations(sizes(parallel=True, total=22))[-1][1]
    assert (list(last.during), list(last.behind), last.learnt) == ([21], [], 24)


RUNS = {
    "envs": st.integers(1, 20),
    "every": st.integers(1, 25),
    "seed": st.integers(0, 60),
    "total": st.integers(1, 200),
}


@given(**RUNS)
def test_both_make_the_same_updates_over_a_whole_training(envs: int, every: int, seed: int, total: int) -> None:
    expected = [step for step in range(1, total + 1) if step > seed and step % every == 0]
    for parallel in (False, True):
        found = iterations(sizes(parallel=parallel, envs=envs, every=every, seed=seed, total=total))
        assert in_order(found) == expected


@given(**RUNS)
def test_no_update_comes_before_the_curriculum_knows_of_its_step(envs: int, every: int, seed: int, total: int) -> None:
    """What a vector step's end brings is known behind it; an update learns at most one vector step late."""
    for begin, updates in iterations(sizes(parallel=True, envs=envs, every=every, seed=seed, total=total)):
        assert all(begin <= step < begin + envs for step in updates.during)
        assert all(step == begin + envs for step in updates.behind)


@pytest.mark.parametrize("parallel", [False, True])
@given(**RUNS, more=st.integers(0, 60))
def test_a_finished_training_that_becomes_longer_repeats_no_update(
    parallel: bool, envs: int, every: int, seed: int, total: int, more: int
) -> None:
    first = iterations(sizes(parallel=parallel, envs=envs, every=every, seed=seed, total=total))
    end, updates = first[-1]
    longer = sizes(parallel=parallel, envs=envs, every=every, seed=seed, total=total + more)
    made = in_order(first) + in_order(iterations(longer, end + envs, updates.learnt))
    assert made == sorted(set(made))


@given(**RUNS, changed_at=st.integers(0, 200))
def test_a_change_to_the_other_way_keeps_every_update(
    envs: int, every: int, seed: int, total: int, changed_at: int
) -> None:
    for parallel in (False, True):
        before = sizes(parallel=parallel, envs=envs, every=every, seed=seed, total=total)
        found = [one for one in iterations(before) if one[0] <= changed_at]
        begin, learnt = found[-1][0] + envs, found[-1][1].learnt
        after = sizes(parallel=not parallel, envs=envs, every=every, seed=seed, total=total)
        assert in_order(found + iterations(after, begin, learnt)) == in_order(iterations(before))
