"""A changed schedule is told by the rates before and after, at the step from which they differ."""

from __future__ import annotations

from typing import Any

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.lr_scheduler import LiveSchedules
from glideslope.runs.schedule_changes import live_schedules, rate_changes
from glideslope.settings import Settings


def run(*overrides: str) -> Settings:
    words = ["profile=state", "lr=1.0e-4", "stddev_schedule=0.5", "num_train_frames=30000", *overrides]
    return compose(TRAIN_CONFIG, words, Settings).settings


def told(before: Settings, now: Settings, step: int, history: Any = ((0, 0),)) -> list[str]:
    content = {
        "step": step,
        "settings": before.to_plain(),
        "curriculum": {"history": history},
        "schedules": live_schedules(before).state_dict(),
    }
    changed: LiveSchedules = live_schedules(now)
    return rate_changes(content, changed, now.total_steps)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        # Halved at 10,000 and 20,000 before; at 20,000 and 40,000 when stretched to 60,000.
        (5_000, "from step 10,000 on 5e-5 before, 1e-4 now"),
        (12_000, "at the resume (step 12,000) 5e-5 before, 1e-4 now"),
        (30_000, "at the resume (step 30,000) 2.5e-5 before, 5e-5 now"),
    ],
)
def test_a_stretched_schedule(step: int, line: str) -> None:
    before = run("lr_schedule=gentle_decay")
    now = run("lr_schedule=gentle_decay", "num_train_frames=60000")
    assert told(before, now, step) == [f"lr_schedule of encoder, actor, critic: {line}"]


def test_networks_that_differ_have_lines_of_their_own_with_the_end() -> None:
    before = run()
    now = run("lr_critic=3.0e-4", "lr_schedule={actor: {type: linear_decay, intervals: [{lr: 1x, final_lr: 0}]}}")
    # linear: 1e-4 (1 - 15/30); noise, encoder the same
    assert told(before, now, 15_000) == [
        "lr_schedule of actor: at the resume (step 15,000) 1e-4 before, 5e-5 now; "
        "at the end (step 30,000) 1e-4 before, 0 now",
        "lr_schedule of critic: at the resume (step 15,000) 1e-4 before, 3e-4 now; "
        "at the end (step 30,000) 1e-4 before, 3e-4 now",
    ]


def test_the_noise_and_stages() -> None:
    before, now = (
        run("lr_schedule=stage_based"),
        run("lr_schedule=stage_based", "lr=2.0e-4", "stddev_schedule=0.4"),
    )
    assert told(before, now, 9_000, [(0, 0), (8_000, 1)])[-1] == (
        "stddev_schedule: at the resume (step 9,000) 0.5 before, 0.4 now; at the end (step 30,000) 0.5 before, 0.4 now"
    )
    assert told(before, now, 9_000, [(0, 0), (8_000, 1)])[0].startswith(
        "lr_schedule of encoder, actor, critic: at the resume (step 9,000) 1e-4 before, 2e-4 now"
    )


def test_what_differs_only_before_the_resume_is_no_change_of_rates() -> None:
    before = run("lr_schedule=gentle_decay")
    now = run("lr_schedule=gentle_decay", "lr_schedule.actor.intervals.0.lr=0.9x")
    assert told(before, now, 10_000) == []
