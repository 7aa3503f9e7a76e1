"""The sweeps of the README and of their own page are understood, job by job."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec

import pytest

from glideslope.cli.arguments import read_arguments
from glideslope.cli.main import TRAIN_CONFIG, TUNE_CONFIG, compose
from glideslope.cli.sweeps import plan_sweep
from glideslope.errors import UserError
from glideslope.settings import SearchSettings, Settings, Share
from tests.support.paths import ROOT

PAGES = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("docs/sweeps.md", "README.md"))
COMMANDS = re.findall(r"^python train_gimbal_curriculum.py (-m .*)$", PAGES, re.MULTILINE)
SEARCHES = re.findall(r"^python tune_lr_schedule.py (.*)$", PAGES, re.MULTILINE)
SHARED = re.findall(r"^torchrun .*--nproc_per_node=(\d+) .*train_gimbal_curriculum.py (.*)$", PAGES, re.MULTILINE)
PLUGINS = {"submitit": "submitit", "ray": "ray"}  # only in the extra [sweep]


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("line", COMMANDS)
def test_every_job_of_a_command_is_sound(line: str) -> None:
    words = shlex.split(line)
    missing = [name for name, module in PLUGINS.items() if f"launcher={name}" in line and find_spec(module) is None]
    if missing:
        with pytest.raises(UserError, match=r"glideslope\[sweep\]"):
            read_arguments(words, TRAIN_CONFIG, Settings)
        return
    sweep = plan_sweep(read_arguments(words, TRAIN_CONFIG, Settings), Settings)
    assert sweep.folder is not None
    assert len(sweep.jobs) > 1 or "sweeper=optuna" in line


@pytest.mark.parametrize("line", SEARCHES)
def test_searches_are_sound(line: str) -> None:
    settings = compose(TUNE_CONFIG, shlex.split(line), SearchSettings).settings
    assert settings.training.num_train_frames // settings.exchange_frames >= 3


@pytest.mark.parametrize(("processes", "line"), SHARED)
def test_trainings_in_several_processes_can_be_shared(processes: str, line: str) -> None:
    words = shlex.split(line.replace("<", "").replace(">", ""))
    settings = compose(TRAIN_CONFIG, words, Settings).settings
    assert list(Share(0, int(processes)).broken_rules(settings)) == []


@pytest.mark.parametrize("row", re.findall(r"^\| (`\w+=.*?) \|", PAGES, re.MULTILINE))
def test_keys_of_a_search_are_its(row: str) -> None:
    words = [word for word in re.findall(r"`([\w.]+=\S+)`", row) if not word.startswith("hydra")]
    assert compose(TUNE_CONFIG, ["profile=state", *words], SearchSettings).settings


def test_every_command_was_found() -> None:
    assert (len(COMMANDS), len(SEARCHES), len(SHARED)) == (7, 3, 3)
