"""The sweeps of the README and of their own page are understood, job by job."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec

import pytest

from glideslope.cli.arguments import read_arguments
from glideslope.cli.main import TRAIN_CONFIG
from glideslope.cli.sweeps import plan_sweep
from glideslope.errors import UserError
from glideslope.settings import Settings
from tests.support.paths import ROOT

PAGES = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("docs/sweeps.md", "README.md"))
COMMANDS = re.findall(r"^python train_gimbal_curriculum.py (-m .*)$", PAGES, re.MULTILINE)
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


def test_every_command_was_found() -> None:
    assert len(COMMANDS) == 7
