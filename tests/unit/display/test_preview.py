"""The preview: every example of the guide gives the curve it promises, and what is shown, written and refused."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import glideslope.display.preview
from glideslope.cli.main import CONFIG_DIR, PREVIEW_CONFIG, compose, run_cli
from glideslope.cli.preview import main
from glideslope.display.text_plot import short_count, text_plot
from glideslope.lr_scheduler import build_schedules
from glideslope.settings import PreviewSettings
from tests.support.guide import EXPONENTIAL_DECAY, PER_NETWORK, STEP_DECAY, YOUR_PRESET

SCRIPT = CONFIG_DIR.parent / "preview_lr_schedule.py"
FULL = 6_000_000
NETWORKS = ("encoder", "actor", "critic")

Rate = Callable[[int], float]


pytestmark = pytest.mark.usefixtures("workplace")


def preview(*argv: str) -> int:
    return run_cli(main, PREVIEW_CONFIG, PreviewSettings, list(argv))


def table(folder: Path = Path()) -> tuple[list[int], dict[str, list[float]]]:
    """Steps and rates of the CSV."""
    with open(folder / "lr_schedule.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", *NETWORKS]
    columns = list(zip(*rows, strict=True))
    rates = {name: [float(cell) for cell in column] for name, column in zip(NETWORKS, columns[1:], strict=True)}
    return [int(cell) for cell in columns[0]], rates


# --- The guide's examples -------------------------------------------------------------------------


def constant(rate: float) -> Rate:
    return lambda step: rate


def stairs(*stairs: tuple[int, float]) -> Rate:
    """(first step, rate) pairs."""
    return lambda step: [rate for start, rate in stairs if start <= step][-1]


def exponential(init: float, decay_rate: float, total: int = FULL) -> Rate:
    """A decay every 1/6000 of the training, until its end."""
    return lambda step: init * decay_rate ** (min(step, total) // (total // 6000))


def gentle(lr: float) -> Rate:
    return stairs((0, lr), (2_000_000, lr / 2), (4_000_000, lr / 4))


def aggressive(lr: float, total: int) -> Rate:
    starts = (0, total // 6, total // 3, total // 2, 2 * total // 3)
    return stairs(*zip(starts, (lr, 0.5 * lr, 0.25 * lr, 0.1 * lr, 0.05 * lr), strict=True))


def through_gentle(step: int) -> float:
    """gentle_decay's rates joined exponentially, held in the last third."""
    return 1e-4 * 0.5 ** min(step / 2_000_000, 2.0)


STAGES = (1.2e-4, 1e-4, 7e-5, 5e-5, 3e-5)

