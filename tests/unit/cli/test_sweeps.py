"""What a job hands back to a sweep, and what a sweep makes of jobs that fail."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from glideslope.cli.main import EVALUATE_CONFIG, PROGRAMS, TRAIN_CONFIG, Composed, compose, run_cli
from glideslope.errors import UserError
from glideslope.settings import EvaluateSettings, Settings
from glideslope.settings.yaml_files import dump_yaml
from glideslope.training.objective import objectives, read_objective
from tests.support.training import train

pytestmark = pytest.mark.usefixtures("workplace")


def finish(folder: Path, *rates: float, speed: float | None = None) -> None:
    """Leave what a finished training of these success rates by stage leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = [{"success_rate": rate, "touchdown_speed": speed} for rate in rates]
    (folder / "finished.json").write_text(json.dumps({"stages": stages, "evaluation": stages[0]}))


def optimize(main: object, *words: str) -> int:
    argv = ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=sweep", "profile=smoke", *words]
    return run_cli(main, TRAIN_CONFIG, Settings, argv)  # type: ignore[arg-type]


@pytest.mark.slow
def test_optuna_maximizes_the_success_rate_of_the_last_stage(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: dict[int, float] = {}

    def main(composed: Composed[Settings]) -> int:
        seed = composed.settings.seed
        tried[seed] = {1: 0.25, 2: 0.75, 3: 0.5}[seed]
        finish(composed.run_dir, 1.0, tried[seed])  # the first stage tells nothing
        return 0

    assert optimize(main, "seed=1,2,3", "hydra/sweeper/sampler=grid") == 0
    assert tried == {1: 0.25, 2: 0.75, 3: 0.5}
    results = yaml.safe_load((workplace / "sweep" / "optimization_results.yaml").read_text())
    assert results["best_value"] == 0.75
    assert [str(value) for value in results["best_params"].values()] == ["2"]
    assert "Best objective: 0.75 with seed=2\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_search_goes_on_with_the_values_of_the_first_start(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its trials are found again in their folders, and the best of all is written as a preset."""
    tried: list[tuple[float, bool]] = []
    stop_at = 2

    def main(composed: Composed[Settings]) -> int:
        done = (composed.run_dir / "finished.json").exists()
        tried.append((composed.settings.lr, done))
        if len(tried) == stop_at:
            return 130
        if not done:
            finish(composed.run_dir, 1.0 - composed.settings.lr)
            (composed.run_dir / "config.yaml").write_text(dump_yaml(composed.settings.to_plain()))
        return 0

    words = ("lr=interval(3e-4,1e-3)", "lr_schedule=gentle_decay", "hydra.sweeper.n_trials=3")
    assert optimize(main, *words) == 130
    assert "Resume the sweep:" in capsys.readouterr().out
    (first, _), (second, _) = tried
    stop_at = 0
    assert optimize(main, *words) == 0
    assert [*tried[2:4], tried[4][1]] == [(first, True), (second, False), False]
    out = capsys.readouterr().out
    best = min(lr for lr, _ in tried)
    (preset,) = (workplace / "cfgs" / "lr_schedule").iterdir()
    assert f"lr_schedule={preset.stem}" in out
    again = compose(TRAIN_CONFIG, ["profile=smoke", f"lr_schedule={preset.stem}"], Settings).settings
    assert again.lr == best
    assert again.lr_schedule == compose(TRAIN_CONFIG, ["lr_schedule=gentle_decay"], Settings).settings.lr_schedule


@pytest.mark.slow
def test_a_failed_job_is_a_failed_trial_and_the_sweep_goes_on(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[Path] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append(composed.run_dir)
        if len(jobs) == 1:
            return 1
        if len(jobs) == 2:
            raise UserError("the disk is full")
        finish(composed.run_dir, 0.5, speed={3: 0.25, 4: 0.5, 5: None}[len(jobs)])
        return 0

    words = ("lr=interval(3e-4,1e-3)", "hydra.sweeper.n_trials=5", "objective=touchdown_speed")
    assert optimize(main, *words, "hydra.sweeper.direction=minimize") == 2
    err = capsys.readouterr().err
    assert "Error: the disk is full\n" in err
    assert f"2 of 5 jobs failed:\n  {jobs[0]}: status 1\n  {jobs[1]}: status 2\n" in err
    assert "objective=touchdown_speed: this run has no such number: " in err
    results = yaml.safe_load((workplace / "sweep" / "optimization_results.yaml").read_text())
    assert results["best_value"] == 0.25


@pytest.mark.slow
def test_a_sweep_of_failures_alone_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(lambda composed: 1, "lr=interval(3e-4,1e-3)", "hydra.sweeper.n_trials=2") == 1
    out, err = capsys.readouterr()
    assert "2 of 2 jobs failed:\n" in err
    assert "Traceback" not in err
    assert "Best" not in out


@pytest.mark.slow
def test_a_grid_may_end_with_a_failed_trial(capsys: pytest.CaptureFixture[str]) -> None:
    jobs: list[Path] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append(composed.run_dir)
        finish(composed.run_dir, 0.5)
        return len(jobs) - 1

    assert optimize(main, "seed=1,2", "hydra/sweeper/sampler=grid") == 1
    assert f"1 of 2 jobs failed:\n  {jobs[1]}: status 1\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bug_in_a_trial_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    jobs: list[int] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append(composed.settings.seed)
        if composed.settings.seed == 1:
            raise ValueError("a bug")
        finish(composed.run_dir, 0.5)
        return 0

    with pytest.raises(ValueError, match="a bug"):
        optimize(main, "seed=1,2", "hydra/sweeper/sampler=grid")
    assert sorted(jobs) == [1, 2]


@pytest.mark.slow
def test_every_failed_job_of_a_grid_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def main(composed: Composed[Settings]) -> int:
        seen.append(composed.settings.seed)
        if composed.settings.seed < 3:
            raise UserError(f"no seed {composed.settings.seed}")
        return 0 if composed.settings.seed > 3 else 1

    # No job has a finished run: those that end well have no objective, which a grid doesn't ask for.
    assert run_cli(main, TRAIN_CONFIG, Settings, ["-m", "seed=1,2,3,4", "hydra.sweep.dir=sweep"]) == 2
    out, err = capsys.readouterr()
    assert seen == [1, 2, 3, 4]
    assert re.findall(r"^Job .*", out, re.MULTILINE) == [f"Job {n} of 4: seed={n}" for n in seen]
    assert "Error: no seed 1\n" in err
    assert "Error: no seed 2\n" in err
    assert "3 of 4 jobs failed:\n" in err


def test_a_job_that_is_there_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(lambda composed: 0, TRAIN_CONFIG, Settings, ["-m", "seed=1,2,1"]) == 2
    assert capsys.readouterr().err == "Error: seed=1: this job is in the sweep twice\n"


@pytest.mark.parametrize(
    ("program", "words", "told"),
    [
        ("train", ["seed=range(1,1)"], "-m: no job is left of seed=range(1,1)"),
        ("tune", ["seed=1,2"], "-m: a search is a sweep by itself: leave this out"),
        (
            "train",
            ["hydra/sweeper=optuna", "lr=interval(1e-3,1e-4)"],
            "hydra/sweeper: ValueError: The `low` value must be smaller than or equal to the `high` value "
            "(low=0.001, high=0.0001).",
        ),
        (
            "train",
            ["hydra/sweeper=optuna", "lr=interval(1e-4,1e-3)", "hydra.sweeper.n_trials=-1"],
            "hydra/sweeper: ValueError: No trials are completed yet.",
        ),
    ],
)
def test_a_sweep_that_cannot_run_is_one_message(
    program: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(composed: object) -> int:
        raise AssertionError("nothing is started")

    assert run_cli(main, *PROGRAMS[program], ["-m", *words]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"Error: {told}"


def test_without_the_plugin_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    assert optimize(lambda composed: 0, "lr=interval(3e-4,1e-3)") == 2
    assert capsys.readouterr().err == (
        "Error: hydra/sweeper=optuna: needs the package hydra-optuna-sweeper; "
        "install it with pip install 'glideslope[sweep]'\n"
    )


@pytest.mark.slow
def test_the_sweep_of_an_evaluation_hands_back_its_status() -> None:
    argv = ["-m", "policy=expert", "seed=1,2", "hydra.sweep.dir=sweep"]
    assert run_cli(lambda composed: composed.settings.seed, EVALUATE_CONFIG, EvaluateSettings, argv) == 2


def test_the_objective_is_no_setting_of_a_run() -> None:
    composed = compose(TRAIN_CONFIG, ["objective=eval/episode_reward", "lr=3e-4"], Settings)
    assert composed.objective == "eval/episode_reward"
    assert composed.overrides == ("lr=3e-4",)
    assert composed.given == {"lr"}
    assert "objective" not in composed.mapping


@pytest.mark.slow
def test_an_objective_is_read_from_what_a_training_left(workplace: Path) -> None:
    run = workplace / "run"
    assert train(run, "profile=state", "num_train_frames=400", "num_seed_frames=200", "save_video=false",
                 "curriculum.last_stage=1", "num_eval_episodes=2", "final_eval_episodes=2", "num_envs=4",
                 "task.episode_seconds=2.0", "eval_every_frames=200", "log_every_frames=50") == 0  # fmt: skip
    settings = compose(TRAIN_CONFIG, ["profile=state", "curriculum.last_stage=1"], Settings).settings
    finished = json.loads((run / "finished.json").read_text())
    assert read_objective(run, "success_rate") == finished["stages"][1]["success_rate"]
    assert read_objective(run, "episode_length") == finished["stages"][1]["episode_length"] > 0
    for table in ("train.csv", "eval.csv"):
        header, *_, last = [line.split(",") for line in (run / table).read_text().splitlines()]
        assert set(header) - {"frame"} <= set(objectives(settings))
        for name in ("lr_actor", "eval/episode_length"):
            if name in header:
                assert read_objective(run, name) == float(last[header.index(name)])
    # A name that is offered and that this run did not come to: no episode of stage 1 was replayed.
    assert read_objective(run, "eval/touchdown_speed") is None
