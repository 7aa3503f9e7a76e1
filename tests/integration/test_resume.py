"""A run that was stopped and went on is the run that never stopped, bit for bit."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.soak import differences, state_of
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.runs.run_copies import copy_run
from glideslope.settings import Settings
from glideslope.training import launch
from tests.support.interruptions import stop_at
from tests.support.training import train

# A pad so large that random flight lands often: stages change, policies are kept, plateaus are met.
BUSY = (
    *("profile=smoke", "save_video=false", "num_train_frames=1400", "replay_buffer_size=1000"),
    *("snapshot_every_frames=300", "eval_every_frames=200", "num_eval_episodes=3", "final_eval_episodes=2"),
    *("lr_schedule=stage_based", "lr_schedule.critic.type=reduce_on_plateau", "lr=1.0e-4"),
    "lr_schedule.critic.intervals=[{stage: 0, lr: 1x, patience: 0, metric: critic_loss},"
    "{stage: 1, lr: 0.5x, patience: 1}]",
    "schedules={critic.weight_decay: 1e-3, critic.beta1: 'linear(0.5,0.9,100%)',"
    "critic_target_tau: {type: step_decay, intervals: [{stage: 0, lr: 1x}, {stage: 1, lr: 2x}]},"
    "discount: {type: reduce_on_plateau, intervals: [{lr: 1x, patience: 0, factor: 0.95}]},"
    "update_every_steps: {type: step_decay, intervals: [{end: 40%, lr: 3}, {lr: 2}]}}",
    *("on_stage.critic=reset_moments", "on_stage.actor=reset_step", "lr_scale={critic.trunk: 0.5}"),
    *("task.pad_size=14", "task.max_touchdown_speed=10", "task.start_height=[0.5,0.8]"),
    *("curriculum.window=5", "curriculum.min_episodes=3", "curriculum.success_rate=0.4"),
    *("curriculum.require_consecutive_windows=1", "curriculum.min_stage_episodes=12"),
    *("curriculum.cooldown_episodes=2", "curriculum.replay_earlier_stages=0.2"),
)
SENSES = {
    "pixels": (),
    "state": ("encoder_bundle@agent=state",),
    "parallel": ("encoder_bundle@agent=state", "parallel=true"),
}


@pytest.fixture(scope="module", params=SENSES)
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run that never stopped."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    assert train(run, *BUSY, *SENSES[request.param]) == 0
    return request.param, run


@pytest.mark.slow
def test_the_straight_run_goes_through_everything(straight: tuple[str, Path]) -> None:
    """What the others compare with must have been busy."""
    state = state_of(straight[1])
    curriculum, schedules = state["snapshot"]["curriculum"], state["snapshot"]["schedules"]
    assert len(curriculum["history"]) >= 3
    assert schedules["reductions"]["critic"]
    assert schedules["reductions"]["discount"]
    assert any(name.startswith("snapshot_best") for name in state["snapshots"])
    assert (state["counters"]["written"] > 250).all()  # the rings have wrapped
    assert len(state["eval.csv"]) >= 10


@pytest.mark.slow
def test_stop_and_resume_changes_no_bit(
    straight: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    senses, reference = straight
    run = tmp_path / "run"
    draw = random.Random(list(SENSES).index(senses))
    stops = sorted(draw.sample(range(1, 1400), 3))
    for frame in stops:
        with monkeypatch.context() as patch:
            stop_at(patch, frame, draw.choice(["_show", "_learn", "_evaluate", "greedy"]))
            assert train(run, *BUSY, *SENSES[senses]) == 128 + signal.SIGTERM, frame
        assert not (run / "finished.json").exists()
    assert train(run, *BUSY, *SENSES[senses]) == 0
    assert differences(state_of(reference), state_of(run)) == [], stops


@pytest.mark.slow
def test_pauses_and_copies_change_no_bit(straight: tuple[str, Path], tmp_path: Path) -> None:
    senses, reference = straight
    if senses != "state":
        pytest.skip("as from the state")
    words = [*BUSY, *SENSES[senses], "num_threads=1"]
    settings = compose(TRAIN_CONFIG, words, Settings).settings
    first, copy = tmp_path / "first", tmp_path / "copy"
    with open(tmp_path / "output.log", "w", encoding="utf-8") as file:
        assert launch.train(settings, first, until=501, console=Console(file=file)) == 0
        copy_run(first, copy)
        assert launch.train(settings, copy, until=900, console=Console(file=file)) == 0
    assert "Paused at frame 900" in (tmp_path / "output.log").read_text()
    assert not (copy / "finished.json").exists()
    assert train(copy, *BUSY, *SENSES[senses]) == 0
    assert differences(state_of(reference), state_of(copy)) == []
