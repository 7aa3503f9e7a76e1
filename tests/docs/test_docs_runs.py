"""The page on stopping and going on is true."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.cli.resume_rules import MAY_CHANGE, SCHEDULES
from glideslope.runs.run_folder import claim
from glideslope.runs.snapshots import KEEP_LAST_STAGE, KEEP_PER_STAGE, LEAST_SUCCESS_RATE, PREVIOUS, ROLLING
from glideslope.settings import Settings
from glideslope.training.run import STOP_SIGNALS
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
# test_sweeps.py has the sweep, test_evaluation.py the look at a snapshot.
COMMANDS = re.findall(r"^python train_gimbal_curriculum.py (?!-m )(.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a run of profile=cpu."""
    typed = ["profile=cpu", "lr_schedule=gentle_decay"]
    settings = compose(TRAIN_CONFIG, typed, Settings).settings
    with claim(tmp_path / "run") as folder:
        folder.write_config(settings.to_plain())
        folder.write_overrides(typed)
    return tmp_path / "run"


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str, run: Path) -> None:
    words = [word.replace("<run folder>", str(run)) for word in shlex.split(line.replace(" folder>", "_folder>"))]
    words = [word.replace("<run_folder>", str(run)) for word in words]
    composed = compose(TRAIN_CONFIG, words, Settings)
    if any(word.startswith("resume=") for word in words):
        assert composed.run_dir == run
        assert composed.settings.profile == "cpu"
        assert composed.accept_schedule is ("resume_lr_schedule=config" in words)
        assert composed.settings.num_train_frames == (200_000 if "num_train_frames=200000" in words else 30_000)


def test_every_command_was_found() -> None:
    assert COMMANDS
    others = ("train_gimbal_curriculum.py -m ", "evaluate.py inspect=", "-m benchmarks.soak --kills ")
    rest = [line for line in re.findall(r"^python (.*)$", PAGE, re.MULTILINE) if not line.startswith(others)]
    assert [line.removeprefix("train_gimbal_curriculum.py ") for line in rest] == COMMANDS


def test_what_may_change_is_what_the_table_says() -> None:
    free, schedules = (
        set(re.findall(r"`(\w+)`", row.split("|")[1]))
        for row in PAGE.splitlines()
        if row.startswith(("| `num_train_frames`", "| `lr`"))
    )
    assert free == MAY_CHANGE
    assert schedules == SCHEDULES


def test_signals_and_statuses() -> None:
    rows = re.findall(r"^\| (SIG\w+) \|.*\| (\d+) \|$", PAGE, re.MULTILINE)
    assert {(signal.Signals[name], int(status)) for name, status in rows} == {
        (number, 128 + number) for number in STOP_SIGNALS
    }


def test_snapshots_and_how_many_are_kept() -> None:
    assert f"`{ROLLING}`" in PAGE
    assert f"`{PREVIOUS}`" in PAGE
    kept = f"{KEEP_PER_STAGE} of each stage, {KEEP_LAST_STAGE} of the last, landing at least {LEAST_SUCCESS_RATE:.0%}"
    assert kept in PAGE


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    }
    anchors = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert anchors
    assert set(anchors) <= headings