# Overrides; the rate of each network, or of all of them; where it changes its course.
EXAMPLES: dict[str, tuple[list[str], tuple[Rate, ...], list[int]]] = {
    "no schedule": ([], (constant(1e-4),), [3_000_000]),
    "constant": (["lr_schedule=constant"], (constant(1e-4),), [3_000_000]),
    "gentle_decay": (["lr_schedule=gentle_decay"], (gentle(1e-4),), [2_000_000, 4_000_000]),
    "aggressive_decay": (
        ["lr_schedule=aggressive_decay"],
        (aggressive(1e-4, FULL),),
        [1_000_000, 2_000_000, 3_000_000, 4_000_000],
    ),
    "stage_based": (
        ["lr_schedule=stage_based"],
        # Five stages, assumed to be entered at fifths of the training.
        (stairs(*zip(range(0, FULL, 1_200_000), STAGES, strict=True)),),
        [1_200_000, 2_400_000, 3_600_000, 4_800_000],
    ),
    "stage_based balanced, times given": (
        ["lr_schedule=stage_based", "curriculum_preset=balanced", "stage_steps=[0,400000,1M,50%,5.5e6]"],
        (stairs(*zip((0, 400_000, 1_000_000, 3_000_000, 5_500_000), STAGES, strict=True)),),
        [400_000, 1_000_000, 3_000_000, 5_500_000],
    ),
    "example 4: stage_based conservative": (
        ["lr_schedule=stage_based", "curriculum_preset=conservative"],
        (stairs(*zip(range(0, FULL, 1_500_000), STAGES[:4], strict=True)),),
        [1_500_000, 3_000_000, 4_500_000],
    ),
    "stage_based aggressive, two stages reached": (
        ["lr_schedule=stage_based", "curriculum_preset=aggressive", "stage_steps=[0,4M]"],
        (stairs((0, 1.2e-4), (4_000_000, 1e-4)),),
        [4_000_000],
    ),
    "one interval's rate": (
        ["lr_schedule=gentle_decay", "lr_schedule.encoder.intervals.0.lr=2.0e-4"],
        (
            stairs((0, 2e-4), (2_000_000, 5e-5), (4_000_000, 2.5e-5)),
            gentle(1e-4),
            gentle(1e-4),
        ),
        [2_000_000, 4_000_000],
    ),
    "one network's type": (
        ["lr_schedule=gentle_decay", "lr_schedule.actor.type=exponential_decay"],
        (gentle(1e-4), through_gentle, gentle(1e-4)),
        [2_000_000, 4_000_000],
    ),
    "exponential_smooth": (
        ["lr_schedule=exponential_smooth"],
        (exponential(1e-4, 0.9995),),
        [1000, 2000, 3_000_000, 5_999_000],
    ),
    "unstable: lower rate": (["lr=5.0e-5"], (constant(5e-5),), [1000]),
    "unstable: slower decay": (
        ["lr_schedule=exponential_smooth", "decay_rate=0.9998"],
        (exponential(1e-4, 0.9998),),
        [1000, 3_000_000, 5_999_000],
    ),
    "slow: higher rate": (["lr=2.0e-4"], (constant(2e-4),), [1000]),
    "differential": (
        ["lr_schedule=differential"],
        (
            stairs((0, 8e-5), (3_000_000, 4e-5)),
            exponential(1.2e-4, 0.9995),
            stairs((0, 1.5e-4), (1_000_000, 7e-5), (2_500_000, 3e-5)),
        ),
        [1000, 1_000_000, 2_500_000, 3_000_000],
    ),
    "example 1": (
        ["lr_schedule=gentle_decay", "curriculum_preset=balanced"],
        (gentle(1e-4),),
        [2_000_000, 4_000_000],
    ),
    "example 2": (
        ["lr_schedule=aggressive_decay", "lr=2.0e-4", "num_train_frames=3000000"],
        (aggressive(2e-4, 3_000_000),),
        [500_000, 1_000_000, 1_500_000, 2_000_000],
    ),
    "example 3": (
        [
            "lr_schedule=differential",
            "lr_schedule.encoder.intervals.0.lr=1.0e-4",
            "lr_schedule.actor.intervals.0.init_lr=1.5e-4",
            "lr_schedule.critic.intervals.0.lr=2.0e-4",
        ],
        (
            stairs((0, 1e-4), (3_000_000, 4e-5)),
            exponential(1.5e-4, 0.9995),
            stairs((0, 2e-4), (1_000_000, 7e-5), (2_500_000, 3e-5)),
        ),
        [1000, 1_000_000, 2_500_000, 3_000_000],
    ),
    "one network's base rate": (
        ["lr_actor=3.0e-4", "lr_schedule=gentle_decay"],
        (gentle(1e-4), gentle(3e-4), gentle(1e-4)),
        [2_000_000, 4_000_000],
    ),
    "warmup_cosine": (
        ["lr_schedule=warmup_cosine"],
        # The first 2% climb from 0 to the cosine.
        (lambda step: (5e-6 + 0.5 * 9.5e-5 * (1 + np.cos(np.pi * min(step, FULL) / FULL))) * min(step / 120_000, 1),),
        [120_000, 3_000_000],
    ),
}

