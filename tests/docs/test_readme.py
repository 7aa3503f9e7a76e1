"""The README's commands are understood and its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import DDPG

from glideslope.cli.arguments import EXPORT_CONFIG, PLAY_CONFIG
from glideslope.cli.main import EVALUATE_CONFIG, PREVIEW_CONFIG, TRAIN_CONFIG, compose
from glideslope.lr_scheduler import build_schedules
from glideslope.settings import EvaluateSettings, ExportSettings, PlaySettings, PreviewSettings, Settings
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for kind, block in blocks if kind == language]


def commands(script: str) -> list[list[str]]:
    """The arguments of each of the README's calls of ``script``."""
    lines = [line for block in fenced("") for line in block.splitlines() if line.startswith(f"python {script}")]
    return [shlex.split(line, comments=True)[2:] for line in lines]


# Those with resume= need a run: test_docs_runs.py has one. test_docs_sweeps.py has the sweep and the search.
@pytest.mark.parametrize(
    "arguments",
    [words for words in commands("train_gimbal_curriculum.py") if "resume=<run" not in words and "-m" not in words],
    ids=" ".join,
)
def test_training_commands_are_understood(arguments: list[str]) -> None:
    if arguments != ["--help"]:
        assert compose(TRAIN_CONFIG, arguments, Settings).settings.num_train_frames > 0


@pytest.mark.parametrize("arguments", commands("evaluate.py"), ids=" ".join)
def test_evaluation_commands_are_understood(arguments: list[str]) -> None:
    text = " ".join(arguments).replace("<run folder or snapshot>", "exp_local/run")
    assert compose(EVALUATE_CONFIG, text.split(), EvaluateSettings).settings.episodes == 100


@pytest.mark.parametrize(
    ("config", "settings", "arguments"),
    [
        *((EXPORT_CONFIG, ExportSettings, words) for words in commands("export.py")),
        *((PLAY_CONFIG, PlaySettings, words) for words in commands("play.py")),
    ],
)
def test_commands_of_policies_are_understood(config: str, settings: type, arguments: list[str]) -> None:
    text = " ".join(arguments).replace("<run folder or snapshot>", "exp_local/run")
    assert compose(config, text.split(), settings).settings.run == "exp_local/run"


@pytest.mark.parametrize("arguments", commands("preview_lr_schedule.py"), ids=" ".join)
def test_preview_commands_are_understood(arguments: list[str]) -> None:
    assert compose(PREVIEW_CONFIG, arguments, PreviewSettings).settings.lr_schedule is not None


def test_every_command_was_found() -> None:
    """The tests here take each, test_comparison.py those of compare_runs.py, and test_docs_sweeps.py the search."""
    tested = (
        *("train_gimbal_curriculum.py", "preview_lr_schedule.py", "evaluate.py", "compare_runs.py"),
        *("tune_lr_schedule.py", "export.py", "play.py"),
    )
    assert all(commands(script) for script in tested)
    assert sum(len(commands(script)) for script in tested) == len(re.findall(r"^python ", README, re.MULTILINE))


def test_the_schedule_example_runs() -> None:
    (example,) = [block for block in fenced("python") if "build_schedules" in block]
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    exec(example, {"optimizer": optimizer, "step": 50_000})
    # Half-way, a cosine from 3e-4 to 3e-5 is at their mean.
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.65e-4)


def test_the_first_schedule_is_the_preset_differential() -> None:
    shown, _ = fenced("yaml")
    settings = compose(TRAIN_CONFIG, ["lr_schedule=differential"], Settings).settings
    example, preset = (
        build_schedules(schedule, base=settings.base_rates, total_steps=settings.total_steps)
        for schedule in (yaml.safe_load(shown)["lr_schedule"], settings.lr_schedule)
    )
    steps = np.arange(0, settings.total_steps + 1, 250)
    for network in settings.base_rates:
        assert np.array_equal(example[network](steps), preset[network](steps))


def test_the_schedule_file_is_valid(cfgs: Path) -> None:
    _, example = fenced("yaml")
    (cfgs / "lr_schedule" / "readme_example.yaml").write_text(example, encoding="utf-8")
    words = [f"--config-path={cfgs}", "lr_schedule=readme_example"]
    settings = compose(TRAIN_CONFIG, words, Settings).settings
    schedules = build_schedules(
        settings.lr_schedule,
        base=settings.base_rates,
        total_steps=settings.total_steps,
        stage_names=settings.curriculum.stage_names,
    )
    # 40% of 6M steps; half of the way down the cosine; a reduction after step 100 of the fourth stage.
    assert [schedules["encoder"](step) for step in (2_399_999, 2_400_000)] == [1e-4, 3e-5]
    assert schedules["critic"](1_000_000) == pytest.approx(8e-5)
    assert schedules["actor"](201, [(0, 0), (50, 3)], [100]) == 2.5e-5


def test_the_stable_baselines3_example_runs() -> None:
    (example,) = [block for block in fenced("python") if "stable_baselines3" in block]
    model = DDPG("MlpPolicy", "Pendulum-v1", learning_starts=50, policy_kwargs={"net_arch": [8]}, device="cpu")
    schedule = {"actor": {"type": "linear_decay", "intervals": [{"lr": "1x", "final_lr": 0}]}}
    schedules = build_schedules(schedule, base={"actor": 3e-4, "critic": 1e-3}, total_steps=200)
    exec(example.replace("100_000", "100"), {"model": model, "schedules": schedules})
    assert model.num_timesteps == 100
    # The last update came after step 100 of 200.
    assert model.actor.optimizer.param_groups[0]["lr"] == pytest.approx(1.5e-4)
    assert model.critic.optimizer.param_groups[0]["lr"] == 1e-3


def test_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
