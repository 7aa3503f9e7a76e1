"""What a hostile review of stopping and resuming found: each of these lost, or ended, a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import differences, state_of
from glideslope.replay.store import ReplayStore
from glideslope.runs.logger import Logger
from glideslope.runs.snapshots import load
from glideslope.training.actions import Actions
from glideslope.training.snapshot_state import RunSnapshots
from glideslope.training.trainer import Trainer
from tests.support.interruptions import RUN, at_frame
from tests.support.paths import ROOT
from tests.support.training import train


class Killed(BaseException):
    """The process ends here, as by kill -9: nothing catches it."""


def finish(run: Path, straight: Path) -> None:
    """Go on to the end, which must be that of the run that nothing befell."""
    assert train(run, *RUN) == 0
    assert differences(state_of(straight), state_of(run)) == []


@pytest.mark.slow
def test_a_kill_behind_an_evaluation_made_anew(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is in the logs at the snapshot's own frame: it must not stand in the way of the next life's."""
    run = tmp_path / "run"
    greedy, log_eval, flush = Actions.greedy, Logger.log_eval, Logger.flush

    def stop(self: Actions, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return greedy(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Actions, "greedy", stop)
        assert train(run, *RUN) == 130
    assert load(run / "snapshot.pt")["run"]["trainer"]["due"] is not None

    def die(self: Logger, *arguments: Any) -> None:
        log_eval(self, *arguments)
        flush(self)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Logger, "log_eval", die)
        for _ in range(2):
            with pytest.raises(Killed):
                train(run, *RUN)
    finish(run, straight)


@pytest.mark.slow
def test_files_that_cannot_be_removed_do_not_hide_a_snapshot(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: ReplayStore, manifests: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    run = tmp_path / "run"
    monkeypatch.setattr(ReplayStore, "prune", refuse)
    assert train(run, *RUN) == 0
    output = capsys.readouterr().out
    assert "snapshot can't be written" not in output
    assert "Operation not permitted" in output
    assert differences(state_of(straight), state_of(run)) == []


@pytest.mark.slow
def test_stop_before_the_first_step(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin = Trainer._begin

    def stop(self: Trainer) -> None:
        begin(self)
        self.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_begin", stop)
        assert train(run, *RUN) == 130
    assert load(run / "snapshot.pt")["frame"] == 0
    finish(run, straight)


@pytest.mark.slow
def test_logs_that_cannot_be_written_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"

    def fill(trainer: Trainer) -> None:
        (run / "train.csv").unlink()
        (run / "train.csv").symlink_to("/dev/full")

    with at_frame(700, fill):
        assert train(run, *RUN) == 1
    output = capsys.readouterr().out
    assert f"The logs can't be written: {run / 'train.csv'}: No space left on device" in output
    assert load(run / "snapshot.pt")["frame"] == 800
    assert not (run / "finished.json").exists()


COMMAND = (sys.executable, "train_gimbal_curriculum.py", *RUN, "num_threads=1", "num_train_frames=400")


@pytest.mark.slow
def test_a_screen_on_a_full_disk_ends_no_training(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with suppress(OSError), open("/dev/full", "w") as screen, redirect_stdout(screen):  # which can't be closed well
        train(run, *RUN, "num_train_frames=400")
    assert load(run / "snapshot.pt")["frame"] == 400
    assert (run / "finished.json").exists()


@pytest.mark.slow
def test_a_reader_of_the_screen_that_has_gone_ends_no_training(tmp_path: Path) -> None:
    run = tmp_path / "run"
    life = subprocess.Popen([*COMMAND, f"hydra.run.dir={run}"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert life.stdout is not None
    life.stdout.readline()
    life.stdout.close()
    life.wait(120)
    assert load(run / "snapshot.pt")["frame"] == 400
    assert (run / "finished.json").exists()


@pytest.mark.slow
def test_a_best_snapshot_of_the_last_frame_gives_a_rolling_one(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    save = RunSnapshots.save

    def die(self: RunSnapshots) -> None:
        if self._run.clock.frame == 800:
            raise Killed
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(RunSnapshots, "save", die)
        with pytest.raises(Killed):
            train(run, *RUN)
    finish(run, straight)
    assert "Resuming from frame 800: snapshot_best_" in capsys.readouterr().out
