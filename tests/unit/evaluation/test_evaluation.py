"""evaluate.py: what it plays, what it leaves, what it refuses, and what it tells of snapshots."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console

from glideslope.build import make_agent
from glideslope.cli.evaluate import main
from glideslope.cli.main import EVALUATE_CONFIG, compose, run_cli
from glideslope.curriculum.wilson import wilson_interval
from glideslope.display import figures as plots
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.landing import Outcome
from glideslope.errors import SettingsError
from glideslope.evaluation import benchmark, plan
from glideslope.evaluation import evaluate as evaluation
from glideslope.evaluation import results_folder as evaluation_folder
from glideslope.evaluation.report import Condition, EvaluationReport, points_in_stages
from glideslope.evaluation.scoring import Episode
from glideslope.runs import snapshots as checkpoint
from glideslope.settings import (
    SWEPT,
    EvaluateSettings,
    RandomizationSettings,
    Settings,
    StageSettings,
    SweepSettings,
    TaskSettings,
)
from glideslope.storage import atomic_files as files
from tests.support.paths import ROOT
from tests.support.tasks import pinned_task

STAGES = ["S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid", "S4_full"]
NEAR = (
    *("task.start_height=[0.8,1.2]", "task.episode_seconds=4.0"),
    *(f"curriculum.stages.{stage}.start_offset=0.5" for stage in range(5)),
)
STATE = {"name": "state", "hidden_dim": 64}
PIXELS = {"name": "original", "channels": 4, "strides": [2, 1]}


def untrained(encoder: dict[str, Any] = STATE, **task: Any) -> Settings:
    """Settings of a small agent on a task that is easy for those who know the way."""
    near = compose(EVALUATE_CONFIG, ["policy=expert", *NEAR], EvaluateSettings).settings
    return Settings.from_config(
        {
            "profile": "smoke",
            "num_envs": 4,
            "hidden_dim": 64,
            "num_train_frames": 600,
            "num_seed_frames": 100,
            "agent": {"encoder": encoder},
            "task": near.task.to_plain() | {"image_size": 24} | task,
            "curriculum": near.curriculum.to_plain(),
        }
    )


def content_of(settings: Settings, frame: int = 1200, stage: int = 4) -> dict[str, Any]:
    agent = make_agent(settings, "cpu").state_dict()
    return {"settings": settings.to_plain(), "step": frame, "frame": frame, "stage": stage, "agent": agent}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an untrained policy that sees the state."""
    folder = tmp_path / "run"
    folder.mkdir()
    checkpoint.save(folder / "snapshot.pt", content_of(untrained()))
    return folder


def evaluate(*arguments: str) -> int:
    """What ``python evaluate.py`` does with these arguments; the exit status."""
    return run_cli(main, EVALUATE_CONFIG, EvaluateSettings, [*arguments, "num_threads=1"])


def rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def played(folder: Path) -> list[dict[str, str]]:
    with (folder / "evaluation_episodes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest(folder: Path) -> Path:
    """The folder of the evaluation that was made last."""
    return max((folder / "evaluations").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- what it plays and leaves ---


def test_a_run_is_scored_beside_scripted_policies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(f"run={run}", "stage=all", "episodes=4") == 0
    out = newest(run)
    own, compared = rows(out / "evaluation.json"), rows(out / "evaluation_compared.json")
    assert [row["name"] for row in own] == STAGES
    assert [row["stage"] for row in own] == [0, 1, 2, 3, 4]
    assert {row["policy"] for row in own} == {"trained"}
    assert [(row["policy"], row["name"]) for row in compared] == [
        (policy, name) for policy in ("expert", "fixed_camera", "random") for name in STAGES
    ]
    for row in own + compared:
        assert (row["pad_speed"], row["wind"], row["episodes"]) == (None, None, 4)
        landings = round(4 * row["success_rate"])
        assert (row["low"], row["high"]) == wilson_interval(landings, 4)
    # It flies at the pad from close by; random actions don't.
    assert all(row["success_rate"] >= 0.75 for row in compared if row["policy"] == "expert")
    assert all(row["success_rate"] <= 0.5 for row in compared if row["policy"] == "random")

    episodes = played(out)
    assert len(episodes) == 4 * 5 * 4
    for row in own + compared:
        here = [e for e in episodes if (e["policy"], e["name"]) == (row["policy"], row["name"])]
        assert [int(e["scenario"]) for e in here] == [1_254_500_000 + i for i in range(4)]
        assert sum(e["outcome"] == "landed" for e in here) == 4 * row["success_rate"]
        assert np.mean([float(e["episode_reward"]) for e in here]) == pytest.approx(row["episode_reward"])
        assert all((e["outcome"] == "landed") == bool(e["touchdown_error_m"]) for e in here)

    table = (out / "evaluation.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in table if line.startswith("| 3 S3_mid | ")]) == 4
    assert float(imread(out / "evaluation.png")[..., :3].std()) > 0.01
    # A slow machine tells in between how far it is.
    told = [line for line in capsys.readouterr().out.splitlines() if " elapsed | " not in line]
    assert told[0] == "Evaluating run/snapshot.pt (state, frame 1,200, stage 4 of 0-4)"
    assert told[1] == "80 episodes: 4 policies, 5 stages, 4 scenarios each"
    assert told[2] == "Note: The run is not finished: this snapshot is of frame 1,200 of 600."
    assert max(map(len, (line for line in told[3:] if not re.search("^Written: | elapsed ", line)))) <= 80


def test_a_sweep_gives_a_row_for_each_point_in_each_stage(tmp_path: Path) -> None:
    sweep = ("sweep.pad_speed=[0,1.5]", "sweep.wind=[0,2,1]", "stage=all", "episodes=2")
    assert evaluate("policy=expert", *sweep, f"out={tmp_path}", *NEAR) == 0
    found = [(row["name"], row["pad_speed"], row["wind"]) for row in rows(tmp_path / "evaluation.json")]
    assert found == [(name, speed, wind) for name in STAGES for speed in (0, 1.5) for wind in (0, 2, 1)]
    assert len(played(tmp_path)) == 2 * 30
    assert names(tmp_path) == {
        *("evaluation_info.json", "evaluation.json", "evaluation_episodes.csv"),
        *("evaluation.md", "evaluation.png"),
    }


@pytest.mark.parametrize("speed", [0.0, 0.5, 2.0])
def test_a_swept_pad_moves_at_that_speed(speed: float) -> None:
    point = (("pad_speed", speed), ("wind", 1.25))
    condition = Condition.at(StageSettings(name="S3_mid"), 3, TaskSettings(), point)
    assert condition.stage.wind == 1.25
    env = LandingVectorEnv(60, task=condition.task, stage=condition.stage, pixels=False, num_threads=1)
    env.reset(seed=0)
    scenarios = env.task.scenarios
    speeds = np.stack([np.linalg.norm(scenarios.pad_motion(np.full(60, t))[1], axis=1) for t in range(5)])
    swaying = scenarios.pad_sway_rate > 0
    assert 5 < swaying.sum() < 50
    np.testing.assert_allclose(speeds[:, ~swaying], speed, atol=1e-12)
    assert (speeds[:, swaying] <= speed + 1e-12).all()
    assert (speeds[:, swaying] >= 0.8 * speed - 1e-12).all()
    env.close()


@pytest.mark.parametrize("key", RandomizationSettings.model_fields)
def test_a_swept_property_of_the_drone_is_the_same_in_all_episodes(key: str) -> None:
    stage, task = StageSettings(name="S4_full"), TaskSettings()
    (condition,) = points_in_stages([stage], (0,), task, SweepSettings.from_config({key: [0.75]}))
    assert condition.stage == stage
    assert condition.task == task.model_copy(update={"randomization": RandomizationSettings(**{key: (0.75, 0.75)})})
    assert condition.file_name == f"S4_full_{key}_0.75"


def test_the_files_name_what_is_swept_beside_pad_and_wind(tmp_path: Path) -> None:
    sweep = ("sweep.mass=[1.5,1]", "sweep.latency=[1]", "episodes=2")
    assert evaluate("policy=expert", *sweep, f"out={tmp_path}", *NEAR) == 0
    results = rows(tmp_path / "evaluation.json")
    keys = ["policy", "pad_speed", "wind", "mass", "latency", "stage"]
    assert [[row[key] for key in keys] for row in results] == [
        ["expert", None, None, 1.5, 1.0, 4],
        ["expert", None, None, 1.0, 1.0, 4],
    ]
    assert list(results[0])[: len(keys)] == keys
    assert list(played(tmp_path)[0])[:7] == ["policy", "stage", "name", "pad_speed", "wind", "mass", "latency"]
    assert [(e["mass"], e["latency"], e["wind"]) for e in played(tmp_path)] == [
        *[("1.5", "1.0", "")] * 2,
        *[("1.0", "1.0", "")] * 2,
    ]
    # The environment is another one for each mass.
    assert results[0]["episode_reward"] != results[1]["episode_reward"]
    assert "| 4 S4_full, mass × 1.5, latency 1 |" in (tmp_path / "evaluation.md").read_text(encoding="utf-8")


def test_a_run_of_a_version_without_range_finder_and_randomization_is_played(tmp_path: Path) -> None:
    content = content_of(untrained(PIXELS, range_finder=False))
    older = {"range_finder", "range_finder_range", "range_finder_noise", "randomization"}
    task = {key: value for key, value in content["settings"]["task"].items() if key not in older}
    content["settings"]["task"] = task
    snapshot = checkpoint.save(tmp_path / "snapshot.pt", content)
    assert evaluate(f"run={snapshot}", "episodes=1", "compare=[]", "sweep.latency=[0.5]") == 0


def test_without_a_sweep_a_stage_is_played_as_it_is() -> None:
    stages, task = [StageSettings(name="easy", wind=0.25), StageSettings(name="hard")], TaskSettings()
    assert points_in_stages(stages, (1, 0), task, SweepSettings()) == [
        Condition(stages[1], 1, task),
        Condition(stages[0], 0, task),
    ]
    (windless,) = points_in_stages(stages, (0,), task, SweepSettings(wind=(0.0,)))
    assert windless.stage == stages[0].model_copy(update={"wind": 0.0})
    assert (windless.label, windless.file_name) == ("0 easy, wind 0 m/s", "easy_wind_0")


@pytest.mark.parametrize("encoder", [STATE, PIXELS], ids=["state", "pixels"])
def test_the_number_of_environments_changes_nothing(tmp_path: Path, encoder: dict[str, Any]) -> None:
    """Not the last bit, of no policy: random actions included."""
    run = checkpoint.save(tmp_path / "snapshot.pt", content_of(untrained(encoder)))
    left = []
    for num_envs in (2, 5, 40):
        out = tmp_path / f"with_{num_envs}"
        assert evaluate(f"run={run}", "episodes=12", f"num_envs={num_envs}", f"out={out}") == 0
        left.append((out / "evaluation_episodes.csv").read_text())
    assert left[0] == left[1] == left[2]
    returns = {row["episode_reward"] for row in played(tmp_path / "with_5") if row["policy"] == "random"}
    assert len(returns) == 12


def test_other_scenarios_for_another_seed(run: Path) -> None:
    def scenarios(seed: int) -> set[str]:
        assert evaluate(f"run={run}", "episodes=3", f"seed={seed}", "compare=[]") == 0
        return {row["scenario"] for row in played(newest(run))}

    assert not scenarios(0) & scenarios(1)


def test_each_evaluation_has_a_folder_of_its_own(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of one second that differ in nothing; what an earlier one left stays as it is."""
    clock = SimpleNamespace(strftime=lambda form: "20300102-030405")
    monkeypatch.setattr(evaluation_folder, "time", clock)
    first = run / "evaluations" / "20300102-030405_S4_full_2_snapshot"
    assert evaluate(f"run={run}", "episodes=2", "compare=[random]") == 0
    before = {path: path.read_bytes() for path in first.iterdir()}
    assert {row["policy"] for row in rows(first / "evaluation_compared.json")} == {"random"}
    assert evaluate(f"run={run}", "episodes=3", "compare=[]", "stage=1", "sweep.wind=[1]") == 0
    assert evaluate(f"run={run}", "episodes=2", "compare=[]") == 0
    assert evaluate(f"run={run}", "episodes=2", "compare=[]", "stage=all") == 0
    assert names(run / "evaluations") == {
        first.name,
        "20300102-030405_S1_yaw_small_wind_3_snapshot",
        "20300102-030405_S4_full_2_snapshot_2",
        "20300102-030405_all_2_snapshot",
    }
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert "evaluation_compared.json" not in names(run / "evaluations" / f"{first.name}_2")
    assert names(run) == {"snapshot.pt", "evaluations"}

    of_all = run / "evaluations" / "20300102-030405_all_2_snapshot" / "evaluation.json"
    results = json.loads(of_all.read_text(encoding="utf-8"))
    results[1]["success_rate"] = 0.5
    of_all.write_text(json.dumps(results), encoding="utf-8")
    capsys.readouterr()
    assert evaluate(f"inspect={run}") == 0
    told = capsys.readouterr().out
    assert f"{run / 'evaluations'}: 4 evaluations, the newest last" in told
    listed = re.findall(r"^ 20300102-\S+ +(\d(?: to \d)?) +([\d.%to ]+) +complete", told, re.MULTILINE)
    assert [stages for stages, _ in listed] == ["4", "1", "4", "0 to 4"]
    assert listed[-1][1].strip() == "0.0% to 50.0%"
    # Then the figures of the newest: five stages, which is only one of the four.
    figures = told[told.index("The newest: run/snapshot.pt") :]
    assert all(f"{index} {name}" in figures for index, name in enumerate(STAGES))


def test_a_scripted_policy_leaves_its_evaluations_in_the_current_folder(workplace: Path) -> None:
    for _ in range(2):
        assert evaluate("policy=expert", "episodes=1", *NEAR) == 0
    assert names(workplace) == {"evaluations"}
    assert len(names(workplace / "evaluations")) == 2
    assert all(name.endswith(("_S4_full_1_expert", "_S4_full_1_expert_2")) for name in names(newest(workplace).parent))


@pytest.mark.parametrize("left", ["evaluation.json", "evaluation_S3_mid_wind_1_grid.mp4"])
def test_a_folder_with_an_evaluation_is_not_written_to(
    left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with a film of one alone either: it would stand beside the tables of another policy."""
    out = tmp_path / "mine"
    out.mkdir()
    (tmp_path / "mine_2").touch()
    (out / "notes.txt").touch()
    assert evaluate("policy=expert", "episodes=1", f"out={out}", *NEAR) == 0
    for path in [path for path in out.iterdir() if path.name.startswith("evaluation")]:
        path.unlink()
    (out / left).write_bytes(b"of another")
    assert evaluate("policy=random", "episodes=1", f"out={out}") == 2
    rule = f"holds an evaluation; choose another folder, such as out={tmp_path / 'mine_3'}"
    assert capsys.readouterr().err == f"Error: out={out}: {rule}\n"
    assert names(out) == {"notes.txt", left}


def test_an_interrupt_before_the_first_result_leaves_no_folder(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> list[Episode]:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "play", interrupted)
    assert evaluate(f"run={run}", "episodes=2") == 130
    assert names(run) == {"snapshot.pt"}
    assert "has been played" not in capsys.readouterr().out


def test_evaluations_that_cannot_be_read_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run / "evaluations"
    for name, info, results in (
        ("a", "{", "[]"),
        ("b", '{"complete": false, "title": "a run"}', '[{"stage": 1}]'),
        ("c", '{"complete": false, "title": "a run"}', None),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "evaluation_info.json").write_text(info)
        if results is not None:
            (folder / name / "evaluation.json").write_text(results)
    (folder / "empty").mkdir()
    assert evaluate(f"inspect={run}") == 0
    told = capsys.readouterr().out
    assert f"{folder}: 1 evaluation, the newest last" in told
    assert f"{folder / 'a' / 'evaluation_info.json'}: is damaged: " in told
    assert f"{folder / 'b' / 'evaluation.json'}: is damaged: a result lacks " in told
    assert "unfinished" in told


# --- the benchmark ---


@pytest.fixture
def short_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two episodes in place of 500, each at most four seconds long and from close by."""
    monkeypatch.setitem(benchmark.FIXED, "episodes", 2)
    monkeypatch.setitem(benchmark.TASK, "start_height", (0.8, 1.2))
    monkeypatch.setitem(benchmark.TASK, "episode_seconds", 4.0)


@pytest.mark.usefixtures("short_benchmark")
def test_the_benchmark_plays_the_stages_then_the_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = untrained(pad_size=2.0, randomization={"mass": [0.9, 1.1]})
    run = checkpoint.save(tmp_path / "snapshot.pt", content_of(settings))
    assert evaluate(f"run={run}", "benchmark=true", "compare=[fixed_camera,expert]") == 0
    out = newest(tmp_path)
    assert out.name.endswith("_benchmark_snapshot")
    own, compared = rows(out / "evaluation.json"), rows(out / "evaluation_compared.json")
    found = [(row["stage"], row["name"], *(row[key] for key in SWEPT if key in row)) for row in own]
    count = len(found[0]) - 2
    expected = [(index, name, *[None] * count) for index, name in enumerate(STAGES)]
    for sweep in benchmark.SWEEPS:
        for ((key, value),) in sweep.points:
            values = [value if key == other else None for other in SWEPT if other in own[0]]
            expected.append((4, "S4_full", *values))
    assert found == expected
    assert len(compared) == 2 * len(own)
    assert {row["episodes"] for row in own + compared} == {2}
    assert {int(e["scenario"]) for e in played(out)} == {1_254_500_000, 1_254_500_001}
    info = json.loads((out / "evaluation_info.json").read_text())
    assert (info["benchmark"], info["stage"], info["seed"], info["complete"]) == (True, "all", 12345, True)

    page = (out / "benchmark.md").read_text(encoding="utf-8")
    others = "pad_size=1.4 (2.0), randomization.mass=[1.0, 1.0] ([0.9, 1.1])"
    assert f"The benchmark's task, with the policy's own in brackets: {others}." in page
    table = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in table[0]] == [
        *("condition", "landed", "95% interval", "median off centre", "median sink rate", "expert", "fixed camera")
    ]
    assert [line[0].strip() for line in table[2:8]] == [
        *(f"{index} {name}" for index, name in enumerate(STAGES)),
        "4 S4_full, pad 0 m/s",
    ]
    assert len(table) == 2 + len(own)
    experts = [f" {row['success_rate']:.1%} " for row in compared if row["policy"] == "expert"]
    assert [line[5] for line in table[2:]] == experts
    assert f"{2 * 3 * len(own)} episodes: 3 policies, {len(own)} conditions, 2 scenarios each" in (
        capsys.readouterr().out.replace("\n", " ")
    )


@pytest.mark.usefixtures("short_benchmark")
def test_the_benchmark_of_a_scripted_policy_has_no_columns_of_others(tmp_path: Path) -> None:
    assert evaluate("policy=expert", "benchmark=true", "curriculum_preset=none", f"out={tmp_path}") == 0
    head = (tmp_path / "benchmark.md").read_text(encoding="utf-8").splitlines()
    assert "| condition | landed | 95% interval | median off centre | median sink rate |" in head
    assert [row["name"] for row in rows(tmp_path / "evaluation.json")][:2] == ["full_task", "S4_full"]


@pytest.mark.parametrize("given", ["stage=all", "episodes=100", "sweep.wind=[1]", "seed=12345", "sweep.pad_speed=null"])
def test_what_the_benchmark_fixes_can_not_be_given(given: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the value that it has."""
    assert evaluate(f"run={run}", "benchmark=true", given) == 2
    told = capsys.readouterr().err
    assert told == f"Error: {given}: can't be combined with benchmark=true, which fixes it: see docs/benchmark.md\n"
    assert names(run) == {"snapshot.pt"}


def test_the_benchmark_is_what_its_page_says() -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    fixed = dict(re.findall(r"^\| `task\.(\w+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    played = {key: str(value) for key, value in TaskSettings(**benchmark.TASK).to_plain().items()}
    assert benchmark.TASK["randomization"] == RandomizationSettings()
    assert fixed == {key: played[key] for key in benchmark.TASK} | {"randomization": "nominal"}
    for sweep in benchmark.SWEEPS:
        for key, values in sweep.values.items():
            assert f"| `{key}` | {', '.join(f'{value:g}' for value in values)} |" in page
    assert f"{benchmark.FIXED['episodes']} episodes" in page
    seeds = plan._seeds(EvaluateSettings(policy="expert", curriculum={"stages": [{"name": "a"}]}, episodes=500))
    assert f"{seeds[0]:,} to {seeds[-1]:,}" in page
    assert benchmark.FIXED["seed"] == 12345


# --- how far the curriculum came ---


@pytest.mark.parametrize("stage", [None, "all", "3"])
def test_an_unfinished_curriculum_is_told_on_the_screen_and_in_the_files(
    stage: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run stopped in stage 1: without a stage it is that one which is played."""
    checkpoint.save(tmp_path / "snapshot.pt", content_of(untrained(), frame=300, stage=1))
    chosen = [] if stage is None else [f"stage={stage}"]
    assert evaluate(f"run={tmp_path}", "episodes=1", "compare=[]", *chosen) == 0
    out = newest(tmp_path)
    played_stages = [row["stage"] for row in rows(out / "evaluation.json")]
    assert played_stages == {None: [1], "all": [0, 1, 2, 3, 4], "3": [3]}[stage]
    note = "The curriculum is not finished: this snapshot has reached stage 1 S1_yaw_small of 0-4."
    running = "The run is not finished: this snapshot is of frame 300 of 600."
    told = capsys.readouterr().out
    assert f"Note: {note}" in told
    assert f"Note: {running}" in told
    assert ("stage=all plays all of them" in told) == (stage is None)
    assert "frame 300, stage 1 of 0-4)" in told
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert note in text
    assert running in text
    info = json.loads((out / "evaluation_info.json").read_text())
    assert (info["snapshot_stage"], info["last_stage"], info["complete"]) == (1, 4, True)
    assert note in info["notes"][0]
    assert evaluate(f"inspect={tmp_path}") == 0
    assert f"Note: {note}" in capsys.readouterr().out


def test_a_finished_curriculum_needs_no_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does a policy that came to the last stage and fell back from it."""
    content = content_of(untrained(), stage=3) | {"curriculum": {"history": [(0, 0), (200, 4), (300, 3)]}}
    snapshot = checkpoint.save(tmp_path / "snapshot.pt", content)
    assert evaluate(f"run={snapshot}", "episodes=1", "compare=[]") == 0
    assert "Note: " not in capsys.readouterr().out
    assert [row["stage"] for row in rows(newest(tmp_path) / "evaluation.json")] == [3]


def test_help_says_which_stage_is_played_without_one() -> None:
    text = (ROOT / "cfgs" / "config_evaluate.yaml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("stage: null"))
    assert "null for the stage of the evaluated snapshot, or for the last one of a scripted policy" in line


@pytest.mark.parametrize(
    "name",
    [
        "evaluation.json",
        "evaluation_episodes.csv",
        "evaluation.md",
        "evaluation.png",
        "evaluation_S4_full.mp4",
    ],
)
def test_a_full_disk_is_named_with_the_file(
    name: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device without space stands in the place that the file, or the one that becomes it, takes."""
    out = run / "out"
    out.mkdir()
    monkeypatch.setattr(files, "_beside", lambda path: path.with_name(f".tmp-{path.name}"))
    place = name if name.endswith(".csv") else f".tmp-{name}"
    original = evaluation.play

    def play(*arguments: Any) -> list[Episode]:
        (out / place).symlink_to("/dev/full")
        return original(*arguments)

    monkeypatch.setattr(evaluation, "play", play)
    video = f"video={name.endswith('.mp4')}"
    assert evaluate(f"run={run}", "episodes=1", "compare=[]", f"out={out}", video) == 2
    assert capsys.readouterr().err == f"Error: can't write {out / name}: No space left on device\n"


def test_an_interrupt_leaves_what_was_played(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def interrupted(*arguments: Any) -> list[Episode]:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    original = evaluation.play
    monkeypatch.setattr(evaluation, "play", interrupted)
    assert evaluate(f"run={run}", "stage=all", "episodes=2") == 130
    out = newest(run)
    assert f"What has been played is in {out}" in capsys.readouterr().out.replace("\n", " ")
    capsys.readouterr()
    assert evaluate(f"inspect={run / 'evaluations'}") == 0
    assert "unfinished" in capsys.readouterr().out
    assert [row["name"] for row in rows(out / "evaluation.json")] == STAGES[:2]
    assert len(played(out)) == 4
    assert json.loads((out / "evaluation_info.json").read_text())["complete"] is False


def test_a_damaged_snapshot_is_named_and_an_older_one_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = untrained()
    snapshots = checkpoint.Snapshots(tmp_path, last_stage=4)
    snapshots.save_rolling(content_of(settings, frame=300))
    for frame, rate in ((100, 0.9), (200, 0.95)):
        snapshots.save_best(content_of(settings, frame=frame), 4, frame, rate)
    damaged = tmp_path / "snapshot_best_sr95_stage4_200.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert evaluate(f"run={tmp_path}", "episodes=2", "compare=[]") == 0
    told = capsys.readouterr().out
    assert f"Passed over: {damaged}: is damaged" in told
    assert f"Evaluating {tmp_path.name}/snapshot_best_sr90_stage4_100.pt (state, frame 100, stage 4 of 0-4)" in told


def test_films_of_some_episodes_and_of_the_best_and_the_worst(tmp_path: Path) -> None:
    settings = untrained(PIXELS, episode_seconds=1.0)
    snapshot = checkpoint.save(tmp_path / "snapshot.pt", content_of(settings, stage=3))
    assert evaluate(f"run={snapshot}", "episodes=3", "compare=[]", "video=true", "sweep.wind=[1]") == 0
    out = newest(tmp_path)
    assert {name for name in names(out) if name.endswith(".mp4")} == {
        *("evaluation_S3_mid_wind_1.mp4", "evaluation_S3_mid_wind_1_grid.mp4")
    }
    with imageio.get_reader(out / "evaluation_S3_mid_wind_1_grid.mp4") as reader:
        frames = [frame for frame in reader]  # noqa: C416, RUF100 (its length is not known in advance)
    # None of an untrained policy's short episodes lands: one row of two, for three seconds and more.
    assert frames[0].shape == (240 + 23 + 25, 2 * 320 + 4, 3)
    assert 1 + 12 < len(frames) <= 1 + 6 + 12


# --- what it refuses ---

REFUSED = [
    (["compare=[exprt]"], "compare.0=exprt: must be expert, fixed_camera or random; did you mean expert?"),
    (["compare=[random,random]"], "compare=[random, random]: must name each policy once"),
    (["stage=5"], "stage=5: unknown stage; there are 0 S0_lock"),
    (["stage=S3_md"], "did you mean S3_mid?"),
    (["sweep.wind=[]"], "sweep.wind=[]: must have at least 1 of them, not 0"),
    (["sweep.wind=[1,-1]"], "sweep.wind.1=-1: must be at least 0"),
    (["sweep.pad_speed=[nan]"], "sweep.pad_speed.0=nan: must be a finite number"),
    (["sweep.pad_speed=[1,2,1.0]"], "must name each value once"),
    (["sweep.pad_sped=[1]"], "sweep.pad_sped=[1]: unknown key; did you mean pad_speed?"),
    (["inspect=x"], "inspect=x: run and inspect can't be combined"),
]


@pytest.mark.parametrize(("overrides", "told"), REFUSED, ids=[words[0] for words, _ in REFUSED])
def test_faulty_evaluations_are_refused_before_any_work(
    run: Path, overrides: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(f"run={run}", *overrides) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert names(run) == {"snapshot.pt"}


def test_more_points_than_can_be_played_are_refused() -> None:
    grid = {"pad_speed": list(range(40)), "wind": list(range(26))}
    with pytest.raises(SettingsError, match=r"must make at most 1000 points with pad_speed, not 40 \* 26"):
        SweepSettings.from_config(grid)
    with pytest.raises(SettingsError, match="must have at most 1000 of them, not 1001"):
        SweepSettings.from_config({"wind": list(range(1001))})
    assert len(SweepSettings.from_config({**grid, "wind": list(range(25))}).points) == 1000


def test_a_long_sweep_is_not_filmed(capsys: pytest.CaptureFixture[str]) -> None:
    values = ",".join(map(str, range(21)))
    assert evaluate("policy=expert", f"sweep.wind=[{values}]", "video=true") == 2
    assert "video=true: a sweep of 21 points can't be filmed, only 20" in capsys.readouterr().err


def test_a_pad_that_never_moves_has_no_speed_to_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    static = "task.pad_paths=[static]"
    snapshot = checkpoint.save(tmp_path / "snapshot.pt", content_of(untrained(pad_paths=["static"])))
    for arguments in ([f"run={snapshot}"], ["policy=expert", static]):
        assert evaluate(*arguments, "sweep.pad_speed=[1]") == 2
        assert "the task's pad_paths are static only: its pad never moves" in capsys.readouterr().err
    assert names(tmp_path) == {"snapshot.pt"}


def test_a_scripted_policy_is_compared_with_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("policy=expert", "compare=[random]") == 2
    assert capsys.readouterr().err.startswith("Error: compare=[random]: goes with run=...")
    for compare in ("compare=[]", "compare=null"):
        compose(EVALUATE_CONFIG, ["policy=expert", compare], EvaluateSettings)


def test_a_place_that_cannot_be_written_to_is_told_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(f"run={run}", f"out={run / 'snapshot.pt'}") == 2
    captured = capsys.readouterr()
    assert f"out={run / 'snapshot.pt'}: can't write {run / 'snapshot.pt'}: File exists" in captured.err
    assert captured.out == ""


# --- what it shows ---


def score_of(successes: int, trials: int, error: float | None = 0.25) -> list[Episode]:
    landed = Episode(1, Outcome.LANDED, error, 0.5, 9.0, 30)
    crashed = Episode(2, Outcome.CRASHED, None, None, -9.0, 10)
    return [landed] * successes + [crashed] * (trials - successes)


def test_the_table_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    for policies in (("expert",), ("trained", "fixed_camera")):
        report = EvaluationReport(tmp_path, policies[0], "a run")
        for policy in policies:
            for point in ((), (("pad_speed", 0.25), ("wind", 2.5))):
                condition = Condition.at(StageSettings(name="S2_yaw_pitch_small"), 2, TaskSettings(), point)
                report.add(policy, condition, score_of(100, 100))
        out = io.StringIO()
        Console(file=out, width=80).print(report.table())
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        # Figures stay whole.
        figures = "100.0%  96%–100%     0.0%   0.0%  0.25 m  0.50 m/s"
        assert len([line for line in lines if figures in line]) == 2 * len(policies)


def result(policy: str, name: str, landed: int, **point: float) -> dict[str, Any]:
    low, high = wilson_interval(landed, 50)
    figures = {"success_rate": landed / 50, "low": low, "high": high}
    return {"policy": policy, "name": name, "stage": 0, "pad_speed": None, "wind": None, **figures, **point}


def bars(axes: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label: (R, 2) points drawn, and (R, 2, 2) ends of their intervals."""
    return {
        container.get_label(): (
            container.lines[0].get_xydata(),
            np.array(container.lines[2][0].get_segments()),
        )
        for container in axes.containers
    }


def test_the_picture_of_stages(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        result(policy, name, landed)
        for policy, landings in (("trained", (50, 30)), ("random", (0, 3)))
        for name, landed in zip(("S0_lock", "S4_full"), landings, strict=True)
    ]
    plots.plot_evaluation(tmp_path / "stages.png", results, title="a run")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["S0_lock", "S4_full"]
    shown = bars(axes)
    for policy in ("trained", "random"):
        points, ends = shown[policy]
        own = [row for row in results if row["policy"] == policy]
        np.testing.assert_allclose(points[:, 0], [row["success_rate"] for row in own])
        np.testing.assert_array_equal(np.round(points[:, 1]), [0, 1])
        np.testing.assert_allclose(ends[:, :, 0], [(row["low"], row["high"]) for row in own], atol=1e-12)
    assert set(shown["trained"][0][:, 1]).isdisjoint(shown["random"][0][:, 1])
    # In grey, shapes tell the policies apart.
    assert len({container.lines[0].get_marker() for container in axes.containers}) == 2
    assert float(imread(tmp_path / "stages.png")[..., :3].std()) > 0.01


def test_the_picture_of_a_sweep(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        result(policy, name, landed, wind=wind)
        for policy in ("trained", "fixed_camera")
        for name in ("S3_mid", "S4_full")
        for wind, landed in ((0.0, 50), (1.0, 40), (3.0, 5))
    ]
    plots.plot_evaluation(tmp_path / "sweep.png", results)
    first, second = drawn[0].axes
    assert (first.get_title(), second.get_title()) == ("S3_mid", "S4_full")
    assert second.get_xlabel() == "largest wind (m/s)"
    points, ends = bars(second)["fixed camera"]
    np.testing.assert_allclose(points[:, 0], [0, 1, 3], atol=0.05)
    np.testing.assert_allclose(points[:, 1], [1.0, 0.8, 0.1])
    np.testing.assert_allclose(ends[2, :, 1], wilson_interval(5, 50))


def test_the_picture_of_a_grid(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        result("trained", "S4_full", 10 * row + column, pad_speed=2.0 - column, wind=float(row))
        for row in range(3)
        for column in range(2)
    ]
    plots.plot_evaluation(tmp_path / "grid.png", results)
    axes = drawn[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), np.array([[1, 0], [11, 10], [21, 20]]) / 50)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    assert {"42%", "29–56", "0%", "0–7"} <= {text.get_text() for text in axes.texts}


def test_the_picture_of_conditions_that_make_no_grid(tmp_path: Path, drawn: list[Figure]) -> None:
    """Such as those of the benchmark: a row for each."""
    results = [
        result(policy, "S4_full", landed, **point)
        for policy in ("trained", "expert")
        for landed, point in ((50, {}), (40, {"pad_speed": 2.0}), (5, {"wind": 3.0}))
    ]
    plots.plot_evaluation(tmp_path / "conditions.png", results)
    (axes,) = drawn[0].axes
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["S4_full", "S4_full, pad 2 m/s", "S4_full, wind 3 m/s"]
    points, _ = bars(axes)["trained"]
    np.testing.assert_allclose(points[:, 0], [1.0, 0.8, 0.1])


def test_the_picture_of_three_swept_conditions_has_a_grid_for_each_value_of_the_third(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    results = [
        result("trained", "S4_full", 10 * late + column, pad_speed=float(column), wind=1.0, latency=late / 4)
        for late in range(2)
        for column in range(3)
    ]
    plots.plot_evaluation(tmp_path / "grids.png", results)
    first, second = drawn[0].axes[:2]
    assert first.get_title() == "S4_full, latency 0\ntrained"
    assert second.get_title() == "S4_full, latency 0.25\ntrained"
    np.testing.assert_allclose(second.images[0].get_array(), np.array([[10, 11, 12]]) / 50)
    assert second.get_xlabel() == "pad speed (m/s)"


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results to draw"):
        plots.plot_evaluation(tmp_path / "none.png", [])
    assert not names(tmp_path)


# --- what it tells of snapshots ---


def test_a_snapshot_is_listed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(f"inspect={run / 'snapshot.pt'}") == 0
    told = capsys.readouterr().out
    for line in (
        f"snapshot.pt: snapshot of format {checkpoint.FORMAT}, ",
        "frame 1,200, step 1,200, stage 4\nholds a policy: no run can resume from it",
        "settings: profile smoke, seed 1, 600 frames, 4 environments",
        "encoder state, actor-critic original, images 24 x 24\n  lr 0.0001, lr_schedule constant",
        "stages S0_lock, S1_yaw_small",
        "param_groups.0.lr",
    ):
        assert line in told
    shapes = {str(list(tensor.shape)) for tensor in networks(run / "snapshot.pt")}
    assert all(f"{shape} float32" in told for shape in shapes)
    assert max(map(len, told.splitlines()[1:])) <= 80
    assert names(run) == {"snapshot.pt"}


def networks(path: Path) -> list[torch.Tensor]:
    parts = checkpoint.load(path)["agent"]["networks"].values()
    return [tensor for network in parts for tensor in network.values()]


def test_a_run_folders_snapshots_are_listed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = content_of(untrained(), frame=500, stage=2) | {"success_rate": 0.85, "run": {}}
    checkpoint.save(run / "snapshot_best_sr85_stage2_500.pt", content)
    (run / "snapshot_stage1_S1_yaw_small_300.pt").write_bytes(b"nonsense")
    assert evaluate(f"inspect={run}") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{run}: 3 snapshots"
    lines = [line.split() for line in told if line.strip().startswith("snapshot") and line.endswith("good ")]
    assert [(words[0], words[1], words[2], words[3]) for words in lines] == [
        ("snapshot_best_sr85_stage2_500.pt", "2", "500", "85%"),
        ("snapshot.pt", "4", "1,200", "–"),
    ]
    assert any("faulty" in line for line in told)
    assert any(line.startswith(f"{run / 'snapshot_stage1_S1_yaw_small_300.pt'}: is ") for line in told)
    assert told[-1] == f"run={run} plays snapshot.pt"


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_foreign_files_are_refused_and_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"format": checkpoint.FORMAT, "agent": Trap(sprung)}, tmp_path / "trap.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("trap.pt", "pickle.pt"):
        assert evaluate(f"inspect={tmp_path / name}") == 2
        assert f"{name}: is damaged" in capsys.readouterr().err
    assert evaluate(f"inspect={tmp_path / 'trp.pt'}") == 2
    assert "no such run folder or snapshot; did you mean trap.pt or" in capsys.readouterr().err
    assert evaluate(f"inspect={tmp_path}") == 0
    assert capsys.readouterr().out.count("faulty") == 2
    assert not sprung.exists()


def test_an_empty_folder_has_nothing_to_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(f"inspect={tmp_path}") == 2
    assert capsys.readouterr().err == f"Error: {tmp_path}: holds no snapshot and no evaluations\n"


INSPECTION = """
import sys
import glideslope.evaluation.inspection
heavy = {"mujoco", "mujoco_warp", "warp", "gymnasium", "matplotlib"} & set(sys.modules)
sys.exit(f"loaded {sorted(heavy)}" if heavy else 0)
"""


@pytest.mark.slow
def test_listing_loads_no_simulator() -> None:
    command = [sys.executable, "-c", INSPECTION]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_task_for_a_sweep_differs_in_its_paths_alone() -> None:
    task, stage = pinned_task(pad_paths=("circular", "static")), StageSettings(name="S4_full")
    (moving,) = points_in_stages([stage], (0,), task, SweepSettings(pad_speed=(1.0,)))
    assert moving.task == pinned_task(pad_paths=("circular",))
    (windy,) = points_in_stages([stage], (0,), task, SweepSettings(wind=(1.0,)))
    assert windy.task == task
