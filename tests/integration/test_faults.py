"""What can befall a run: it loses at most the work since its last snapshot, and says what happened."""

from __future__ import annotations

import csv
import os
import pickle
import re
import resource
import shutil
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.soak import differences, state_of
from glideslope.agent import DrQV2Agent
from glideslope.cli.main import TRAIN_CONFIG, Composed, run_cli
from glideslope.display.commands import resume_command
from glideslope.runs import snapshots as checkpoint
from glideslope.runs.snapshots import Snapshots, load
from glideslope.settings import Settings
from glideslope.training.final_evaluation import FinalEvaluation
from glideslope.training.run import STOP_SIGNALS
from glideslope.training.trainer import Trainer
from tests.support.interruptions import RUN, at_frame
from tests.support.training import train

SNAPSHOTS = (checkpoint.ROLLING, checkpoint.PREVIOUS)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    with at_frame(500, lambda trainer: trainer.stop()):
        assert train(run, *RUN) == 130
    return run


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A run stopped at frame 500, with its snapshots of frame 500 and 400, to be damaged."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def finish(run: Path, straight: Path) -> None:
    """Go on to the end, which must be that of the run that nothing befell."""
    assert train(run, *RUN) == 0
    assert differences(state_of(straight), state_of(run)) == []


@pytest.mark.slow
def test_a_signal_ends_the_run_within_a_vector_step(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of the signals once in the life of one run."""
    run = tmp_path / "run"
    for number, frame in zip(STOP_SIGNALS, range(350, 800, 100), strict=False):
        before = signal.getsignal(number)
        with at_frame(frame, lambda trainer, number=number: signal.raise_signal(number)):
            assert train(run, *RUN) == 128 + number
        assert signal.getsignal(number) is before
        last = -(-frame // 4) * 4  # four environments: the first multiple of 4
        assert load(run / "snapshot.pt")["frame"] == last
        told = capsys.readouterr().out.splitlines()
        assert told[-3:] == [f"Stopped at frame {last}.", "Resume it:", f"  {resume_command(run)}"]
    assert number == STOP_SIGNALS[-1]
    finish(run, straight)


@pytest.mark.slow
def test_a_stop_in_the_final_evaluation_is_made_up_for(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    scored = FinalEvaluation.run

    def interrupted(self: FinalEvaluation) -> Any:
        signal.raise_signal(signal.SIGINT)
        return scored(self)

    with monkeypatch.context() as patch:
        patch.setattr(FinalEvaluation, "run", interrupted)
        assert train(run, *RUN) == 130
    assert not (run / "finished.json").exists()
    finish(run, straight)
    assert (run / "finished.json").exists()


# --- damaged files ---


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def flip_a_bit_in_a_tensor(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        with archive.open(largest) as member:
            head = member.read(64)
    data = bytearray(path.read_bytes())
    data[data.find(head) + 17] ^= 0b100
    path.write_bytes(data)


class Trap:
    """Makes a file when it is unpickled by a reader that runs what it reads."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


def foreign_pickle(path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump({"format": checkpoint.FORMAT, "trap": Trap(path.with_name("sprung"))}, file)


def foreign_archive(path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "trap": Trap(path.with_name("sprung"))}, path)


def old_version(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": 1}, path)


DAMAGE = {
    "truncated": (truncate, "snapshot.pt: is damaged"),
    "bit flip": (flip_a_bit_in_a_tensor, "snapshot.pt: is damaged"),
    "foreign pickle": (foreign_pickle, "snapshot.pt: is damaged"),
    "foreign archive": (foreign_archive, "holds more than tensors and plain data"),
    "old version": (old_version, "snapshot format 1, this version reads format 2"),
    "empty": (lambda path: path.write_bytes(b""), "snapshot.pt: is damaged"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_snapshot_is_named_and_the_one_before_used(
    kind: str, straight: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = DAMAGE[kind]
    damage(stopped / "snapshot.pt")
    if kind == "bit flip":
        finish(stopped, straight)
    else:
        with at_frame(404, lambda trainer: trainer.stop()):
            assert train(stopped, *RUN) == 130
    output = capsys.readouterr().out
    assert "Passed over: " in output
    assert message in output
    assert "Resuming from frame 400: snapshot_previous.pt" in output
    assert not (stopped / "sprung").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_without_a_good_snapshot_nothing_is_touched(
    kind: str, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in stopped.glob("snapshot*.pt"):
        DAMAGE[kind][0](path)
    before = contents(stopped)
    assert train(stopped, *RUN) == 2
    fault = capsys.readouterr().err
    assert "no snapshot can be resumed" in fault
    assert all(name in fault for name in SNAPSHOTS)
    after = contents(stopped)
    assert {**before, ".lock": b""} == {**after, ".lock": b""}


@pytest.mark.slow
def test_a_missing_replay_file_is_named_and_an_earlier_snapshot_used(
    straight: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = max((stopped / "replay").iterdir())
    newest.unlink()
    finish(stopped, straight)
    output = capsys.readouterr().out
    assert f"Passed over: {newest}: is missing" in output
    assert "Resuming from frame 400: snapshot_previous.pt" in output


@pytest.mark.slow
def test_without_the_first_replay_file_nothing_can_go_on(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = min((stopped / "replay").iterdir())
    first.unlink()
    before = contents(stopped)
    assert train(stopped, *RUN) == 2
    assert f"{first}: is missing" in capsys.readouterr().err
    assert {**before, ".lock": b""} == {**contents(stopped), ".lock": b""}


@pytest.mark.slow
def test_a_run_that_died_before_its_first_snapshot_starts_over(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with at_frame(180, die), pytest.raises(KilledError):
        train(run, *RUN)
    assert (run / "train.csv").exists()
    assert not list(run.glob("*.pt"))
    finish(run, straight)


# --- a disk that takes nothing more ---


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk(first: int, last: int) -> Iterator[None]:
    """Snapshots of the frames from ``first`` to ``last`` meet a disk that is full."""
    original = Snapshots.save_rolling

    def save_rolling(self: Snapshots, content: Any) -> Path:
        if first <= content["frame"] <= last:
            with small_files(20_000):
                return original(self, content)
        return original(self, content)

    Snapshots.save_rolling = save_rolling  # type: ignore[method-assign]
    try:
        yield
    finally:
        Snapshots.save_rolling = original  # type: ignore[method-assign]


@pytest.mark.slow
def test_training_goes_on_while_the_disk_is_full(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    kept: list[tuple[int, int]] = []
    with full_disk(400, 600), at_frame(700, lambda trainer: kept.append(state_frames(run))):
        assert train(run, *RUN) == 0
    output = capsys.readouterr().out
    for frame in (400, 600):
        assert f"frame {frame}: the snapshot can't be written: {run / 'snapshot.pt'}: File too large" in output
    assert kept == [(200, 0)]  # the good one was still there, and no part of another
    assert differences(state_of(straight), state_of(run)) == []


def state_frames(run: Path) -> tuple[int, int]:
    """The frame of the rolling snapshot, and how many unfinished files there are."""
    return load(run / "snapshot.pt")["frame"], len(list(run.rglob(".tmp-*")))


@pytest.mark.slow
def test_training_stops_at_a_full_disk_where_that_is_asked_for(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with full_disk(400, 600):
        assert train(run, *RUN, "on_write_error=stop") == 1
    *_, reason, how, command = capsys.readouterr().out.splitlines()
    assert reason.startswith(f"Stopped: the snapshot can't be written: {run / 'snapshot.pt'}: File too large")
    assert (how, command) == ("Resume it:", f"  {resume_command(run)}")
    assert state_frames(run) == (200, 0)
    assert train(run, *RUN, "on_write_error=continue") == 0
    assert differences(state_of(straight), state_of(run)) == []


@pytest.mark.slow
def test_a_last_snapshot_that_cannot_be_written_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with full_disk(700, 800):
        assert train(run, *RUN) == 1
    assert "The last snapshot could not be written" in capsys.readouterr().out
    assert load(run / "snapshot.pt")["frame"] == 600


@pytest.mark.slow
def test_too_little_disk_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    assert train(tmp_path / "run", *RUN) == 2
    assert "of disk space, but only 100.0 kB are free" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- networks that diverge ---


@pytest.mark.slow
def test_a_bad_gradient_stops_the_run_and_names_the_network(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each network once in the life of one run."""
    run = tmp_path / "run"
    bad = {"encoder": float("inf"), "actor": float("nan"), "critic": float("nan")}
    for frame, (network, value) in zip((300, 500, 700), bad.items(), strict=True):

        def poison(trainer: Trainer, network: str = network, value: float = value) -> None:
            parameters = list(trainer._run.learner.agent.networks[network].parameters())
            handle = parameters[-1].register_hook(lambda gradient: (handle.remove(), gradient + value)[1])

        with at_frame(frame, poison):
            assert train(run, *RUN) == 1
        output = capsys.readouterr().out
        assert f"diverged: {network}" in output
        assert resume_command(run) in output
        content = load(run / "snapshot.pt")
        assert content["frame"] == frame - 100
        assert all(
            bool(tensor.isfinite().all())
            for module in content["agent"]["networks"].values()
            for tensor in module.values()
        )
    finish(run, straight)


@pytest.mark.slow
def test_no_snapshot_is_made_of_a_diverged_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update = DrQV2Agent.update

    def broken(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        metrics = update(self, *arguments, **named)
        with torch.no_grad():
            next(self.critic_target.parameters()).fill_(float("nan"))
        return metrics

    run = tmp_path / "run"
    monkeypatch.setattr(DrQV2Agent, "update", broken)
    # One update in the whole of the first snapshot's interval: no loss shows it before that snapshot is due.
    assert train(run, *RUN, "num_seed_frames=196", "update_every_steps=200") == 1
    assert "no snapshot is written at frame 200; diverged: critic" in capsys.readouterr().out
    assert not list(run.glob("*.pt"))


# --- more of a run ---


@pytest.mark.slow
def test_a_finished_run_says_so_and_goes_on_with_more_frames(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, *RUN, "num_train_frames=400") == 0
    assert (run / "finished.json").exists()
    assert train(run, *RUN, "num_train_frames=400") == 0
    told = capsys.readouterr().out
    assert "This run is finished" in told
    assert resume_command(run, "num_train_frames=800") in told
    assert "before resuming" not in told
    assert train(run, *RUN, "num_train_frames=300") == 2
    assert "num_train_frames=300: the run has done 400 frames already" in capsys.readouterr().err
    assert train(run, *RUN) == 0
    told = capsys.readouterr().out
    assert "Changed: num_train_frames: 400 -> 800" in told
    assert re.search(r"Finished in [\w. ]+, the time before resuming included", told.replace("\n", " "))
    # Its evaluations differ, as the end of 400 frames had one of its own; what it learnt does not.
    own, reference = state_of(run), state_of(straight)
    for part in ("agent", "curriculum", "run"):
        assert differences(reference["snapshot"][part], own["snapshot"][part]) == []
    assert differences(reference["replay"], own["replay"]) == []
    assert differences(reference["train.csv"], own["train.csv"]) == []


@pytest.mark.slow
def test_a_run_cannot_become_shorter_than_it_is(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(stopped, *RUN, "num_train_frames=450") == 2
    assert "num_train_frames=450: the run has done 500 frames already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_finished_run_keeps_its_replay_buffer_only_where_asked_to(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, *RUN, "keep_replay=false") == 0
    assert not (run / "replay").exists()
    assert load(run / "snapshot.pt")["frame"] == 800


class KilledError(BaseException):
    """As kill -9: nothing is done any more."""


def die(trainer: Trainer) -> None:
    raise KilledError


@pytest.mark.slow
def test_a_changed_schedule_is_refused_or_taken_over_for_good(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(stopped)
    assert train(stopped, *RUN, "lr_schedule=gentle_decay") == 2
    assert re.fullmatch(
        r"Error: lr_schedule=gentle_decay: lr_schedule of encoder, actor, critic: "
        # Stopped past a third of 800 frames, before two thirds.
        r"at the resume \(step \d+\) 1e-4 before, 5e-5 now; at the end \(step 800\) 1e-4 before, 2\.5e-5 now; "
        r"resume_lr_schedule=config takes the new rates\n",
        capsys.readouterr().err,
    )
    assert {**before, ".lock": b""} == {**contents(stopped), ".lock": b""}
    # Once taken over it is the run's own, also where the run dies before its next snapshot.
    accepted = [*RUN, "lr_schedule=gentle_decay", "resume_lr_schedule=config"]
    with at_frame(520, die), pytest.raises(KilledError):
        train(stopped, *accepted)
    assert train(stopped, f"resume={stopped}") == 0
    with open(stopped / "train.csv", newline="", encoding="utf-8") as file:
        rates = {int(row["frame"]): float(row["lr_actor"]) for row in csv.DictReader(file)}
    assert rates[450] == 1e-4
    assert rates[550] == 2.5e-5  # past two thirds of 800


def test_whoever_stops_a_job_of_a_sweep_stops_the_sweep(tmp_path: Path) -> None:
    ran: list[int] = []

    def main(composed: Composed[Settings]) -> int:
        ran.append(composed.settings.seed)
        return 128 + signal.SIGTERM

    words = ["--multirun", "profile=smoke", "seed=1,2,3", f"hydra.sweep.dir={tmp_path}"]
    assert run_cli(main, TRAIN_CONFIG, Settings, words) == 128 + signal.SIGTERM
    assert ran == [1]
