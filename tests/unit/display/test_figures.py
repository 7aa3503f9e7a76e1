"""Figures: what they show is checked on the drawn objects, and that a picture is written whole."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from glideslope.display import figures as plots
from glideslope.runs.logger import Logger

STAGES = [(0.0, "S0_lock"), (100.0, "S1_yaw_small"), (5000.0, "S2_yaw_pitch_small")]
X = np.linspace(0, 10_000, 500)


def assert_drawn(path: Path, figure: Figure, x: float, rates: dict[str, float]) -> None:
    """A picture shows each curve, in its colour, at the place of this point."""
    pixels = imread(path)[..., :3]
    axes = figure.axes[0]
    colours = {line.get_label(): to_rgb(line.get_color()) for line in axes.lines}
    scale = len(pixels) / figure.bbox.height
    for name, rate in rates.items():
        column, above = axes.transData.transform((x, rate)) * scale
        row = len(pixels) - above
        around = pixels[round(row) - 2 : round(row) + 3, round(column) - 9 : round(column) + 10]  # dashes
        assert np.abs(around - colours[name]).max(axis=2).min() < 0.02, name


def is_picture(path: Path) -> bool:
    pixels = imread(path)
    return min(pixels.shape[:2]) > 300 and float(pixels[..., :3].std()) > 0.01


def test_three_rates_on_a_log_axis_with_named_stages(tmp_path: Path, drawn: list[Figure]) -> None:
    rates = {"encoder": np.full_like(X, 1e-4), "actor": 1e-4 * 0.999 ** (X / 10), "critic": 2e-4 - 1e-8 * X}
    plots.plot_learning_rates(tmp_path / "lr.png", X, rates, stages=STAGES, x_label="steps", note="assumed")
    axes = drawn[0].axes[0]
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    for name, values in rates.items():
        np.testing.assert_array_equal(curves[name], values)
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "learning rate")
    assert axes.get_xlim() == (0, 10_000)
    # S0's band is too narrow for any name; the others are named in full.
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["encoder", "actor", "critic"]
    assert [text.get_text() for text in axes.texts] == ["S1_yaw_small", "S2_yaw_pitch_small"]
    for at in (100, 300):
        at_place = {name: float(values[at]) for name, values in rates.items()}
        assert_drawn(tmp_path / "lr.png", drawn[0], X[at], at_place)


def test_steps_are_drawn_as_steps_and_seed_frames_shaded(tmp_path: Path, drawn: list[Figure]) -> None:
    rates = {"actor": [2e-4, 1e-4, 1e-4]}
    plots.plot_learning_rates(tmp_path / "lr.png", [0, 50, 100], rates, seed_end=20, held=True)
    axes = drawn[0].axes[0]
    assert [line.get_drawstyle() for line in axes.lines] == ["steps-post"]
    (shade,) = axes.patches
    assert shade.get_extents().transformed(axes.transData.inverted()).x1 == pytest.approx(20)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["actor", plots.SEED_LABEL]


def test_rows_with_nothing_but_rates_leave_no_gap(tmp_path: Path, drawn: list[Figure]) -> None:
    nan = math.nan
    train = {
        "frame": np.array([10.0, 18, 20, 30]),
        "curriculum/stage": np.array([0, nan, nan, 0]),
        "curriculum/success_rate_window": np.array([0.2, nan, nan, 0.4]),
    }
    plots.plot_training(tmp_path / "training.png", train, {})
    np.testing.assert_array_equal(drawn[0].axes[0].lines[0].get_xydata(), [[10, 0.2], [30, 0.4]])


def test_a_constant_rate_is_not_blown_up(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.plot_learning_rates(tmp_path / "lr.png", X, {"actor": np.full_like(X, 1e-4)})
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0.6e-4
    assert high > 1.8e-4


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("values", [np.zeros_like(X), np.full_like(X, math.nan), 1e-4 * X / X.max()])
@pytest.mark.filterwarnings("error")
def test_zeros_and_gaps_can_be_drawn(tmp_path: Path, values: plots.Array, scale: plots.Scale) -> None:
    plots.plot_learning_rates(tmp_path / "lr.png", X, {"encoder": values}, scale=scale, stages=STAGES[:1])
    assert is_picture(tmp_path / "lr.png")


def test_a_linear_axis_begins_at_zero_and_says_its_power_of_ten(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.plot_learning_rates(tmp_path / "lr.png", X, {"actor": 3e-4 * (1 - X / X.max())}, scale="linear")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim() == pytest.approx((0, 3.24e-4))
    assert axes.get_ylabel() == "learning rate ($10^{-4}$)"
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert {"0", "1", "2", "3"} <= set(ticks)


@pytest.mark.filterwarnings("error")
def test_a_log_axis_shows_a_fall_to_zero_as_a_line_out_of_the_axes(tmp_path: Path, drawn: list[Figure]) -> None:
    rates = np.where(X < 5000, 1e-4, 0.0)
    plots.plot_learning_rates(tmp_path / "lr.png", X, {"actor": rates})
    axes = drawn[0].axes[0]
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), rates)
    low, high = axes.get_ylim()
    assert 1e-5 < low < 1e-4 < high
    # In pixels: the zeros are clipped to a finite place below the axes.
    places = line.get_transform().transform(np.column_stack([X, rates]))
    assert np.isfinite(places).all()
    assert places[-1, 1] < axes.get_window_extent().y0


def test_the_way_up_from_zero_does_not_take_all_the_room() -> None:
    warm = 1e-4 * np.minimum(X / 100, 1.0)  # a hundredth of the axis
    low, high = plots.rate_limits(X, {"actor": warm})
    assert low > 1e-5
    assert high > 1e-4
    # What lasts longer is shown: here the lowest hundredth of the axis lies at 1e-8.
    low, _ = plots.rate_limits(X, {"actor": np.where(X < 9000, 1e-4, 1e-8)})
    assert low < 1e-8


def test_a_long_note_is_broken_into_lines_that_fit(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.plot_learning_rates(tmp_path / "lr.png", X, {"actor": X + 1}, note="it is assumed that " * 12)
    note = drawn[0].get_supxlabel()
    assert note.count("\n") == 1
    assert max(map(len, note.split("\n"))) <= 125


FALLING = {"encoder": np.array([3e-4, 2e-4, 1e-4])}
NUMBER = r"(-?[\d.]+)"


def stroked(path: Path) -> list[list[tuple[float, float]]]:
    """The lines of three points that a picture for print holds, in points from its upper left corner."""
    if path.suffix == ".svg":
        picture = ElementTree.parse(path).getroot()
        drawn = [shape.get("d", "") for shape in picture.iter("{http://www.w3.org/2000/svg}path")]
        pattern, height = rf"M {NUMBER} {NUMBER}\s+L {NUMBER} {NUMBER}\s+L {NUMBER} {NUMBER}\s*$", 0.0
    else:
        content = path.read_bytes()
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        drawn = [zlib.decompress(stream).decode("latin-1") for stream in streams if stream[:1] == b"x"]
        drawn = [part for page in drawn for part in page.split("\nS\n")]
        pattern = rf"{NUMBER} {NUMBER} m\s+{NUMBER} {NUMBER} l\s+{NUMBER} {NUMBER} l\s*$"
        (box,) = re.findall(rb"/MediaBox \[ 0 0 [\d.]+ ([\d.]+) \]", content)
        height = float(box)
    found = [re.search(pattern, part.strip()) for part in drawn]
    numbers = [list(map(float, match.groups())) for match in found if match]
    return [[(x, abs(height - y)) for x, y in zip(line[::2], line[1::2], strict=True)] for line in numbers]


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_print_formats(tmp_path: Path, drawn: list[Figure], suffix: str) -> None:
    path = tmp_path / f"lr{suffix}"
    plots.plot_learning_rates(path, [0, 50, 100], FALLING, scale="linear")
    assert list(tmp_path.iterdir()) == [path]
    axes = drawn[0].axes[0]
    points = axes.transData.transform(np.column_stack([[0, 50, 100], FALLING["encoder"]]))
    points *= 72 / drawn[0].dpi
    points[:, 1] = 72 * drawn[0].get_figheight() - points[:, 1]
    lines = stroked(path)
    assert any(np.allclose(line, points, atol=0.01) for line in lines), (lines, points)


def test_a_curve_of_another_length_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"actor: \(3,\) rates for \(500,\) places"):
        plots.plot_learning_rates(tmp_path / "lr.png", X, {"actor": [1e-4] * 3})
    assert not list(tmp_path.iterdir())


def test_stage_entries_are_first_frames_and_skip_unknown_stages() -> None:
    frame = np.array([0.0, 10, 20, 30, 40, 50])
    stage = np.array([0.0, 0, math.nan, 1, 1, 2])
    assert plots.stage_entries(frame, stage, ["S0", "S1"]) == [(0, "S0"), (30, "S1"), (50, "stage 2")]
    assert plots.stage_entries(frame[:0], stage[:0]) == []


@pytest.mark.filterwarnings("error")
def test_the_pictures_of_a_run_folder(tmp_path: Path, drawn: list[Figure]) -> None:
    with Logger(tmp_path) as logger:
        for frame in range(0, 3000, 100):
            stage, rate = frame // 1000, None if frame < 200 else 1e-4
            logger.log_train(
                frame,
                {
                    "lr_encoder": rate,
                    "lr_actor": rate,
                    "lr_critic": rate,
                    "curriculum/stage": stage,
                    "curriculum/success_rate_window": frame % 1000 / 1000,
                },
            )
        for frame in (1000, 2000):
            logger.log_eval(frame, {"eval/success_rate": 0.9})
    paths = plots.plot_run(tmp_path, stage_names=["S0_lock", "S1_yaw_small"])
    assert [path.name for path in paths] == ["learning_rates.png", "training.png"]
    assert all(is_picture(path) for path in paths)
    assert [line.get_label() for line in drawn[0].axes[0].lines][:3] == ["encoder", "actor", "critic"]
    success, stage_axes = drawn[1].axes
    assert [text.get_text() for text in stage_axes.get_yticklabels()] == [
        "S0_lock",
        "S1_yaw_small",
        "stage 2",
    ]
    # The window starts anew with each stage: the curve is broken there, not drawn as a fall.
    window = np.asarray(success.lines[0].get_ydata(), dtype=float)
    assert np.flatnonzero(np.isnan(window)).tolist() == [10, 21]
    assert success.get_xlim() == (0, 2900)


def test_a_run_of_one_row_and_no_evaluation(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        logger.log_train(0, {"curriculum/stage": 0, "curriculum/success_rate_window": None, "lr_actor": 1e-4})
    assert all(is_picture(path) for path in plots.plot_run(tmp_path))


def test_a_run_without_rows_or_columns_says_so(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("frame,curriculum/stage\n")
    with pytest.raises(ValueError, match="has no rows yet"):
        plots.plot_run(tmp_path)
    (tmp_path / "train.csv").write_text("frame,a\n1,2\n")
    with pytest.raises(ValueError, match="no column 'curriculum/stage': there are frame, a"):
        plots.plot_run(tmp_path)
