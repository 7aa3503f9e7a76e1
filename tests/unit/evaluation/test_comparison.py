"""Comparison of runs: what is found and read, how it is grouped, and what the table, picture and files show."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.image import imread
from rich.console import Console

from glideslope.cli.compare import main, with_runs
from glideslope.cli.main import COMPARE_CONFIG, compose, run_cli
from glideslope.errors import SettingsError
from glideslope.evaluation.comparison import command
from glideslope.evaluation.comparison.grouping import Grouping, group_runs
from glideslope.evaluation.comparison.runs import find_runs, read_runs
from glideslope.evaluation.comparison.summary import compare_runs
from glideslope.evaluation.comparison.table import print_table
from glideslope.settings import CompareSettings
from tests.support.paths import ROOT
from tests.support.synthetic_runs import write_run

SLOW = ((4000, 0, 0.5), (8000, 1, 0.7), (12000, 1, 0.85))


@pytest.fixture
def two_by_three(tmp_path: Path) -> Path:
    """Six runs: two schedules, three seeds."""
    folder = tmp_path / "sweep"
    for seed in (1, 2, 3):
        write_run(folder / f"{seed - 1}_a", "lr_schedule=constant", seed=seed, landed=(99, 90 + 2 * seed))
        rates = {2000: 3e-4, 4000: 1.5e-4, 8000: 7.5e-5}
        options: Any = {
            "evaluations": SLOW,
            "rates": rates,
            "landed": (97, 80 + seed),
            "entered": 5000 + 1000 * seed,
        }
        write_run(folder / f"{seed + 2}_b", "lr_schedule=gentle_decay", seed=seed, **options)
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at no picture."""
    for name in ("draw", "write_page"):
        monkeypatch.setattr(command, name, lambda *_: None)


def compare(*words: str) -> tuple[int, str, str]:
    """What ``python compare_runs.py`` does with these words: status, output, errors; 80 columns wide."""
    printed, said = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(said):
        status = run_cli(main, COMPARE_CONFIG, CompareSettings, with_runs(words))
    return status, printed.getvalue(), said.getvalue()


def grouped(*paths: Path, by: list[str] | None = None) -> Grouping:
    return group_runs(read_runs(paths)[0], by)


def labels(*paths: Path, by: list[str] | None = None) -> list[str]:
    return [group.label for group in grouped(*paths, by=by).groups]


# --- finding and reading ---


def test_runs_are_found_at_any_depth_once_and_in_their_order(tmp_path: Path) -> None:
    names = ["day/9_x", "day/10_x", "day/sweep/0_y", "alone"]
    runs = [write_run(tmp_path / name) for name in names]
    write_run(runs[0] / "evaluation" / "inner")  # inside a run: not another one
    write_run(tmp_path / ".hidden" / "run")
    (tmp_path / "empty").mkdir()
    assert find_runs([tmp_path / "day"]) == [runs[0], runs[1], runs[2]]
    assert find_runs([tmp_path]) == [runs[3], *runs[:3]]
    assert find_runs([runs[1], tmp_path / "day", runs[1]]) == [runs[1], runs[0], runs[2]]


