"""The commands that are shown for pasting mean what they say."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from glideslope.cli.main import EVALUATE_CONFIG, TRAIN_CONFIG, compose
from glideslope.display import commands
from glideslope.display.commands import (
    compare_command,
    evaluate_command,
    resume_command,
    tensorboard_command,
)
from glideslope.runs.run_folder import claim
from glideslope.settings import EvaluateSettings, Settings

NAMES = [
    *("2026.11.26/101500_profile-smoke", "2026", "null", "1e5", ".5", "~root/run", "my runs/it's 100%"),
    *(
        'a "b" c',
        "a,b",
        "a=b",
        "k: v",
        "{x}",
        "[1]",
        "ü/é",
        "a\\b",
        'a\\"b',
        "back\\",
        "cost${HOME}",
        "#1",
        "a;b&c|d",
    ),
]


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are called as in the documentation."""
    monkeypatch.setattr(sys, "argv", ["train_gimbal_curriculum.py", "profile=smoke"])
    monkeypatch.setattr(commands, "_beside_python", lambda program: True)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_comes_back_from_shell_and_command_line(name: str, workplace: Path) -> None:
    run = workplace / name
    settings = compose(TRAIN_CONFIG, ["profile=smoke"], Settings).settings
    with claim(run) as folder:
        folder.write_config(settings.to_plain())
        folder.write_overrides(["profile=smoke"])
    line = resume_command(run, "num_train_frames=1200")
    # A real shell takes the words apart.
    shown = subprocess.run(
        ["sh", "-c", f'printf "%s\\0" {line}'], capture_output=True, text=True, check=True, cwd=workplace
    ).stdout.split("\0")[:-1]
    assert shown == shlex.split(line)
    assert shown[:2] == ["python", "train_gimbal_curriculum.py"]
    composed = compose(TRAIN_CONFIG, shown[2:], Settings)
    assert composed.run_dir.resolve() == run.resolve()
    assert composed.settings.num_train_frames == 1200
    words = shlex.split(evaluate_command(run, "stage=all"))
    asked = compose(EVALUATE_CONFIG, words[2:], EvaluateSettings).settings
    assert asked.run is not None
    assert Path(asked.run).expanduser().resolve() == run.resolve()
    logs = shlex.split(tensorboard_command(run))
    assert logs[:2] == ["tensorboard", "--logdir"]
    assert Path(logs[2]).resolve() == run.resolve()


def test_paths_are_those_that_one_would_type(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = workplace / "exp_local" / "run"
    assert resume_command(run) == "python train_gimbal_curriculum.py resume=exp_local/run"
    assert evaluate_command(run, "stage=all") == "python evaluate.py run=exp_local/run stage=all"
    assert tensorboard_command(run) == "tensorboard --logdir exp_local/run"
    assert resume_command(tmp_path / "run") == f"python train_gimbal_curriculum.py resume={tmp_path}/run"
    # From another folder the scripts are where the one that runs is.
    monkeypatch.setattr(sys, "argv", ["/opt/glide slope/train_gimbal_curriculum.py"])
    assert evaluate_command(run) == "python '/opt/glide slope/evaluate.py' run=exp_local/run"


def test_an_interpreter_that_the_shell_would_not_find_is_named(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_beside_python", lambda program: False)
    monkeypatch.setattr(sys, "executable", str(workplace / ".venv" / "bin" / "python"))
    start = ".venv/bin/python"
    assert resume_command(workplace / "a/b") == f"{start} train_gimbal_curriculum.py resume=a/b"
    assert tensorboard_command(workplace / "a") == f"{start} -m tensorboard.main --logdir a"


def test_the_console_command_is_followed_by_itself(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    console = bin_dir / "glideslope"
    console.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(console), "train", "profile=smoke"])
    monkeypatch.setenv("PATH", str(bin_dir))
    run = workplace / "exp_local" / "run"
    assert resume_command(run, "seed=2") == "glideslope train resume=exp_local/run seed=2"
    assert evaluate_command(run) == "glideslope evaluate run=exp_local/run"
    assert compare_command(run.parent) == "glideslope compare exp_local"
    assert commands.started("preview") == "glideslope preview"
    # Where a shell would not find it, or would find another one, its path is named.
    monkeypatch.setenv("PATH", "/usr/bin")
    assert evaluate_command(run) == f"{console} evaluate run=exp_local/run"


def test_what_nobody_started_by_a_command_names_what_there_is(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    assert evaluate_command(workplace / "run") == "python evaluate.py run=./run"
    monkeypatch.setattr(commands, "_CHECKOUT", workplace)
    assert evaluate_command(workplace / "run") == "glideslope evaluate run=./run"
