"""Whole trainings: what they leave behind, when they learn, how they end, what they refuse."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glideslope import build
from glideslope.agent import DrQV2Agent
from glideslope.cli import evaluate
from glideslope.cli import train as command
from glideslope.cli.main import EVALUATE_CONFIG, TRAIN_CONFIG, compose, run_cli
from glideslope.runs.snapshots import load
from glideslope.settings import EvaluateSettings, Settings
from glideslope.training import launch
from glideslope.training.trainer import Trainer
from tests.support.paths import ROOT
from tests.support.training import approx, read_tags, train

TRAIN = [sys.executable, "train_gimbal_curriculum.py"]
# Learns nothing but passes through everything that doesn't need pixels, in a few seconds.
TINY_STATE = (
    "profile=smoke",
    "encoder_bundle@agent=state",
    "save_video=false",
    "eval_every_frames=1000000",
    "final_eval_episodes=1",
)
# A pad so large and a limit so high that random flight lands often; a rate so low that it stays random.
EASY = (
    *("lr=1.0e-12", "stddev_schedule=1.0"),
    *("task.pad_size=14", "task.max_touchdown_speed=10", "task.start_height=[0.5,0.8]"),
    *("curriculum.window=5", "curriculum.min_episodes=3", "curriculum.success_rate=0.4"),
    *("curriculum.require_consecutive_windows=1", "curriculum.min_stage_episodes=3"),
    "curriculum.cooldown_episodes=0",
)


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_smoke_profile_leaves_a_whole_run_that_evaluate_can_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = [*TRAIN, "profile=smoke", "lr_schedule=gentle_decay", f"hydra.run.dir={run}", "num_threads=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Replay buffer: 2,000 frames" in done.stdout
    assert "Networks: encoder original, actor-critic original; 7,408 + " in done.stdout
    assert "600/600 frames (100.0%)" in done.stdout

    left = {path.name for path in run.iterdir()}
    expected = {"config.yaml", "versions.json", "train.csv", "eval.csv", "snapshot.pt", "finished.json"}
    assert left >= expected | {"learning_rates.png", "training.png", "landing.mp4"}
    assert any(name.startswith("events.out.tfevents") for name in left)
    assert Settings.from_config(yaml.safe_load((run / "config.yaml").read_text())).profile == "smoke"
    assert [int(row["frame"]) for row in read_rows(run / "eval.csv")] == [300, 600]
    snapshot = load(run / "snapshot.pt")
    assert (snapshot["frame"], snapshot["step"]) == (600, 600)
    finished = json.loads((run / "finished.json").read_text())
    assert finished["evaluation"]["episodes"] == 4

    assert train(run, "profile=smoke", "lr_schedule=gentle_decay") == 0
    assert "finished" in capsys.readouterr().out

    words = [f"run={run}", "stage=all", "episodes=3", "num_threads=1"]
    assert run_cli(evaluate.main, EVALUATE_CONFIG, EvaluateSettings, words) == 0
    (out,) = (run / "evaluations").iterdir()
    results = json.loads((out / "evaluation.json").read_text())
    assert [result["name"] for result in results] == [
        *("S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid", "S4_full")
    ]
    for result in results:
        assert result["episodes"] == 3
        assert 0.0 <= result["low"] <= result["success_rate"] <= result["high"] <= 1.0


@pytest.mark.slow
def test_stages_advance_are_logged_where_they_were_entered_and_set_the_rates(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Long enough a first stage to be seen after the seed frames.
    length = "num_train_frames=1200", "curriculum.min_stage_episodes=6", "log_every_frames=10"
    assert train(run, *TINY_STATE, *EASY, "lr_schedule=stage_based", *length) == 0
    history = load(run / "snapshot.pt")["curriculum"]["history"]
    entries = [(int(step), int(stage)) for step, stage in history]
    assert [stage for _, stage in entries] == list(range(len(entries)))
    assert len(entries) >= 3
    tags = read_tags(run)
    logged = tags["curriculum/stage"]
    assert len(logged) >= 100
    assert set(logged.values()) >= {0.0, 1.0, 2.0}
    for frame, stage in logged.items():
        assert stage == [index for step, index in entries if step <= frame][-1]
        for network in ("encoder", "actor", "critic"):
            rate = 1e-12 * (1.2, 1.0, 0.7, 0.5, 0.3)[int(stage)]
            assert tags[f"lr_{network}"][frame] == approx(rate), (network, frame)
    kept = sorted(path.name for path in run.glob("snapshot_stage*.pt"))
    assert len(kept) == len(entries) - 1
    assert kept[0].startswith("snapshot_stage0_S0_lock_")
    assert load(run / kept[0])["stage"] == 0


@pytest.mark.slow
def test_a_network_that_diverges_ends_the_training_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update = DrQV2Agent.update

    def broken(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        metrics = update(self, *arguments, **named)
        with torch.no_grad():
            self.actor.output.bias.fill_(float("nan"))
        return metrics

    monkeypatch.setattr(DrQV2Agent, "update", broken)
    assert train(tmp_path / "run", *TINY_STATE, "log_every_frames=100000") == 1
    # The first update's loss was a number still; the second one's, in the same vector step, was not.
    assert "loss is nan; diverged: actor at frame 104" in capsys.readouterr().out
    assert not (tmp_path / "run" / "finished.json").exists()


@pytest.mark.slow
def test_a_stop_in_the_last_step_leaves_the_evaluations_to_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Trainer._show

    def stopping(self: Trainer) -> None:
        show(self)
        if self.frame == 600:
            self.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_show", stopping)
        assert train(tmp_path / "run", *TINY_STATE) == 130
    assert load(tmp_path / "run" / "snapshot.pt")["frame"] == 600
    assert not (tmp_path / "run" / "eval.csv").exists()
    assert train(tmp_path / "run", *TINY_STATE) == 0
    assert [int(row["frame"]) for row in read_rows(tmp_path / "run" / "eval.csv")] == [600]
    assert (tmp_path / "run" / "finished.json").exists()


@pytest.mark.slow
def test_rates_depend_on_frames_alone(tmp_path: Path) -> None:
    variants = {
        "many": ["num_envs=8", "update_every_steps=10", "num_seed_frames=190"],
        "repeat": ["num_envs=4", "action_repeat=2"],
    }
    logged: dict[str, dict[int, float]] = {}
    for name, overrides in variants.items():
        run = tmp_path / name
        assert train(run, *TINY_STATE, "lr_schedule=exponential_smooth", "num_train_frames=300", *overrides) == 0
        logged[name] = read_tags(run)["lr_actor"]
    # With action_repeat=2 a frame is half a step, and the whole is half as many steps: the same share is done.
    for name, rates in logged.items():
        assert {200, 300} <= set(rates)
        for frame, rate in rates.items():
            assert rate == approx(1e-4 * 0.9995 ** (20 * frame)), name


@pytest.mark.slow
def test_updates_keep_their_ratio_to_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here several fall into a vector step; test_training_trace.py has fewer."""
    updates = 0
    update = DrQV2Agent.update

    def counted(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        nonlocal updates
        updates += 1
        return update(self, *arguments, **named)

    monkeypatch.setattr(DrQV2Agent, "update", counted)
    sizes = ["num_envs=6", "update_every_steps=4", "num_train_frames=240"]
    assert train(tmp_path / "run", *TINY_STATE, *sizes) == 0
    assert updates == len([step for step in range(101, 241) if step % 4 == 0])


@pytest.mark.slow
def test_a_signal_ends_a_training_with_a_snapshot_and_the_folder_is_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = [*TRAIN, *TINY_STATE, "num_train_frames=1000000", f"hydra.run.dir={run}", "num_threads=1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "elapsed" in line:
                break
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert second.returncode == 2
    assert f"in use by process {process.pid}" in second.stderr
    assert process.returncode == 128 + signal.SIGTERM
    assert "Stopped at frame" in rest
    assert f" train_gimbal_curriculum.py resume={run}\n" in rest
    assert load(run / "snapshot.pt")["frame"] > 0

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert train(run, *TINY_STATE, "num_train_frames=1000000", "batch_size=8") == 2
    assert "batch_size=8: the run has 16" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("device=cuda:7", "cuda:7"),
        ("replay_buffer_size=2000000000", "GB"),
        ("hydra.run.dir=/dev/null/run", "/dev/null/run"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_before_anything_is_written(
    override: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = [] if override.startswith("hydra") else [f"hydra.run.dir={tmp_path / 'run'}"]
    arguments = ["profile=smoke", override, *folder]
    assert run_cli(command.main, TRAIN_CONFIG, Settings, arguments) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_networks_that_do_not_fit_into_memory_are_refused_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(build, "make_agent", full)
    assert train(tmp_path / "run", "profile=smoke", "encoder_bundle@agent=enc_B") == 2
    told = capsys.readouterr().err
    assert "lower hidden_dim (64), feature_dim (50) or the sizes of agent.encoder (enc_B)" in told
    assert list(tmp_path.iterdir()) == []


def test_full_profile_without_a_gpu_says_how_long_it_takes_and_what_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class BuiltTooEarlyError(Exception):
        pass

    def stop(*arguments: object) -> None:
        raise BuiltTooEarlyError

    monkeypatch.setattr(launch, "measure_costs", lambda *arguments: {"learn": 100 * 86400.0 / 5_996_000})
    monkeypatch.setattr(launch, "_build", stop)
    composed = compose(TRAIN_CONFIG, ["device=cpu"], Settings)
    with pytest.raises(BuiltTooEarlyError):
        launch.train(composed.settings, tmp_path / "run")
    told = capsys.readouterr().out
    assert "100 days" in told
    assert "profile=cpu" in told
    assert "Replay buffer: 400,000 frames, 2." in told


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["run=nowhere"], "nowhere"),
        (["policy=expert", "stage=9"], "stage=9"),
        (["policy=expret"], "expert"),
        ([], "policy=expert"),
    ],
)
def test_evaluate_refuses_what_it_cannot_play(
    overrides: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(evaluate.main, EVALUATE_CONFIG, EvaluateSettings, [*overrides, f"out={tmp_path}"]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_scores_a_scripted_policy(tmp_path: Path) -> None:
    arguments = ["policy=expert", "stage=S4_full", "episodes=10", f"out={tmp_path}", "num_threads=1"]
    assert run_cli(evaluate.main, EVALUATE_CONFIG, EvaluateSettings, arguments) == 0
    (result,) = json.loads((tmp_path / "evaluation.json").read_text())
    assert (result["stage"], result["name"], result["episodes"]) == (4, "S4_full", 10)
    assert result["success_rate"] >= 0.9