def test_places_without_a_run_say_what_is_there(tmp_path: Path) -> None:
    run = write_run(tmp_path / "day" / "101500_gentle")
    (run / "replay").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes" / "old").mkdir(parents=True)
    places = ["day/101500_gentel", "empty", "notes", "day/101500_gentle/replay", "day/101500_gentle/eval.csv"]
    with pytest.raises(SettingsError) as caught:
        find_runs([tmp_path / place for place in places])
    rules = [fault.rule for fault in caught.value.faults]
    assert rules == [
        "there is no such folder; did you mean 101500_gentle?",
        "no run in it or below it; it is empty",
        "no run in it or below it; it holds old",
        f"is not a run folder, but lies in one: {run}",
        f"is not a run folder, but lies in one: {run}",
    ]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="is a file; name a run folder"):
        find_runs([tmp_path / "file"])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.yaml", None, "no config.yaml"),
        ("config.yaml", "a: [", "config.yaml is damaged"),
        ("config.yaml", "profile: state", "config.yaml is damaged: curriculum: is missing"),
        ("train.csv", "no table\n", "train.csv: the first line should name the columns"),
        ("eval.csv", "frame,eval/stage\n1,x\n", "eval.csv, line 2: not a row"),
        ("overrides.yaml", "a: 1", "overrides.yaml is damaged"),
        ("finished.json", "{", "finished.json is damaged"),
        ("finished.json", '{"frames": 1}', "finished.json is damaged: no 'evaluation'"),
        ("finished.json", '{"frames": 1, "stages": 3, "evaluation": {}}', "finished.json is damaged"),
        ("finished.json", None, "unfinished: at frame 12,000 of 12,000"),
    ],
)
def test_damaged_and_unfinished_runs_are_named(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad", seed=2)
    if text is None:
        (bad / name).unlink()
    else:
        (bad / name).write_text(text, encoding="utf-8")
    comparison = compare_runs([good, bad])
    (left_out,) = comparison.left_out
    assert left_out.path == bad
    assert left_out.reason.startswith(reason)
    assert [run.path for run in comparison.summaries[0].finished] == [good]


def test_the_result_is_that_of_the_last_stage(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", landed=(99, 40))
    record = json.loads((run / "finished.json").read_text(encoding="utf-8"))
    # A run that ended in stage 0 scores that one, and lists every stage.
    record["evaluation"] = record["stages"][0]
    (run / "finished.json").write_text(json.dumps(record), encoding="utf-8")
    (read,), left_out = read_runs([run])
    assert (read.landed, left_out) == (0.4, [])
    del record["stages"]
    (run / "finished.json").write_text(json.dumps(record), encoding="utf-8")
    assert [out.reason for out in read_runs([run])[1]] == ["finished.json has no result of the last stage"]


def test_a_run_of_another_version_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    del config["keep_replay"]
    config["a_setting_of_later"] = 1
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (read,), left_out = read_runs([run])
    assert (read.landed, left_out) == (0.97, [])


# --- grouping ---


def test_seeds_and_where_a_run_took_place_never_count(tmp_path: Path) -> None:
    uncounted = [
        "device=cpu",
        "num_threads=2",
        "log_every_frames=7",
        "save_video=false",
        "eval_every_frames=70",
    ]
    runs = [write_run(tmp_path / str(i), word, seed=i) for i, word in enumerate(uncounted)]
    assert labels(*runs) == ["all runs"]
    assert labels(*runs, by=["seed"]) == ["0", "1", "2", "3", "4"]


def test_evaluations_count_where_they_reduce_rates(tmp_path: Path) -> None:
    plateau = ("lr_schedule=gentle_decay", "lr_schedule.actor.type=reduce_on_plateau")
    runs = [write_run(tmp_path / str(n), *plateau, f"eval_every_frames={n}") for n in (1000, 2000)]
    assert labels(*runs) == ["1000", "2000"]


def test_schedules_are_named_as_typed(tmp_path: Path) -> None:
    typed = [
        ("lr_schedule=constant",),
        (),
        ("lr_schedule=gentle_decay",),
        ("lr_schedule=gentle_decay", "lr_schedule.actor.type=exponential_decay"),
        ("lr_schedule=exponential_smooth",),
    ]
    runs = [write_run(tmp_path / str(i), *words) for i, words in enumerate(typed)]
    names = ["constant", "gentle_decay", "gentle_decay actor.type=exponential_decay", "exponential_smooth"]
    assert grouped(*runs).heading == "lr_schedule"
    assert labels(*runs) == names
    for run in runs:  # where nothing says what was typed, by what is in the preset
        (run / "overrides.yaml").unlink()
    assert labels(*runs) == ["constant", "gentle_decay", "of its own", "exponential_smooth"]
    # As typed, two would be called alike: a name that stands for another schedule in each run.
    for run in runs[2:4]:
        (run / "overrides.yaml").write_text("- lr_schedule=mine\n", encoding="utf-8")
    assert labels(*runs) == ["constant", "mine", "mine (2)", "exponential_smooth"]


def test_groups_are_named_by_the_fewest_keys_that_tell_them_apart(tmp_path: Path) -> None:
    words = [("lr=1e-3",), ("lr=1e-4",), ("lr=1e-4", "lr_schedule=gentle_decay")]
    runs = [write_run(tmp_path / str(i), *typed) for i, typed in enumerate(words)]
    grouping = grouped(*runs)
    assert [dict(group.values) for group in grouping.groups] == [
        {"lr": "0.001", "lr_schedule": "constant"},
        {"lr": "0.0001", "lr_schedule": "constant"},
        {"lr": "0.0001", "lr_schedule": "gentle_decay"},
    ]
    assert grouping.heading == "group"
    assert grouping.groups[0].label == "lr=0.001, lr_schedule=constant"
    # A choice that sets many keys is one difference.
    others = [
        write_run(tmp_path / name, f"curriculum_preset={name}", "curriculum.last_stage=1")
        for name in ("balanced", "conservative")
    ]
    grouping = grouped(*others)
    assert (grouping.heading, labels(*others)) == ("curriculum_preset", ["balanced", "conservative"])
    assert {"curriculum.window", "curriculum.min_episodes"} <= set(grouping.differing)


def test_by_pools_what_it_leaves_out_and_says_so(tmp_path: Path) -> None:
    words = [("lr=1e-3",), ("lr=1e-4",), ("lr=1e-4", "lr_schedule=gentle_decay")]
    runs = [write_run(tmp_path / str(i), *typed, seed=i) for i, typed in enumerate(words)]
    grouping = grouped(*runs, by=["lr_schedule"])
    assert [(group.label, len(group.runs)) for group in grouping.groups] == [
        ("constant", 2),
        ("gentle_decay", 1),
    ]
    assert grouping.pooled == ("lr",)
    assert labels(*runs, by=["agent.encoder"]) == ["state"]
    with pytest.raises(SettingsError, match="by=lr_schedul: unknown setting of these runs; did you mean lr_schedule"):
        grouped(*runs, by=["lr_schedul"])


# --- figures ---


def test_figures_of_a_group(two_by_three: Path) -> None:
    one, other = compare_runs(find_runs([two_by_three])).summaries
    # 92%, 94% and 96%: mean 94%, standard deviation 2%, t of 2 degrees 4.3027.
    assert one.landed.value == pytest.approx(0.94)
    assert one.landed.low == pytest.approx(0.94 - 4.302653 * 0.02 / math.sqrt(3))
    assert one.all_stages.value == pytest.approx((0.99 + 0.94) / 2)
    assert [(m.frames, m.reached, m.runs) for m in one.milestones.values()] == [(8000, 3, 3), (12000, 3, 3)]
    assert [(m.frames, m.reached, m.runs) for m in other.milestones.values()] == [
        (12000, 3, 3),
        (math.inf, 0, 3),
    ]
    assert one.minutes == 2.0
    assert one.frames.tolist() == [4000, 8000, 12000]
    assert one.curve.value.tolist() == pytest.approx([0.5, 0.85, 0.95])
    # Entered at 6000, 7000 and 8000 frames.
    assert other.entries == ((0, "S0_lock", 0.0, 3), (1, "S1_yaw_small", 7000.0, 3))
    ((frame, rate),) = other.rates["actor"]
    assert frame.tolist() == [2000, 4000, 8000, 12000]
    assert rate.tolist() == [3e-4, 1.5e-4, 7.5e-5, 7.5e-5]


@pytest.mark.parametrize(
    ("reaching", "median"),
    [
        ((1, 1, 0), 8000),
        ((1, 0, 0), math.inf),
        ((1, 1, 1, 0), 8000),
        ((1, 1, 0, 0), math.inf),
        ((0,), math.inf),
    ],
)
def test_runs_that_never_got_there_count_as_never(tmp_path: Path, reaching: tuple[int, ...], median: float) -> None:
    for seed, reaches in enumerate(reaching):
        # 100% on the stage before the last one does not count.
        evaluations = [(4000, 0, 1.0), (8000, 1, 0.8 if reaches else 0.79)]
        write_run(tmp_path / str(seed), seed=seed, evaluations=evaluations)
    (summary,) = compare_runs(find_runs([tmp_path])).summaries
    found = summary.milestones[0.8]
    assert (found.frames, found.reached, found.runs) == (median, sum(reaching), len(reaching))


def test_unfinished_runs_are_in_no_figure(two_by_three: Path) -> None:
    before = compare_runs(find_runs([two_by_three])).summaries[0]
    write_run(two_by_three / "9_x", "lr_schedule=constant", seed=9, landed=None, evaluations=[(4000, 0, 0.0)])
    after = compare_runs(find_runs([two_by_three])).summaries[0]
    assert (after.landed, after.milestones) == (before.landed, before.milestones)
    assert after.curve.value.tolist() == before.curve.value.tolist()
    assert len(after.group.runs) == 4


def test_curves_of_runs_evaluated_at_other_frames_are_joined_where_all_have_values(tmp_path: Path) -> None:
    write_run(tmp_path / "0", seed=0, evaluations=[(2000, 0, 0.0), (4000, 0, 0.4)])
    write_run(tmp_path / "1", seed=1, evaluations=[(3000, 0, 0.6), (6000, 0, 0.9)])
    (summary,) = compare_runs(find_runs([tmp_path])).summaries
    # At 3000: 0.2 and 0.6. At 4000: 0.4 and 0.7.
    assert summary.frames.tolist() == [3000, 4000]
    assert summary.curve.value.tolist() == pytest.approx([0.4, 0.55])


def test_ten_runs_have_a_profile_and_a_probability_of_improvement(tmp_path: Path) -> None:
    for seed in range(10):
        write_run(tmp_path / f"a{seed}", "lr=1e-3", seed=seed, landed=(99, 80 + seed))
        write_run(tmp_path / f"b{seed}", "lr=1e-4", seed=seed, landed=(99, 85 + seed))
    comparison = compare_runs(find_runs([tmp_path]))
    one, _ = comparison.summaries
    assert "interquartile" in one.landed.method
    assert one.landed.value == pytest.approx(sum(range(82, 88)) / 600)
    assert one.profile is not None
    assert one.profile.value[[79, 84, 89]].tolist() == pytest.approx([1.0, 0.5, 0.0])
    ((better, worse, found),) = comparison.improvements
    assert (better, worse) == ("0.001", "0.0001")
    # Of 100 pairs the first is higher in 4 + 3 + 2 + 1 and alike in 5.
    assert found.value == pytest.approx(0.125)
    told = io.StringIO()
    print_table(compare_runs(find_runs([tmp_path])), Console(file=told, width=200))
    assert "A run of 0.001 scores higher than one of 0.0001 with probability 0.12 (" in told.getvalue()


# --- the command ---


def test_the_command_prints_a_table_and_writes_every_file(two_by_three: Path) -> None:
    status, printed, said = compare(str(two_by_three))
    assert (status, said) == (0, "")
    lines = printed.splitlines()
    assert max(map(len, lines[:8])) <= 80
    (constant,) = [line.split() for line in lines if "constant" in line]
    assert constant == [
        "constant",
        "3",
        "94.0%",
        "89–99%",
        "8k",
        "(3",
        "of",
        "3)",
        "12k",
        "(3",
        "of",
        "3)",
        "2.0",
    ]
    (gentle,) = [line.split() for line in lines if "gentle_decay" in line]
    assert gentle == [
        "gentle_decay",
        "3",
        "82.0%",
        "80–84%",
        "12k",
        "(3",
        "of",
        "3)",
        "–",
        "(0",
        "of",
        "3)",
        "2.0",
    ]
    folder = two_by_three / "comparison"
    assert sorted(file.name for file in folder.iterdir()) == [
        f"comparison.{suffix}" for suffix in ("csv", "html", "json", "png")
    ]
    assert min(imread(folder / "comparison.png").shape[:2]) > 500


@pytest.mark.usefixtures("undrawn")
def test_the_numbers_behind_it(two_by_three: Path) -> None:
    compare(str(two_by_three))
    with (two_by_three / "comparison" / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["group", "run", "run", "run"] * 2
    assert float(rows[0]["landed"]) == pytest.approx(0.94)
    assert (rows[1]["seed"], rows[1]["landed"], rows[1]["lr_schedule"]) == ("1", "0.92", "constant")
    assert (rows[4]["frames_to_80"], rows[4]["frames_to_90"], rows[4]["reached_90"]) == ("12000.0", "", "0")
    content = json.loads((two_by_three / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    one, other = content["groups"]
    assert one["landed"]["value"] == pytest.approx(0.94)
    assert one["curve"]["frame"] == [4000, 8000, 12000]
    assert other["frames_to"]["0.9"] == {"frames": None, "reached": 0, "runs": 3}
    assert other["learning_rates"]["critic"][0]["rate"] == [3e-4, 1.5e-4, 7.5e-5, 7.5e-5]
    assert [run["curve"]["value"] for run in one["runs"]] == [[0.5, 0.85, 0.95]] * 3


@pytest.mark.usefixtures("undrawn")
def test_no_comparison_is_written_over_another(two_by_three: Path, workplace: Path) -> None:
    runs = [str(path) for path in find_runs([two_by_three])]
    for words, folder in (
        (runs, "comparison"),
        (runs[:4], "comparison_2"),
        (runs[::-1], "comparison"),  # the same again
        ([*runs, "by=seed"], "comparison_3"),
    ):
        status, printed, _ = compare(*words)
        assert (status, f"Written: {two_by_three / folder}\n" in printed) == (0, True)
    assert compare(*runs[:2], "out=mine")[0] == 0
    assert compare(*runs[:2], "out=mine")[0] == 0
    before = (workplace / "mine" / "comparison.json").read_bytes()
    assert compare(*runs[:3], "out=mine") == (
        2,
        "",
        "Error: out=mine: holds a comparison of other runs, or by other settings; choose another folder\n",
    )
    assert (workplace / "mine" / "comparison.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "",
            "runs=[]: name run folders, or folders with runs below them: exp_local/a exp_local/b",
        ),
        ("runs by=lr_schedul", "by=lr_schedul: unknown setting of these runs; did you mean lr_schedule?"),
        ("runs by=[lr,lr]", "by=[lr, lr]: must name each key once"),
        ("runs outt=x", "outt=x: unknown key; did you mean out?"),
        ("ruins", "runs=ruins: there is no such folder; did you mean runs?"),
        ("file runs", "runs=file: is a file; name a run folder, or a folder of runs"),
        ("runs out=runs/a", "out=runs/a: is a run folder; choose another folder"),
        ("runs out=file", "out=file: is a file; choose another folder"),
        ("runs runs=x", "runs: name the runs as bare paths or as runs=[...], not both"),
        ("broken", "runs=broken/a: config.yaml is damaged: it should be a mapping"),
    ],
)
def test_mistakes_are_told(workplace: Path, words: str, message: str) -> None:
    write_run(workplace / "runs" / "a")
    write_run(workplace / "broken" / "a")
    (workplace / "broken" / "a" / "config.yaml").write_text("[]", encoding="utf-8")
    (workplace / "file").write_text("", encoding="utf-8")
    before = sorted(workplace.rglob("*"))
    assert compare(*shlex.split(words)) == (2, "", f"Error: {message}\n")
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["a b", "lr=1,2", 'it\'s "so"', "[x]", "${oc.env:HOME}", "back\\slash", "ünï"])
def test_any_folder_can_be_named(workplace: Path, name: str) -> None:
    write_run(workplace / "day" / name)
    assert compare(f"day/{name}", "out=here")[0] == 0
    content = json.loads((workplace / "here" / "comparison.json").read_text(encoding="utf-8"))
    assert [run["run"] for run in content["groups"][0]["runs"]] == [f"day/{name}"]


def test_help_and_flags_are_left_alone() -> None:
    assert with_runs(["--help", "all"]) == ["--help", "all"]
    assert with_runs(["--cfg", "job", "a"]) == ["--cfg", "job", 'runs=["a"]']


def test_a_sweep_s_table_names_what_it_can_not_read(two_by_three: Path, workplace: Path) -> None:
    shutil.rmtree(two_by_three / "0_a")
    (two_by_three / "1_a" / "config.yaml").write_text("[", encoding="utf-8")
    runs = [two_by_three / f"{number}_{'a' if number < 3 else 'b'}" for number in range(6)]
    told = io.StringIO()
    print_table(compare_runs(runs), Console(file=told, width=80))
    text = told.getvalue()
    assert "0_a: there is no such folder\n" in text
    assert "1_a: config.yaml is damaged" in text
    # One run: no interval over runs, but its own.
    assert "constant: one run, so no interval over runs; its own over 100 episodes is" in " ".join(text.split())
    assert not list(workplace.iterdir())
    for nothing in ([], runs[:2]):
        print_table(compare_runs(nothing), Console(file=io.StringIO(), width=80))


def test_the_commands_of_the_manual_are_understood() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/comparing_runs.md", "README.md")]
    assert all("\npython compare_runs" in page for page in pages)
    commands = [
        shlex.split(line, comments=True)
        for page in pages
        for line in page.splitlines()
        if line.startswith("python compare_runs")
    ]
    for words in commands:
        settings = compose(COMPARE_CONFIG, with_runs(words[2:]), CompareSettings).settings
        assert all("exp_local" in run for run in settings.runs)


@pytest.mark.slow
def test_a_reader_that_has_gone_and_an_unwritable_home_keep_nothing_from_the_files(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    command = [sys.executable, str(ROOT / "compare_runs.py"), str(tmp_path / "runs")]
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR"}
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as screen:
        done = subprocess.run(
            command,
            stdout=screen,
            stderr=subprocess.PIPE,
            env=environment | {"HOME": "/proc/none"},
            text=True,
            check=False,
        )
    assert done.stderr == ""
    files = {path.name for path in (tmp_path / "runs" / "comparison").iterdir()}
    assert files == {"comparison.png", "comparison.html", "comparison.csv", "comparison.json"}