FILES: dict[str, tuple[str, tuple[Rate, ...], list[int]]] = {
    "step_decay": (
        STEP_DECAY,
        (
            stairs((0, 1e-4), (1_000_000, 5e-5), (3_000_000, 1e-5)),
            constant(1e-4),
            constant(1e-4),
        ),
        [1_000_000, 3_000_000],
    ),
    "exponential_decay": (
        EXPONENTIAL_DECAY,
        # 1000 decays in a million steps, then held.
        (lambda step: 1e-4 * 0.999 ** min(step // 1000, 1000), constant(1e-4), constant(1e-4)),
        [1000, 500_000, 1_000_000],
    ),
    "per network": (
        PER_NETWORK,
        (
            constant(8e-5),
            lambda step: 1.2e-4 * 0.999 ** min(step // 5000, 400),
            stairs((0, 1.5e-4), (1_000_000, 5e-5)),
        ),
        [5000, 1_000_000, 2_000_000, 3_000_000],
    ),
}


def check(overrides: list[str], rates: tuple[Rate, ...], turns: list[int], total: int = FULL) -> None:
    """The CSV at the start, around each turn and the end, and past it, against plain formulas."""
    around = [turn + offset for turn in [*turns, total] for offset in (-1, 0, 1)]
    steps = [0, 1, *around, 3 * total, 10**9]
    assert preview(*overrides, f"steps={steps}".replace(" ", "")) == 0
    shown, found = table()
    assert shown == steps
    for network, rate in zip(NETWORKS, rates * 3 if len(rates) == 1 else rates, strict=True):
        expected = [rate(step) for step in steps]
        assert found[network] == pytest.approx(expected, rel=1e-12, abs=1e-30), network


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.usefixtures("no_picture")
def test_examples_of_the_guide(name: str) -> None:
    overrides, rates, turns = EXAMPLES[name]
    check(overrides, rates, turns, 3_000_000 if "num_train_frames=3000000" in overrides else FULL)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("no_picture")
def test_schedules_of_the_guide_as_files(name: str, tmp_path: Path) -> None:
    text, rates, turns = FILES[name]
    (tmp_path / "files" / "lr_schedule").mkdir(parents=True)
    (tmp_path / "files" / "lr_schedule" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    check(["--config-dir", str(tmp_path / "files"), "lr_schedule=mine"], rates, turns)


@pytest.mark.usefixtures("no_picture")
def test_a_preset_dropped_into_the_folder(cfgs: Path) -> None:
    (cfgs / "lr_schedule" / "your_preset_to_preview.yaml").write_text(YOUR_PRESET, encoding="utf-8")
    words = [f"--config-path={cfgs}", "lr_schedule=your_preset_to_preview"]
    check(words, (stairs((0, 1e-4), (2_000_000, 5e-5)),), [2_000_000])


# --- What is sampled ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "turns"),
    [
        (["lr_schedule=gentle_decay"], [2_000_000, 4_000_000]),
        # Thirds of 5,000,000 fall between steps: the first step in each interval is the next one.
        (["lr_schedule=gentle_decay", "num_train_frames=5M"], [1_666_667, 3_333_334]),
        (["lr_schedule=stage_based", "stage_steps=[0,7,8,4999999]"], [7, 8, 4_999_999]),
        (["lr_schedule=warmup_cosine", "lr_schedule.actor.intervals.0.warmup=77"], [77, 120_000]),
        # Too short to be hit by points spread evenly.
        (
            ["lr_schedule=gentle_decay", "lr_schedule.critic.intervals=[{lr: 1x, end: 1000001}, {lr: 0.1x, end: "
             "1000003}, {lr: 1x}]"],
            [1_000_001, 1_000_003],
        ),
        (
            ["lr_schedule=exponential_smooth", "lr_schedule.actor.intervals.0.decay_interval=7001"],
            [7001, 70_010, 5_999_857],
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_picture")
def test_the_whole_training_is_sampled_with_both_sides_of_each_turn(overrides: list[str], turns: list[int]) -> None:
    assert preview(*overrides) == 0
    steps, _ = table()
    total = 5_000_000 if "num_train_frames=5M" in overrides else FULL
    assert (steps[0], steps[-1]) == (0, total)
    assert steps == sorted(set(steps))
    assert max(later - earlier for earlier, later in pairwise(steps)) <= total / 1000
    for turn in turns:
        assert {turn - 1, turn} <= set(steps), turn


@pytest.mark.usefixtures("no_picture")
def test_rates_read_back_exactly_and_do_not_depend_on_the_sampling() -> None:
    assert preview("lr_schedule=warmup_cosine") == 0
    steps, rates = table()
    settings = compose(PREVIEW_CONFIG, ["lr_schedule=warmup_cosine"], PreviewSettings).settings
    schedules = build_schedules(settings.lr_schedule, base=settings.base_rates, total_steps=FULL)
    assert rates == {network: [schedules[network](step) for step in steps] for network in NETWORKS}
    some = steps[::97]
    assert preview("lr_schedule=warmup_cosine", f"steps={some}".replace(" ", "")) == 0
    again, found = table()
    assert again == some
    assert found == {network: values[::97] for network, values in rates.items()}


@pytest.mark.usefixtures("no_picture")
def test_steps_are_kept_in_the_order_given_and_may_be_written_in_any_unit() -> None:
    assert preview("lr_schedule=gentle_decay", "num_train_frames=5M", "steps=[5M,1.0e6,0,40%,0,1/3,2k]") == 0
    # A third of 5,000,000 is shown at the first step of the interval that begins there.
    assert table()[0] == [5_000_000, 1_000_000, 0, 2_000_000, 0, 1_666_667, 2000]
    assert table()[1]["actor"][-2] == 5e-5


@pytest.mark.usefixtures("no_picture")
def test_a_training_of_few_steps_shows_each_of_them() -> None:
    assert preview("lr_schedule=stage_based", "profile=smoke", "num_train_frames=300") == 0
    steps, rates = table()
    assert steps == list(range(301))
    assert rates["actor"] == [STAGES[min(step // 60, 4)] for step in steps]


# --- What is written and said ---------------------------------------------------------------------


def test_picture_and_table_go_to_a_new_folder_and_nothing_else_is_left(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview("lr_schedule=stage_based", "out=new/folder", "scale=linear") == 0
    folder = workplace / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["lr_schedule.csv", "lr_schedule.png"]
    assert [path.name for path in workplace.iterdir()] == ["new"]
    assert imread(folder / "lr_schedule.png").shape[1] > 1000
    out = capsys.readouterr().out
    assert "Written: new/folder/lr_schedule.png and new/folder/lr_schedule.csv" in out


def test_the_picture_gets_stages_scale_and_the_assumption(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        glideslope.display.preview, "plot_learning_rates", lambda *args, **named: drawn.append((args, named))
    )
    assert preview("lr_schedule=stage_based", "curriculum_preset=conservative", "steps=[0]") == 0
    assert preview("lr_schedule=gentle_decay", "stage_steps=[0,2M,7M]", "scale=linear") == 0
    assert preview("lr_schedule=gentle_decay") == 0
    (assumed, given, plain) = drawn
    assert assumed[1]["stages"] == [
        *((0, "S0_lock"), (1_500_000, "S1_yaw_small")),
        *((3_000_000, "S2_yaw_pitch_small"), (4_500_000, "S3_mid")),
    ]
    assert "stages assumed evenly spread" in assumed[1]["note"]
    # The picture shows the whole curve whatever steps are tabled.
    assert assumed[0][1][-1] == FULL
    assert len(assumed[0][1]) > 2000
    # The third stage is never entered.
    assert given[1]["stages"] == [(0, "S0_lock"), (2_000_000, "S1_yaw_small")]
    assert (given[1]["note"], given[1]["scale"]) == ("", "linear")
    assert (plain[1]["stages"], plain[1]["scale"]) == ([], "log")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["lr_schedule=stage_based"], "evenly spread, stage_steps=[0,1.2M,2.4M,3.6M,4.8M]"),
        (["lr_schedule=stage_based", "curriculum_preset=conservative"], ".{encoder,actor,critic}.intervals.4"),
        (["lr_schedule=exponential_smooth", "decay_rate=1.0001"], "greater than 1"),
        (["lr=2e-4", "lr_schedule={actor: {type: constant, intervals: [{lr: 1e-4}]}, encoder: {type: constant, "
          "intervals: [{lr: 1e-4}]}, critic: {type: constant, intervals: [{lr: 1e-4}]}}"], "lr: has no effect"),
        (["lr_schedule=gentle_decay", "lr_schedule.critic.intervals.1.lr=0"], "critic: rates of 0 lie below"),
        (["lr_schedule=gentle_decay", "lr_schedule.critic.type=reduce_on_plateau"], "critic: drawn without the red"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_picture")
def test_notes(overrides: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert preview(*overrides) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert any(told in note for note in notes), notes


@pytest.mark.usefixtures("no_picture")
def test_ordinary_presets_have_no_notes(capsys: pytest.CaptureFixture[str]) -> None:
    for preset in ("constant", "gentle_decay", "warmup_cosine", "differential"):
        assert preview(f"lr_schedule={preset}") == 0
    assert "Note: " not in capsys.readouterr().out


# --- The drawing in the terminal ------------------------------------------------------------------


def lines(x: object, rates: dict[str, object], **options: object) -> list[str]:
    return text_plot(np.array(x), {k: np.array(v, float) for k, v in rates.items()}, **options).plain.split(  # type: ignore[arg-type]
        "\n"
    )


@pytest.mark.parametrize(("ascii_only", "mark"), [(False, "\N{LIGHT SHADE}"), (True, ".")])
def test_a_drawing_shades_the_seed_frames(ascii_only: bool, mark: str) -> None:
    """70 columns of steps 0 to 699: those of the first 100 steps are ten."""
    options: dict[str, object] = {"limits": (1.0, 15.0), "log": False, "ascii_only": ascii_only}
    shown = lines([0, 699], {"actor": [15, 15]}, seed_end=100, **options)
    assert shown[0].endswith(f"{mark} no updates yet")
    assert shown[3].partition("|" if ascii_only else "│")[2].rstrip() == mark * 10
    assert not any(mark in line[9:] for line in lines([0, 699], {"actor": [15, 15]}, seed_end=5, **options)[1:-1])


def test_a_drawing_places_curves_ticks_and_stages() -> None:
    # 80 columns: 8 of labels, the axis, 70 of steps 0 to 690. 15 rows: rates from 15 to 1 on a linear axis.
    x = [0, 299, 300, 690]
    shown = lines(
        x,
        {"encoder": [8, 8, 8, 8], "actor": [15, 15, 1, 1], "critic": [15, 15, 1, 1]},
        limits=(1.0, 15.0),
        log=False,
        stages=[(0, "S0_lock"), (500, "S1_yaw")],
        x_label="steps",
    )
    assert shown[0] == "learning rate   e encoder   o actor, critic   * where curves meet"
    assert shown[1] == f"{' ' * 9}S0_lock{' ' * 43}S1_yaw"
    rows = [line[9:].ljust(70) for line in shown[2:17]]
    assert rows[0] == ("o" * 31).ljust(50) + "┊".ljust(20)
    assert rows[14] == " " * 30 + "o" * 40
    assert rows[7] == "e" * 30 + "*" + "e" * 39
    assert rows[3] == (" " * 30 + "o").ljust(50) + "┊".ljust(20)
    assert shown[19].strip() == "steps"
    assert max(map(len, shown)) <= 80


@pytest.mark.parametrize("log", [True, False])
def test_ticks_stand_beside_their_rates(log: bool) -> None:
    limits = (1e-6, 1e-3) if log else (0.0, 1e-3)
    for rate, label in [(1e-5, "1e-5"), (1e-4, "1e-4")] if log else [(6e-4, "6.0e-4"), (1e-3, "1.0e-3")]:
        shown = lines([0, 100], {"actor": [rate, rate]}, limits=limits, log=log)
        (row,) = [line for line in shown[1:16] if "aaa" in line]
        assert row.startswith(f"{label:>8}┤aaaa")


def test_rates_beyond_the_axis_leave_the_drawing_at_the_bottom() -> None:
    shown = lines([0, 50, 51, 100], {"actor": [1e-4, 1e-4, 0, 0]}, limits=(1e-5, 2e-4), log=True)
    bottom = shown[15][9:]
    assert bottom.count("a") == 1
    assert not any("a" in line[9 + 40 :] for line in shown[1:16])


def test_a_drawing_without_line_characters_and_in_colour() -> None:
    plain = text_plot(
        np.array([0, 100]),
        {"actor": np.array([1e-4, 1e-4]), "critic": np.array([2e-4, 2e-4])},
        limits=(5e-5, 4e-4),
        log=True,
        stages=[(0, "a"), (50, "b")],
        width=60,
        ascii_only=True,
    )
    assert plain.plain.isascii()
    assert max(map(len, plain.plain.split("\n"))) <= 60
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system="standard", width=60).print(plain)
    # Two curves in two colours.
    assert len(set(re.findall(r"\x1b\[(9[14]|32)m[ac]+", screen.getvalue()))) == 2


@pytest.mark.parametrize(
    ("steps", "text"), [(0, "0"), (600, "600"), (1500, "1.5k"), (2e6, "2M"), (1_234_567, "1.234567M")]
)
def test_short_counts_are_exact(steps: float, text: str) -> None:
    assert short_count(steps) == text


# --- What is refused ------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one fault of a command line, after which nothing is left."""
    before = sorted(Path.cwd().rglob("*"))
    assert preview(*argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(Path.cwd().rglob("*")) == before
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    return err.removeprefix("Error: ").strip()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("steps=[]", "steps=[]: must have at least 1"),
        ("steps=7", "steps=7: must be a list, written [7]"),
        ("steps=all", "steps=all: must be a list"),
        ("steps=[5,-1]", "steps.1=-1: must not be negative"),
        ("steps=[0.5]", "steps.0=0.5: steps are whole numbers"),
        ("steps=[nan]", "steps.0=nan: must be a finite number"),
        ("steps=[inf]", "steps.0=inf: must be a finite number"),
        ("steps=[0,first]", "steps.1=first: a time is a number of steps"),
        ("steps=[true]", "steps.0=true: a time is a number of steps"),
        ("steps=[[1]]", "steps.0=[1]: a time is a number of steps"),
        ("steps=[1e16]", "steps.0=1e+16: must not be more than 1e15"),
        ("stage_steps=[]", "stage_steps=[]: must have at least 1"),
        ("stage_steps=[5]", "stage_steps.0=5: must be 0"),
        ("stage_steps=[0,9,8]", "stage_steps.2=8: must not be before stage 1 is entered, at step 9"),
        ("stage_steps=[0,1,2,3,4,5]", "stage_steps=[0, 1, 2, 3, 4, 5]: must have at most 5 of them"),
        ("stage_steps=[0,-3]", "stage_steps.1=-3: must not be negative"),
        ("scale=lin", "scale=lin: must be log or linear; did you mean linear?"),
        ("out=3", "out=3: must be text"),
        ("step=[1]", "step=[1]: unknown key; did you mean steps?"),
        ("lr_schedule=stage_basd", "lr_schedule=stage_basd: must be "),
        ("lr_schedule.actor.type=constant", "lr_schedule.actor.intervals: is missing; choose a preset"),
        ("num_train_frames=x", "num_train_frames=x: must be a whole number"),
    ],
)
def test_malformed_command_lines(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, word).startswith(told)


def test_all_faults_are_in_one_report(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "lr_schedule=gentle_decay",
        "lr_schedule.actor.intervals.0.lr=-1",
        "steps=[-1,2,x]",
        "lr_critic=7",
    ]
    assert preview(*argv) == 2
    err = capsys.readouterr().err
    for key in ("lr_schedule.actor.intervals.0.lr=-1", "steps.0=-1", "steps.2=x", "lr_critic=7"):
        assert f"  {key}: " in err


def test_fewer_stages_are_reached_by_a_shorter_curriculum(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "curriculum_preset=conservative", "stage_steps=[0,1,2,3,4]")
    assert told.endswith("one for each stage: S0_lock, S1_yaw_small, S2_yaw_pitch_small and S3_mid")


def test_folders_that_cannot_be_written_to(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "file").write_text("mine")
    (workplace / "taken" / "lr_schedule.csv").mkdir(parents=True)
    assert refused(capsys, "out=file") == "out=file: can't write file: File exists"
    assert refused(capsys, "out=file/below") == "out=file/below: can't write file/below: Not a directory"
    assert refused(capsys, "out=taken") == "out=taken: can't write taken/lr_schedule.csv: is a folder"
    assert refused(capsys, "out=/proc/no").startswith("out=/proc/no: can't write /proc/no: ")
    assert (workplace / "file").read_text() == "mine"


def test_a_failed_write_leaves_the_old_files(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview() == 0
    before = {path.name: path.read_bytes() for path in workplace.iterdir()}

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert preview("lr=3e-4") == 2
    assert capsys.readouterr().err == "Error: out=.: can't write lr_schedule.png: No space left on device\n"
    assert {path.name: path.read_bytes() for path in workplace.iterdir()} == before


def test_settings_are_those_of_a_training_and_the_four_of_the_preview() -> None:
    composed = compose(PREVIEW_CONFIG, ["profile=cpu", "lr_schedule=gentle_decay"], PreviewSettings)
    assert composed.settings.profile == "cpu"
    assert composed.settings.lr == 5e-4
    extra = {name: composed.mapping[name] for name in ("steps", "stage_steps", "scale", "out")}
    assert extra == {"steps": None, "stage_steps": None, "scale": "log", "out": "."}


# --- The script -----------------------------------------------------------------------------------


def run_script(folder: Path, *argv: str, program: tuple[str, ...] = (str(SCRIPT),)) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, *program, *argv], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_script_shows_and_writes(workplace: Path) -> None:
    status, out, err = run_script(workplace, "lr_schedule=differential", "steps=[0,1000000]")
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "e encoder   a actor   c critic   * where curves meet" in out
    assert re.search(r"1,000,000 │ +8e-05 │ +7.2774\d+e-05 │ +7e-05", out)
    assert sorted(path.name for path in workplace.iterdir()) == ["lr_schedule.csv", "lr_schedule.png"]
    assert table()[0] == [0, 1_000_000]


def test_the_script_refuses_without_a_traceback(workplace: Path) -> None:
    assert run_script(workplace, "steps=[-1]") == (2, "", "Error: steps.0=-1: must not be negative\n")
    assert list(workplace.iterdir()) == []


def test_the_script_loads_neither_torch_nor_the_simulator(workplace: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); sys.argv[0] = 'preview'\n"
        "from glideslope.cli.entry import start\n"
        "assert start('preview') == 0\n"
        "heavy = {'torch', 'mujoco', 'mujoco_warp', 'warp', 'gymnasium', 'tensorboard', 'imageio'}\n"
        "assert 'matplotlib' in sys.modules\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    status, out, err = run_script(workplace, "lr_schedule=stage_based", program=("-c", code))
    assert (status, err) == (0, "")
    assert out.endswith("heavy: []\n")


# --- Mended faults --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "overrides",
    [
        ["lr=5e-324"],
        ["lr_schedule=warmup_cosine", "lr=1e-318"],
        ["lr_schedule=warmup_cosine", "lr=1e-310", "scale=linear"],
        ["lr=1e-323", "scale=linear"],
        # A divisor beyond an int64.
        [
            "lr_schedule=exponential_smooth",
            "lr_schedule.actor.intervals.0.decay_interval=3333333333333333333/10000000000000000000",
        ],
    ],
    ids=" ".join,
)
def test_extreme_numbers_are_drawn(overrides: list[str]) -> None:
    assert preview(*overrides) == 0
    assert Path("lr_schedule.png").exists()


@pytest.mark.parametrize("folder", ["José", "a(1)", "it's", "a b=c", "#&"])
@pytest.mark.usefixtures("no_picture")
def test_any_folder_can_be_named(folder: str) -> None:
    assert preview(f"out={folder}") == 0
    assert (Path(folder) / "lr_schedule.csv").exists()


@pytest.mark.slow
def test_a_terminal_without_the_letters_of_the_folder_is_no_obstacle(workplace: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "out=ü"],
        cwd=workplace,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\xfc/lr_schedule.png" in done.stdout


def test_a_rate_that_no_network_has_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    assert preview("lr=2e-4", "lr_encoder=1e-4", "lr_actor=1e-4", "lr_critic=1e-4") == 0
    assert "Note: lr: has no effect: every network has a base rate of its own" in capsys.readouterr().out


@pytest.mark.usefixtures("no_picture")
def test_a_narrow_terminal_loses_no_digits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert preview("lr_schedule=differential", "steps=[0,1000000]") == 0
    assert "7.27746e-05" in capsys.readouterr().out
