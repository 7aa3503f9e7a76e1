"""Jumps of rates: found where they are, logged on both sides, drawn as steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glideslope.display.figures import plot_run
from glideslope.lr_scheduler import LiveSchedules, build_schedules
from glideslope.storage.csv_table import read_csv_table
from tests.support.training import read_tags, train

TOTAL = 1000


def jumps(
    *intervals: dict[str, Any], shape: str = "step_decay", every: int = 2, stages: Any = (), around: int = 50
) -> list[int]:
    """The updates at which a rate jumps."""
    config = {"actor": {"type": shape, "intervals": list(intervals)}}
    schedules = build_schedules(config, base={"actor": 1e-3}, total_steps=TOTAL, stage_names=["a", "b"])
    live = LiveSchedules(schedules)
    updates = range(every, TOTAL, every)
    return [step for step in updates[1:] if live.jumped(step - every, step, stages, around=around)]


def test_a_step_jumps_at_the_first_update_behind_it() -> None:
    steps = [{"end": 300, "lr": "1x"}, {"end": 501, "lr": "0.5x"}, {"lr": "0.49x"}]
    assert jumps(*steps) == [300, 502]
    assert jumps(*steps, every=7) == [301, 504]
    # half a percent can't be seen
    assert jumps({"end": 300, "lr": "1x"}, {"lr": "0.995x"}) == []


@pytest.mark.parametrize("shape", ["linear_decay", "cosine_decay", "polynomial_decay", "exponential_decay"])
def test_curves_and_warm_ups_don_t_jump_but_to_where_the_next_one_begins(shape: str) -> None:
    """However steep: within ten updates a rate falls by three quarters here."""
    joined = [{"lr": "1x", "end": 20, "warmup": 10}, {"lr": "0.25x", "final_lr": 1e-5, "warmup": 30}]
    assert jumps(*joined, shape=shape) == []
    apart = [{"lr": "1x", "final_lr": "0.5x", "end": 333}, {"lr": "0.25x", "final_lr": "0.1x"}]
    assert jumps(*apart, shape=shape) == [334]


def test_stairs_jump_where_the_log_would_draw_them_as_ramps() -> None:
    stairs = {"lr": "1x", "decay_rate": 0.5, "decay_interval": 300}
    assert jumps(stairs, shape="exponential_decay") == [300, 600, 900]
    assert jumps({**stairs, "decay_interval": 20}, shape="exponential_decay") == []
    assert jumps({**stairs, "decay_rate": 0.995}, shape="exponential_decay") == []


def test_stages_jump_where_they_are_entered() -> None:
    by_stage = [{"stage": 0, "lr": "1x"}, {"stage": 1, "lr": "0.5x"}]
    assert jumps(*by_stage, stages=[(0, 0), (401, 1), (600, 0)]) == [402, 600]


def test_reductions_jump_at_the_update_after_their_evaluation() -> None:
    config = {"actor": {"type": "reduce_on_plateau", "intervals": [{"lr": "1x", "patience": 0}]}}
    live = LiveSchedules(build_schedules(config, base={"actor": 1e-3}, total_steps=TOTAL))
    for step in (100, 200):
        live.evaluated(step, {"success_rate": 0.5, "episode_reward": 0.0})
    assert [at for at in range(4, 400, 2) if live.jumped(at - 2, at, around=50)] == [202]


@pytest.mark.slow
def test_a_training_logs_both_sides_and_its_picture_has_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    overrides = (
        *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", "num_train_frames=600"),
        *("log_every_frames=250", "eval_every_frames=600", "num_eval_episodes=2", "final_eval_episodes=2"),
        *("lr_schedule=gentle_decay", "lr=1.0e-4", "stddev_schedule=0.5"),
    )
    assert train(run, *overrides) == 0
    table = read_csv_table(run / "train.csv")
    # the first update, those around 1/3 and 2/3, and the first ones at 250 and 500
    right = {102: 1e-4, 198: 1e-4, 200: 5e-5, 250: 5e-5, 398: 5e-5, 400: 2.5e-5, 500: 2.5e-5}
    tags = read_tags(run)
    for network in ("encoder", "actor", "critic"):
        assert dict(zip(table["frame"], table[f"lr_{network}"], strict=True)) == right
        assert tags[f"lr_{network}"] == {frame: pytest.approx(rate) for frame, rate in right.items()}
    whole = np.isfinite(table["train/critic_loss"])
    assert table["frame"][whole].tolist() == [102, 250, 500]
    assert list(tags["train/critic_loss"]) == [102, 250, 500]
    # Between two points of the picture the rate is the same, or they are one update apart.
    for before, after in zip(right, list(right)[1:], strict=False):
        assert right[before] == right[after] or after - before == 2
    assert all(path.exists() for path in plot_run(run))
