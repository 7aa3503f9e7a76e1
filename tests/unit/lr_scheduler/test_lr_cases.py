"""Schedule files: malformed ones get one clear message, and unusual but valid ones their rates."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from glideslope.cli.main import PREVIEW_CONFIG, TRAIN_CONFIG, Composed, run_cli
from glideslope.cli.preview import main as preview
from glideslope.settings import PreviewSettings, Settings

# The actor's schedule, and what the one message says: the key below lr_schedule.actor, the value, the rule.
MALFORMED: list[tuple[str, str, str]] = [
    ("{}", "intervals: is missing", "choose a preset first"),
    ("{type: step_decay}", "intervals: is missing", ""),
    ("{type: step_decay, intervals: []}", "intervals=[]: must be a list of one interval or more", ""),
    ("{type: step_decay, intervals: {lr: 1x}}", "intervals={lr: 1x}: must be a list", ""),
    ("{type: step_decay, intervals: [1x]}", "intervals.0=1x: an interval is a mapping", "lr: 1.0e-4"),
    ("{type: step_decay, intervals: [null]}", "intervals.0=null: an interval is a mapping", ""),
    ("[{lr: 1x}]", "=[{lr: 1x}]: must be a mapping", ""),
    ("step_decay", "=step_decay: must be a mapping", ""),
    ("{intervals: [{lr: 1x}]}", "type: is missing", "step_decay"),
    ("{type: stepdecay, intervals: [{lr: 1x}]}", "type=stepdecay: an unknown type", "did you mean step_decay?"),
    ("{type: StepLR, intervals: [{lr: 1x}]}", "type=StepLR: an unknown type", "the types are constant"),
    ("{type: step_decay, interval: [{lr: 1x}], intervals: [{lr: 1x}]}", "interval=", "did you mean intervals?"),
    ("{type: constant, lr: 1x, intervals: [{lr: 1x}]}", "lr=1x: belongs to an interval", "intervals.0.lr"),
    ("{type: constant, intervals: [{lr: 1x, lrr: 2}]}", "intervals.0.lrr=2: an unknown key", "did you mean lr?"),
    ("{type: constant, intervals: [{start: 0}]}", "intervals.0.lr: is missing", "init_lr"),
    ("{type: constant, intervals: [{lr: 1x, init_lr: 1x}]}", "intervals.0.init_lr=1x: lr and init_lr mean", ""),
    ("{type: constant, intervals: [{lr: fast}]}", "intervals.0.lr=fast: a rate is a number", "0.5x"),
    ("{type: constant, intervals: [{lr: 50%}]}", "intervals.0.lr=50%: a rate is", ""),
    ("{type: constant, intervals: [{lr: -1.0e-4}]}", "intervals.0.lr=-0.0001: must not be negative", ""),
    ("{type: constant, intervals: [{lr: .nan}]}", "intervals.0.lr=.nan: must be a finite number", ""),
    ("{type: constant, intervals: [{lr: 1e-4x5}]}", "intervals.0.lr=1e-4x5: a rate is", ""),
    ("{type: constant, intervals: [{lr: .inf}]}", "intervals.0.lr=.inf: must be a finite number", ""),
    ("{type: constant, intervals: [{lr: 3}]}", "intervals.0.lr=3: a rate must not be greater than 1", ""),
    ("{type: constant, intervals: [{lr: 1e5x}]}", "intervals.0.lr=1e5x: a rate, here 10,", "greater than 1"),
    ("{type: constant, intervals: [{lr: true}]}", "intervals.0.lr=true: a rate is", ""),
    ("{type: constant, intervals: [{lr: 1x, start: soon}]}", "intervals.0.start=soon: a time is", "250k"),
    ("{type: constant, intervals: [{lr: 1x, start: 0.5}]}", "intervals.0.start=0.5: steps are whole", "50% or 1/2"),
    ("{type: constant, intervals: [{lr: 1x, end: 1/0}]}", "intervals.0.end=1/0: the denominator of a share", ""),
    ("{type: constant, intervals: [{lr: 1x, start: -5}]}", "intervals.0.start=-5: must not be negative", ""),
    ("{type: constant, intervals: [{lr: 1x, start: 9, end: 9}]}", "intervals.0.end=9: must be greater", "9"),
    (
        "{type: constant, intervals: [{start: 0, end: 60%, lr: 1x}, {start: 500, lr: 1x}]}",
        "intervals.1.start=500: steps 500 to 1000 overlap interval 0, 0 to 600",
        "to fix it, set lr_schedule.actor.intervals.0.end=500",
    ),
    (
        "{type: constant, intervals: [{start: 500, lr: 1x}, {start: 0, end: 500, lr: 1x}]}",
        "intervals.1.start=0: intervals are listed in order",
        "starts later, at step 500",
    ),
    ("{type: constant, intervals: [{lr: 1x}, {lr: 0.5x}]}", "intervals.1.start: is missing", "intervals.0.end"),
    ("{type: linear_decay, intervals: [{lr: 1x, end: 9, warmup: 10}]}", "intervals.0.warmup=10: longer", "9 steps"),
    ("{type: constant, intervals: [{lr: 1x, warmup: -1}]}", "intervals.0.warmup=-1: must not be negative", ""),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0.9}]}",
        "intervals.0.decay_interval: is missing; it goes with decay_rate",
        "",
    ),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_interval: 5}]}",
        "intervals.0.decay_rate: is missing; it goes with decay_interval",
        "",
    ),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0, decay_interval: 5}]}",
        "intervals.0.decay_rate=0: must be greater than 0",
        "",
    ),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0.9, decay_interval: 0}]}",
        "intervals.0.decay_interval=0: must be greater than 0",
        "",
    ),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 2, decay_interval: 10}]}",
        "intervals.0.decay_rate=2: the rate grows to",
        "greater than 1",
    ),
    ("{type: exponential_decay, intervals: [{lr: 1x, final_lr: 0}]}", "intervals.0.lr=1x: no exponential", "linear"),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, final_lr: 0.1x, decay_rate: 0.9, decay_interval: 5}]}",
        "intervals.0.final_lr=0.1x: give either final_lr, or",
        "",
    ),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0.9, decay_interval: 5, staircase: maybe}]}",
        "intervals.0.staircase=maybe: must be true or false",
        "",
    ),
    ("{type: polynomial_decay, intervals: [{lr: 1x, power: 0}]}", "intervals.0.power=0: must be greater than 0", ""),
    (
        "{type: reduce_on_plateau, intervals: [{lr: 1x, metric: success}]}",
        "intervals.0.metric=success: an unknown metric",
        "did you mean success_rate?",
    ),
    ("{type: reduce_on_plateau, intervals: [{lr: 1x, factor: 2}]}", "intervals.0.factor=2: must be less than 1", ""),
    ("{type: reduce_on_plateau, intervals: [{lr: 1x, min_lr: 2x}]}", "intervals.0.min_lr=2x: must not be", "0.0001"),
    ("{type: constant, intervals: [{stage: S9, lr: 1x}]}", "intervals.0.stage=S9: an unknown stage", "S0_lock"),
    ("{type: constant, intervals: [{stage: S1_yaw_smal, lr: 1x}]}", "intervals.0.stage=", "did you mean S1_yaw_small?"),
    ("{type: constant, intervals: [{stage: -1, lr: 1x}]}", "intervals.0.stage=-1: must not be negative", ""),
    ("{type: constant, intervals: [{stage: 1.5, lr: 1x}]}", "intervals.0.stage=1.5: a stage is named", ""),
    (
        "{type: constant, intervals: [{stage: 0, lr: 1x}, {stage: 0, lr: 1x}]}",
        "intervals.1.stage=0: listed after stage 0",
        "once each",
    ),
    (
        "{type: constant, intervals: [{stage: 0, lr: 1x}, {start: 500, lr: 1x}]}",
        "intervals.1.start=500: times and stages do not mix",
        "",
    ),
    ("{type: constant, intervals: [{duration: 5, lr: 1x}]}", "intervals.0.duration=5: belongs to an interval with", ""),
    (
        "{type: linear_decay, intervals: [{stage: 0, lr: 1x, final_lr: 0}]}",
        "intervals.0.duration: is missing; final_lr is reached at its end",
        "",
    ),
    (
        "{type: constant, intervals: [{stage: 0, lr: 1x, duration: 5, warmup: 6}]}",
        "intervals.0.warmup=6: longer than the duration, 5",
        "",
    ),
]  # fmt: skip


def arguments(folder: Path, text: str) -> list[str]:
    """The command line that chooses a preset file with this schedule of the actor; 1000 steps at 1.0e-4."""
    path = folder / "lr_schedule" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\nlr_schedule:\n  actor: {text}\n", encoding="utf-8")
    return ["--config-dir", str(folder), "lr_schedule=mine", "profile=smoke", "num_train_frames=1000"]


def refuse(_: Composed[Any]) -> int:
    raise AssertionError("the schedule was accepted")


@pytest.mark.parametrize(("text", "start", "rest"), MALFORMED, ids=[case[0] for case in MALFORMED])
def test_a_malformed_schedule_gets_one_clear_message(
    text: str, start: str, rest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert run_cli(refuse, TRAIN_CONFIG, Settings, arguments(tmp_path / "files", text)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    dot = "" if start.startswith("=") else "."
    assert err.startswith(f"Error: lr_schedule.actor{dot}{start}")
    assert rest in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert list(here.iterdir()) == []


def test_there_are_enough_cases() -> None:
    assert len({case[0] for case in MALFORMED}) >= 40
    assert len({case[0] for case in UNUSUAL}) >= 40


# The actor's schedule, and rates worked out by hand.
UNUSUAL: list[tuple[str, dict[int, float]]] = [
    ("null", {0: 1e-4, 1000: 1e-4}),
    ("{type: constant, intervals: [{lr: 0}]}", {0: 0.0, 1000: 0.0}),
    ("{type: constant, intervals: [{lr: 1}]}", {0: 1.0}),
    ("{type: constant, intervals: [{lr: '1.0E-4'}]}", {0: 1e-4}),
    ("{type: constant, intervals: [{lr: 1e-4}]}", {0: 1e-4}),  # a string to YAML 1.1
    ("{type: constant, intervals: [{lr: .5x}]}", {0: 5e-5}),
    ("{type: constant, intervals: [{lr: 1_0x}]}", {0: 1e-3}),
    ("{type: constant, intervals: [{lr: 5e-324}]}", {0: 5e-324}),
    ("{type: step_decay, intervals: [{init_lr: 0.5x, final_lr: 0.1x}]}", {0: 5e-5, 999: 5e-5}),
    ("{type: step_decay, intervals: [{start: 0, end: 999, lr: 1x}, {lr: 0.5x}]}", {998: 1e-4, 999: 5e-5}),
    ("{type: step_decay, intervals: [{start: 500, lr: 0.5x}]}", {499: 1e-4, 500: 5e-5}),
    ("{type: step_decay, intervals: [{end: 1, lr: 0.5x}, {lr: 0.25x}]}", {0: 5e-5, 1: 2.5e-5}),
    ("{type: step_decay, intervals: [{end: 0.3k, lr: 1x}, {lr: 0.5x}]}", {299: 1e-4, 300: 5e-5}),
    ("{type: step_decay, intervals: [{end: 1/3, lr: 1x}, {lr: 0.5x}]}", {333: 1e-4, 334: 5e-5}),
    ("{type: step_decay, intervals: [{end: 33.35%, lr: 1x}, {lr: 0.5x}]}", {333: 1e-4, 334: 5e-5}),
    ("{type: step_decay, intervals: [{end: 5.0e+2, lr: 1x}, {lr: 0.5x}]}", {499: 1e-4, 500: 5e-5}),
    ("{type: step_decay, intervals: [{end: 30%, lr: 1x}, {start: 0.7k, lr: 0.5x}]}", {699: 1e-4, 700: 5e-5}),
    ("{type: step_decay, intervals: [{end: 100, lr: 1x}, {end: 2M, lr: 0.5x}]}", {1000: 5e-5}),
    ("{type: step_decay, intervals: [{start: 0, lr: 1x}, {start: 5M, lr: 0.5x}]}", {1000: 1e-4}),
    ("{type: step_decay, intervals: [{end: 200%, lr: 0.5x}]}", {0: 5e-5, 1000: 5e-5}),
    ("{type: step_decay, intervals: [{lr: 2x, start: ~, end: ~, warmup: ~}]}", {0: 2e-4}),
    ("{intervals: [{type: constant, lr: 1x, end: 500}, {type: step_decay, lr: 0.5x}]}", {500: 5e-5}),
    ("{type: linear_decay, intervals: [{lr: 1x, final_lr: 0}]}", {0: 1e-4, 250: 7.5e-5, 1000: 0.0}),
    ("{type: linear_decay, intervals: [{lr: 0, final_lr: 1x}]}", {0: 0.0, 500: 5e-5, 1000: 1e-4}),
    ("{type: linear_decay, intervals: [{lr: 1x}]}", {0: 1e-4, 1000: 1e-4}),
    ("{type: linear_decay, intervals: [{end: 500, lr: 1x}, {lr: 0.5x}]}", {250: 7.5e-5, 500: 5e-5, 1000: 5e-5}),
    ("{type: linear_decay, intervals: [{end: 1/3, lr: 3x, final_lr: 0}]}", {100: 2.1e-4, 334: 0.0}),
    ("{type: constant, intervals: [{lr: 1x, warmup: 100%}]}", {0: 0.0, 500: 5e-5, 1000: 1e-4}),
    ("{type: constant, intervals: [{lr: 1x, warmup: 0}]}", {0: 1e-4}),
    ("{type: constant, intervals: [{lr: 1x, end: 500}, {lr: 0.5x, warmup: 100}]}", {550: 7.5e-5, 600: 5e-5}),
    ("{type: cosine_decay, intervals: [{lr: 1x, final_lr: 0.2x}]}", {0: 1e-4, 500: 6e-5, 1000: 2e-5}),
    ("{type: cosine_decay, intervals: [{lr: 0.2x, final_lr: 1x}]}", {0: 2e-5, 500: 6e-5, 1000: 1e-4}),
    ("{type: polynomial_decay, intervals: [{lr: 1x, final_lr: 0, power: 2}]}", {500: 2.5e-5}),
    ("{type: polynomial_decay, intervals: [{lr: 1x, final_lr: 0, power: 0.5}]}", {750: 5e-5}),
    ("{type: inverse_sqrt_decay, intervals: [{lr: 1x}]}", {0: 1e-4, 300: 5e-5, 800: 1e-4 / 3}),
    ("{type: inverse_sqrt_decay, intervals: [{lr: 1x, decay_interval: 1}]}", {3: 5e-5, 99: 1e-5}),
    ("{type: exponential_decay, intervals: [{lr: 1x, final_lr: 0.01x}]}", {500: 1e-5, 1000: 1e-6}),
    ("{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0.5, decay_interval: 10%}]}", {99: 1e-4, 200: 2.5e-5}),
    (
        "{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 0.25, decay_interval: 100, staircase: false}]}",
        {50: 5e-5, 100: 2.5e-5},
    ),
    ("{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 1, decay_interval: 1}]}", {1000: 1e-4}),
    ("{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 2, decay_interval: 500}]}", {999: 2e-4, 1000: 4e-4}),
    ("{type: exponential_decay, intervals: [{lr: 0, decay_rate: 0.5, decay_interval: 1}]}", {1000: 0.0}),
    ("{type: exponential_decay, intervals: [{lr: 1x, decay_rate: 1e-9, decay_interval: 1}]}", {1: 1e-13, 1000: 0.0}),
    ("{type: reduce_on_plateau, intervals: [{lr: 1x, patience: 0, min_lr: 1x}]}", {1000: 1e-4}),
    ("{type: step_decay, intervals: [{stage: 0, lr: 0.5x}]}", {0: 5e-5, 1000: 5e-5}),
    ("{type: step_decay, intervals: [{stage: S2_yaw_pitch_small, lr: 0.5x}]}", {0: 1e-4, 499: 1e-4, 500: 5e-5}),
    ("{type: step_decay, intervals: [{stage: '1', lr: 0.5x}, {stage: 9, lr: 0.1x}]}", {249: 1e-4, 1000: 5e-5}),
    ("{type: linear_decay, intervals: [{stage: 1, lr: 1x, final_lr: 0, duration: 10%}]}", {300: 5e-5, 350: 0.0}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(("text", "rates"), UNUSUAL, ids=[case[0] for case in UNUSUAL])
def test_an_unusual_schedule_runs(
    text: str, rates: dict[int, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["stage_steps=[0,250,500,750,1000]", f"steps={[*rates]}"]
    assert run_cli(preview, PREVIEW_CONFIG, PreviewSettings, [*arguments(tmp_path, text), *more]) == 0
    with (tmp_path / "lr_schedule.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(rates)
    assert [float(row["actor"]) for row in rows] == pytest.approx(list(rates.values()), rel=1e-12, abs=1e-320)
    assert {row["critic"] for row in rows} == {"0.0001"}
