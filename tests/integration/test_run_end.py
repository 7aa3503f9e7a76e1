"""What is told at the end of a training: how it went, which files there are, and what one would type next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from glideslope.cli.evaluate import main as evaluate
from glideslope.cli.main import EVALUATE_CONFIG, TRAIN_CONFIG, compose, run_cli
from glideslope.settings import EvaluateSettings, Settings
from glideslope.training.messages import next_commands
from glideslope.training.preflight import TrainingPlan, make_plan
from tests.support.training import train

# Learns nothing, draws nothing, in seconds.
TINY = (
    *("profile=smoke", "encoder_bundle@agent=state", "num_train_frames=240", "eval_every_frames=1000000"),
    *("final_eval_episodes=2", "num_eval_episodes=1", "save_video=false"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training; what it told is beside it, in `told`."""
    run = tmp_path_factory.mktemp("a folder") / "run"
    with pytest.MonkeyPatch.context() as patch, (run.parent / "told").open("w") as file:
        patch.setattr("sys.stdout", file)
        run.mkdir()
        (run / "landing.mp4").write_text("of another end of this run")
        assert train(run, *TINY, "lr_schedule=gentle_decay", pictures=True) == 0
    return run


@pytest.fixture
def told(finished: Path) -> list[str]:
    return (finished.parent / "told").read_text().splitlines()


@pytest.mark.slow
def test_the_end_is_a_table_like_that_of_an_evaluation(finished: Path, told: list[str]) -> None:
    start = next(i for i, line in enumerate(told) if line.startswith("Finished in "))
    assert "0.0 minutes" not in told[start]
    table = told[start + 1 : next(i for i, line in enumerate(told) if line.startswith("Note: The curr"))]
    assert table[0].strip() == "2 held-out episodes each; 95% Wilson intervals"
    assert table[3].split() == ["stage", "landed", "interval", "crashed", "out", "centre", "rate"]
    stages = json.loads((finished / "finished.json").read_text())["stages"]
    for stage, line in zip(stages, table[5:], strict=False):
        words = line.split()
        assert words[:2] == [str(stage["stage"]), stage["name"]]
        assert words[2] == f"{stage['success_rate']:.1%}"
        assert words[3] == f"{stage['low']:.0%}–{stage['high']:.0%}"
    assert len([line for line in table[5:] if line.strip()]) == 5
    assert max(map(len, table)) <= 80
    assert "Note: The curriculum is not finished: the run has reached stage 0 S0_lock of 0-4." in told


@pytest.mark.slow
def test_the_files_that_are_named_exist(finished: Path, told: list[str]) -> None:
    """No film was made; that of an earlier end, which shows another policy, is gone."""
    (line,) = (line for line in told if line.startswith("In it: "))
    named = line.removeprefix("In it: ").split(", ")
    assert set(named) == {
        *("training.png", "learning_rates.png", "train.csv", "eval.csv", "finished.json", "snapshot.pt")
    }
    assert all((finished / name).is_file() for name in named)
    assert not (finished / "landing.mp4").exists()
    assert f"Run folder: {finished}" in told


@pytest.mark.slow
def test_the_next_commands_can_be_pasted(finished: Path, told: list[str]) -> None:
    """They are the last lines, whole, in spite of a path with a space and a terminal of 80 columns."""
    assert [line for line in told[-6:] if not line.startswith(" ")] == [
        *("Evaluate this run:", "Resume it with more frames:", "See its curves:")
    ]
    score, resume, curves = (shlex.split(line) for line in told[-6:] if line.startswith("  "))
    assert score[-3:-2] == ["evaluate.py"]
    words = [*score[-2:], "episodes=1", "compare=[]", "num_threads=1"]
    assert run_cli(evaluate, EVALUATE_CONFIG, EvaluateSettings, words) == 0
    assert len(list((finished / "evaluations").iterdir())) == 1
    # The schedule is in shares of the training's length: it is held, or the command would be refused.
    assert resume[-4] == "train_gimbal_curriculum.py"
    assert resume[-2:] == ["num_train_frames=480", "resume_lr_schedule=hold"]
    composed = compose(TRAIN_CONFIG, resume[-3:], Settings)
    assert (composed.run_dir, composed.settings.num_train_frames) == (finished, 480)
    assert curves[-2:] == ["--logdir", str(finished)]


def plan_of(*overrides: str) -> TrainingPlan:
    return make_plan(compose(TRAIN_CONFIG, ["profile=smoke", *overrides], Settings).settings)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What the end of a run looks at."""
    (tmp_path / "replay").mkdir()
    (tmp_path / "snapshot.pt").touch()
    return tmp_path


def resumes(plan: TrainingPlan, run: Path) -> list[str]:
    commands = dict(next_commands(plan, run))
    assert {"Evaluate this run", "See its curves"} <= commands.keys()
    return shlex.split(commands.get("Resume it with more frames", ""))[-2:]


def test_schedules_are_held_only_where_a_longer_training_would_change_them(run: Path) -> None:
    absolute = "stddev_schedule='linear(1.0,0.1,500)'"
    assert resumes(plan_of(absolute), run)[-1] == "num_train_frames=1200"
    assert resumes(plan_of(absolute, "lr_schedule=gentle_decay"), run)[-1] == "resume_lr_schedule=hold"
    shares = 'stddev_schedule={type: linear_decay, intervals: [{init_lr: 1.0, final_lr: 0.1, end: "50%"}]}'
    assert resumes(plan_of(shares), run)[-1] == "resume_lr_schedule=hold"


@pytest.mark.parametrize("gone", ["replay", "snapshot.pt"])
def test_what_cannot_be_resumed_gets_no_command_for_it(gone: str, run: Path) -> None:
    (run / gone).rename(run / "elsewhere")
    assert resumes(plan_of(), run) == []
