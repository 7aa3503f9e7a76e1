"""Environments that step while the networks learn: the same run every time, and faults that come through."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import differences, state_of
from glideslope.agent import DivergedError, DrQV2Agent
from glideslope.envs.gym import LandingVectorEnv
from glideslope.storage.csv_table import read_csv_table
from glideslope.training.trainer import Trainer
from glideslope.training.updates import Updates
from tests.support.interruptions import RUN
from tests.support.training import train

PARALLEL = (*RUN, "parallel=true")
PIXELS = (*PARALLEL, "encoder_bundle@agent=original_small", "num_train_frames=300")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befell."""
    run = tmp_path_factory.mktemp("parallel") / "run"
    assert train(run, *PARALLEL) == 0
    return run


@pytest.mark.slow
def test_actor_and_critic_side_by_side_are_the_same_every_time_and_across_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows fall where no block of updates ends, and a rate jumps within one."""
    beside = tuple(word for word in PIXELS if word != "encoder_bundle@agent=state")
    beside = (*beside, "critic_observation=privileged", "actor_every_updates=2", "auxiliary_weight=1")
    beside = (*beside, "auxiliary_target=pad_motion", "lr_schedule=aggressive_decay", "log_every_frames=18")
    for name in ("one", "other"):
        assert train(tmp_path / name, *beside) == 0

    def stop(self: Trainer) -> None:
        if self.frame == 212:
            self.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_show", stop)
        assert train(tmp_path / "stopped", *beside) == 130
    assert train(tmp_path / "stopped", *beside) == 0
    for name in ("other", "stopped"):
        assert differences(state_of(tmp_path / "one"), state_of(tmp_path / name)) == []
    rows = read_csv_table(tmp_path / "one" / "train.csv")
    rates = {int(frame): rate for frame, rate in zip(rows["frame"], rows["lr_actor"], strict=True)}
    assert (rates[148], rates[150]) == (2.5e-5, 1.0e-5)  # at half of the training, within a block of updates


@pytest.mark.slow
def test_updates_and_their_rates_fall_on_the_frames_of_the_serial_loop(tmp_path: Path) -> None:
    tables = []
    for name, parallel in (("serial", "false"), ("parallel", "true")):
        run = tmp_path / name
        made = (*RUN, "lr_schedule=exponential_smooth", "log_every_frames=1", f"parallel={parallel}")
        assert train(run, *made, "curriculum.last_stage=0", "num_train_frames=402") == 0
        tables.append(read_csv_table(run / "train.csv"))
    for column in ("frame", "lr_encoder", "lr_actor", "lr_critic", "train/stddev"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    assert tables[0]["frame"].tolist() == list(range(102, 403, 2))


@pytest.mark.slow
def test_a_run_cut_off_behind_its_snapshot_resumes_without_what_it_had_logged_since(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update of the snapshot's own step is made behind it, and its row written, which the resumed run repeats."""
    run, show = tmp_path / "run", Trainer._show

    class CutOffError(Exception):
        pass

    def cut_off(self: Trainer) -> None:
        if self.frame == 408:
            raise CutOffError
        show(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_show", cut_off)
        with pytest.raises(CutOffError):
            train(run, *PARALLEL)
    assert 400 in read_csv_table(run / "train.csv")["frame"]  # the snapshot is of 400 too
    assert train(run, *PARALLEL) == 0
    assert differences(state_of(straight), state_of(run)) == []


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_frames(straight: Path, tmp_path: Path) -> None:
    """The update of its last step was made at its end, and is not repeated."""
    run = tmp_path / "run"
    assert train(run, *PARALLEL, "num_train_frames=400") == 0
    assert train(run, *PARALLEL) == 0
    frames, expected = (read_csv_table(path / "train.csv")["frame"].tolist() for path in (run, straight))
    assert frames == expected


@pytest.mark.slow
@pytest.mark.parametrize("first", ["true", "false"])
def test_a_resume_may_change_the_way(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    update = Updates._update

    def noted(self: Updates, step: int) -> Any:
        steps.append(step)
        return update(self, step)

    def stop(self: Trainer) -> None:
        if self.frame == 300:
            self.stop()

    monkeypatch.setattr(Updates, "_update", noted)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_show", stop)
        assert train(run, *RUN, f"parallel={first}", "num_train_frames=500") == 130
    second = "false" if first == "true" else "true"
    assert train(run, *RUN, f"parallel={second}", "num_train_frames=500") == 0
    assert steps == list(range(102, 501, 2))


def test_updates_are_made_while_the_environments_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, update, updating = LandingVectorEnv.step, DrQV2Agent.update, threading.Event()
    begun, met = [0], []

    def stepping(self: LandingVectorEnv, *arguments: Any) -> Any:
        if threading.current_thread().name.startswith("worker"):  # evaluations have a thread of their own
            begun[0] += 1
            if begun[0] >= 27:  # one update in each from that of step 104 on
                met.append(updating.wait(60.0))
                updating.clear()
        return step(self, *arguments)

    def noted(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        updating.set()
        return update(self, *arguments, **named)

    monkeypatch.setattr(LandingVectorEnv, "step", stepping)
    monkeypatch.setattr(DrQV2Agent, "update", noted)
    assert train(tmp_path / "run", *PARALLEL, "num_train_frames=160", "update_every_steps=4") == 0
    assert met == [True] * 14


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_a_fault_of_the_environments_ends_the_run_as_itself(
    parallel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, left = LandingVectorEnv.step, [40]

    def failing(self: LandingVectorEnv, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError("no room for a view")
        return step(self, *arguments)

    monkeypatch.setattr(LandingVectorEnv, "step", failing)
    with pytest.raises(MemoryError, match="no room for a view"):
        train(tmp_path / "run", *RUN, f"parallel={parallel}")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("worker", "evaluation"))]


@pytest.mark.parametrize("both", [False, True])
def test_a_divergence_waits_for_the_step_under_way_and_ends_the_run(
    both: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told even where the environments have failed at the same time."""
    step, diverging = LandingVectorEnv.step, threading.Event()
    begun, ended = [0], [0]

    def slow(self: LandingVectorEnv, *arguments: Any) -> Any:
        begun[0] += 1
        # The first update is of step 102, while the 26th step of the 4 environments is under way.
        assert begun[0] < 26 or diverging.wait(60.0)
        result = step(self, *arguments)
        ended[0] += 1
        if both and diverging.is_set():
            raise MemoryError
        return result

    def diverged(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        diverging.set()
        raise DivergedError("critic loss is nan")

    monkeypatch.setattr(LandingVectorEnv, "step", slow)
    monkeypatch.setattr(DrQV2Agent, "update", diverged)
    assert train(tmp_path / "run", *PARALLEL) == 1
    assert "critic loss is nan at frame 100" in capsys.readouterr().out
    assert begun == ended == [26]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("worker", "evaluation"))]
