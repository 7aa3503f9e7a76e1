"""A user's own presets in `cfgs/` of the working directory come before the package's wherever one looks for presets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glideslope.cli.main import PREVIEW_CONFIG, PROGRAMS, TRAIN_CONFIG, Composed, compose, run_cli
from glideslope.cli.overrides import Word
from glideslope.cli.resume_merge import may_set_anything
from glideslope.runs.run_folder import claim
from glideslope.settings import PreviewSettings, Settings
from glideslope.settings.catalogue import CONFIG_DIR, preset_folders
from tests.support.paths import CFGS

pytestmark = pytest.mark.usefixtures("workplace")


def put(name: str, lr: str, folder: str = "cfgs") -> None:
    """A preset with a rate of the actor's that tells it from others."""
    path = Path(folder, "lr_schedule", f"{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"lr_schedule:\n  actor: {{type: constant, intervals: [{{lr: {lr}}}]}}\n"
    path.write_text(f"# @package _global_\n# My {name}.\n{text}", encoding="utf-8")


def lr(*argv: str) -> str:
    """The rate of the actor that a training is asked for."""
    schedule: Any = compose(TRAIN_CONFIG, argv, Settings).settings.lr_schedule
    return schedule["actor"]["intervals"][0]["lr"]


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert run_cli(lambda composed: 0, TRAIN_CONFIG, Settings, argv) == 2
    return capsys.readouterr().err


def test_they_come_before_the_packages_and_after_those_of_a_flag() -> None:
    assert preset_folders() == (CONFIG_DIR,)
    put("mine", "1.0e-5")
    put("gentle_decay", "2.0e-5")
    assert preset_folders() == (Path.cwd() / "cfgs", CONFIG_DIR)
    assert lr("lr_schedule=mine") == 1e-5
    assert lr("lr_schedule=gentle_decay") == 2e-5
    assert lr("lr_schedule=aggressive_decay") == "1x"
    put("gentle_decay", "3.0e-5", "more")
    assert lr("--config-dir=more", "lr_schedule=gentle_decay") == 3e-5
    assert lr("--config-dir=more", "lr_schedule=mine") == 1e-5
    # A folder in place of the package's is all that there is.
    assert lr(f"--config-path={CFGS}", "lr_schedule=gentle_decay") == "1x"


def test_only_files_of_groups_are_taken_from_there(capsys: pytest.CaptureFixture[str]) -> None:
    put("mine", "1.0e-5")
    before = compose(TRAIN_CONFIG, ["lr_schedule=mine"], Settings).settings
    Path("cfgs", f"{TRAIN_CONFIG}.yaml").write_text("lr: 7.0\n")
    Path("cfgs", "seed").mkdir()
    assert compose(TRAIN_CONFIG, ["lr_schedule=mine"], Settings).settings == before
    assert compose(TRAIN_CONFIG, ["seed=3"], Settings).settings.seed == 3


def test_the_folder_of_the_package_itself_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CFGS.parent)
    assert preset_folders() == (CONFIG_DIR,)


def test_help_and_messages_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    put("mine", "1.0e-5")
    assert run_cli(lambda composed: 0, *PROGRAMS["preview"], ["--help"]) == 0
    assert "  mine                         My mine.\n" in capsys.readouterr().out
    assert "gentle_decay, mine, one_cycle" in refusal(capsys, "lr_schedule=nothing")
    assert "did you mean mine?" in refusal(capsys, "lr_schedule=mien")
    assert "did you mean lr_schedule=mine?" in refusal(capsys, "mine")


def test_every_job_of_a_sweep_and_hydras_own_flags_see_them(capsys: pytest.CaptureFixture[str]) -> None:
    put("mine", "1.0e-5")
    put("gentle_decay", "2.0e-5")
    rates: list[Any] = []

    def job(composed: Composed[PreviewSettings]) -> int:
        schedule: Any = composed.settings.lr_schedule
        rates.append(schedule["actor"]["intervals"][0]["lr"])
        return 0

    def sweep(*flags: str) -> Sequence[Any]:
        rates.clear()
        words = [*flags, "-m", "lr_schedule=mine,gentle_decay,aggressive_decay"]
        assert run_cli(job, PREVIEW_CONFIG, PreviewSettings, words) == 0
        return rates

    assert sweep() == [1e-5, 2e-5, "1x"]
    put("gentle_decay", "3.0e-5", "more")
    assert sweep("--config-dir", "more") == [1e-5, 3e-5, "1x"]
    capsys.readouterr()
    assert run_cli(job, PREVIEW_CONFIG, PreviewSettings, ["--cfg", "job", "lr_schedule=gentle_decay"]) == 0
    assert "lr: 2.0e-05" in capsys.readouterr().out


def test_a_resumed_run_sees_them() -> None:
    put("mine", "1.0e-5")
    started = compose(TRAIN_CONFIG, ["lr_schedule=mine", "profile=smoke"], Settings)
    with claim(Path("run")) as folder:
        folder.write_config(started.settings.to_plain())
        folder.write_overrides(list(started.overrides))
    resumed = compose(TRAIN_CONFIG, ["resume=run", "num_train_frames=1200"], Settings)
    assert json.dumps(resumed.settings.lr_schedule) == json.dumps(started.settings.lr_schedule)
    put("other", "4.0e-5")
    changed = compose(TRAIN_CONFIG, ["resume=run", "lr_schedule=other", "resume_lr_schedule=config"], Settings)
    assert changed.settings.lr_schedule == compose(TRAIN_CONFIG, ["lr_schedule=other"], Settings).settings.lr_schedule


def test_a_file_in_place_of_the_packages_may_set_anything() -> None:
    choice = Word("lr_schedule=gentle_decay")
    assert not may_set_anything(choice)
    put("gentle_decay", "2.0e-5")
    assert may_set_anything(choice)
    assert not may_set_anything(Word("lr_schedule=aggressive_decay"))
