"""Figures, all in one style and so in one place: learning rates, the way through the curriculum, landings.

A figure's format follows the file's suffix (.png, .pdf, .svg). No display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glideslope.display.results import place_label
from glideslope.settings import SWEPT
from glideslope.storage.atomic_files import replacing
from glideslope.storage.csv_table import read_csv_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TINIEST = 1e-290  # no axis goes below this; arithmetic on numbers much smaller loses its digits
Array = NDArray[np.float64]
Stages = Sequence[tuple[float, str]]
Scale: TypeAlias = Literal["log", "linear"]

# Okabe & Ito's palette, told apart by colour-blind readers too. Widths and dashes differ as well: curves that
# coincide lie on each other like the layers of a cable, each one visible, in grey print too.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#595959"
_CURVES: dict[str, dict[str, Any]] = {
    "encoder": {"color": "#8FC3E3", "linewidth": 4.2},
    "actor": {"color": _VERMILION, "linewidth": 2.2, "dashes": (4, 2.5)},
    "critic": {"color": "#00664A", "linewidth": 1.0},
}
_POLICIES: dict[str, dict[str, Any]] = {
    "trained": {"color": _BLUE, "marker": "o", "markersize": 6, "linewidth": 1.8},
    "expert": {"color": "#00664A", "marker": "s", "markersize": 4.5, "linestyle": (0, (4, 2.5))},
    "fixed_camera": {"color": _VERMILION, "marker": "^", "markersize": 5.5, "linestyle": (0, (2, 1.5))},
    "random": {"color": _GREY, "marker": "X", "markersize": 5.5, "linestyle": (0, (1, 1.5))},
}
_MOST_ANNOTATED = 8  # values along an axis; numbers in more cells than that could not be read
SEED_LABEL = "seed frames: no updates"
_SEED_STYLE: Any = {"facecolor": "none", "edgecolor": "0.6", "hatch": "////", "linewidth": 0}
_BANDS = ("#FFFFFF", "#EEF1F5")
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_WIDTH_INCHES = 6.8


def plot_learning_rates(
    path: Path,
    x: ArrayLike,
    rates: Mapping[str, ArrayLike],
    *,
    scale: Scale = "log",
    stages: Stages = (),
    x_label: str = "frames",
    title: str = "",
    note: str = "",
    seed_end: float = 0.0,
    held: bool = False,
    others: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Draw learning rates, the curriculum's stages as bands behind them. The folder must exist.

    Args:
        x: (T,) increasing frames or steps.
        rates: (T,) learning rates by network name. Zeros can't be drawn on a logarithmic axis: where a rate
            falls to zero, the curve leaves the axes at the bottom. NaN is a gap.
        stages: (x at which it is entered, name) of each stage, in order; none for no bands.
        note: a line below the picture, for what the reader must know, such as that the stages' times are assumed.
        seed_end: x before which no update is made; what lies there is shaded.
        held: whether a rate holds until the next `x`; otherwise the points are joined.
        others: (T,) numbers by name that are scheduled besides, each drawn below on a linear axis of its own.

    Raises:
        ValueError: a curve whose shape is not that of `x`.
    """
    x = np.asarray(x, dtype=np.float64)
    curves = {name: np.asarray(values, dtype=np.float64) for name, values in rates.items()}
    below = {name: np.asarray(values, dtype=np.float64) for name, values in (others or {}).items()}
    for name, curve in (*curves.items(), *below.items()):
        if curve.shape != x.shape:
            raise ValueError(f"{name}: {curve.shape} rates for {x.shape} places on the x axis")
    drawn = "steps-post" if held else "default"
    with drawing(path, height=2.9 + 1.2 * len(below)) as figure:
        ratios = [2.4, *(1.0 for _ in below)]
        axes, *smaller = figure.subplots(len(ratios), squeeze=False, height_ratios=ratios)[:, 0]
        for name, curve in curves.items():
            style = _CURVES.get(name, {"color": _GREY, "linewidth": 1.2})
            axes.plot(x, curve, label=name, solid_capstyle="butt", drawstyle=drawn, **style)
        for other, (name, curve) in zip(smaller, below.items(), strict=True):
            other.plot(x, curve, color=_GREY, linewidth=1.4, drawstyle=drawn)
            other.set_title(name, loc="left", fontsize="medium")
            count_axis(other, x, x_label)
            _draw_bands(other, stages)
            other.grid(axis="y", which="major", color="0.88", linewidth=0.6)
        if seed_end > 0:
            axes.axvspan(0, seed_end, label=SEED_LABEL, zorder=0.4, **_SEED_STYLE)
        rate_axis(axes, rate_limits(x, curves, scale), scale)
        count_axis(axes, x, x_label)
        _draw_bands(axes, stages)
        axes.grid(axis="y", which="major", color="0.88", linewidth=0.6)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.6)
        _captions(figure, axes, title, note)
        _name_bands(figure, axes, stages)


def rate_limits(x: ArrayLike, rates: Mapping[str, ArrayLike], scale: Scale = "log") -> tuple[float, float]:
    """Return the lowest and the highest learning rate that an axis should show.

    A logarithmic axis leaves out what a curve passes through in less than a hundredth of its length: the way
    up from zero in a warm-up, or down to it, would take all the room.
    """
    x = np.asarray(x, dtype=np.float64)
    lows, highs = [], []
    for curve in (np.asarray(values, dtype=np.float64) for values in rates.values()):
        known = np.isfinite(curve) & np.isfinite(x)
        if not known.any():
            continue
        even = np.interp(np.linspace(x[known].min(), x[known].max(), 1001), x[known], curve[known])
        highs.append(curve[known].max())
        lows += [np.quantile(even[even > 0], 0.01)] if (even > 0).any() else []
    high = max(max(highs, default=0.0) or 1.0, _TINIEST)
    if scale == "linear":
        return 0.0, high * 1.08
    low = max(min(lows, default=high), _TINIEST)
    if high < 4 * low:
        # A constant rate is a line in the middle, not noise blown up.
        low, high = low / 2, high * 2
    return low / 1.25, high * 1.25


def plot_training(
    path: Path,
    train: Mapping[str, Array],
    evaluation: Mapping[str, Array],
    *,
    stage_names: Sequence[str] = (),
    title: str = "",
) -> None:
    """Draw the success rate (training window and evaluations) and the curriculum's stage over frames.

    Of train.csv `frame`, `curriculum/stage` and `curriculum/success_rate_window` are read, of eval.csv, which may be
    empty, `frame` and `eval/success_rate`. Stages without names by index are numbered. The folder must exist.

    Raises:
        ValueError: `train` lacks one of its columns.
    """
    columns = ("frame", "curriculum/stage", "curriculum/success_rate_window")
    whole = np.isfinite(_column(train, "curriculum/stage"))  # rows at a jump have nothing but the rates
    frame, stage, success = (_column(train, name)[whole] for name in columns)
    stages = stage_entries(frame, stage, stage_names)
    top = max([int(value) for value in stage[np.isfinite(stage)]] or [0])
    with drawing(path, height=3.0 + 0.17 * (top + 1)) as figure:
        axes, below = figure.subplots(2, sharex=True, height_ratios=(2.4, 0.5 + 0.25 * top))
        axes.plot(*_broken_at_stages(frame, success, stage), color=_BLUE, linewidth=1.5, label="training window")
        if "eval/success_rate" in evaluation:
            style: Any = {"color": _VERMILION, "linewidth": 0.9, "marker": "o", "markersize": 3}
            axes.plot(evaluation["frame"], evaluation["eval/success_rate"], label="evaluation", **style)
        success_axis(axes, "success rate")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        below.step(frame, stage, where="post", color=_GREY, linewidth=1.5)
        below.set(ylabel="stage", ylim=(-0.5, top + 0.5), yticks=range(top + 1))
        below.set_yticklabels([_stage_name(index, stage_names) for index in range(top + 1)])
        x = np.concatenate([frame, evaluation.get("frame", frame[:0])])
        count_axis(below, x, "frames")
        for part in (axes, below):
            _draw_bands(part, stages)
        _captions(figure, axes, title, "")


def plot_run(run_dir: Path, *, stage_names: Sequence[str] = ()) -> list[Path]:
    """Draw `learning_rates.png` and `training.png` into a run folder from its tables; return their paths.

    Raises:
        OSError: the folder has no train.csv, or can't be written to.
        ValueError: a table is damaged, or has no rows.
    """
    train = read_csv_table(run_dir / "train.csv")
    evaluation = read_csv_table(run_dir / "eval.csv") if (run_dir / "eval.csv").exists() else {}
    if not len(_column(train, "frame")):
        raise ValueError(f"{run_dir / 'train.csv'} has no rows yet")
    stages = stage_entries(train["frame"], _column(train, "curriculum/stage"), stage_names)
    rates = {name: train[f"lr_{name}"] for name in _CURVES if f"lr_{name}" in train}
    paths = [run_dir / "learning_rates.png", run_dir / "training.png"]
    plot_learning_rates(paths[0], train["frame"], rates, stages=stages, title=run_dir.name)
    plot_training(paths[1], train, evaluation, stage_names=stage_names, title=run_dir.name)
    return paths


def plot_evaluation(path: Path, results: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """Draw success rates with their intervals: by condition, over the values of a sweep, or over the grid of two.

    The results are the entries of evaluation.json and evaluation_compared.json: `policy`, `stage`, `name`,
    `success_rate`, `low` and `high` of each, and the values that are swept. Of more than two that are swept, there is
    a grid for each combination of the others. The folder must exist.

    Raises:
        ValueError: there are no results.
    """
    if not results:
        raise ValueError("no results to draw")
    swept = [key for key in SWEPT if any(row.get(key) is not None for row in results)]
    whole = all(row.get(key) is not None for row in results for key in swept)
    if not swept or not whole:
        _plot_conditions(path, results, title)
    elif len(swept) == 1:
        _plot_sweep(path, results, swept[0], title)
    else:
        _plot_grid(path, results, swept[0], swept[1], title)


def _plot_conditions(path: Path, results: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw a row per condition, the policies below each other in it."""
    places, policies = list(dict.fromkeys(map(place_label, results))), _of(results, "policy")
    with drawing(path, height=1.1 + len(places) * (0.16 + 0.13 * len(policies))) as figure:
        axes = figure.subplots()
        for place, policy in enumerate(policies):
            rows = [row for row in results if row["policy"] == policy]
            offset = (place - (len(policies) - 1) / 2) * 0.75 / len(policies)
            y = [places.index(place_label(row)) + offset for row in rows]
            x, errors = _intervals(rows)
            axes.errorbar(x, y, xerr=errors, **{**_bars(policy), "linestyle": "none"})
        for edge in range(1, len(places)):
            axes.axhline(edge - 0.5, color="0.85", linewidth=0.6)
        axes.set(xlabel="landed, with 95% interval", xlim=(-0.02, 1.02), xticks=np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.set(ylim=(len(places) - 0.5, -0.5), yticks=range(len(places)), yticklabels=places)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        if len(policies) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(policies))
        _captions(figure, axes, title, "")


def _plot_sweep(path: Path, results: Sequence[Mapping[str, Any]], key: str, title: str) -> None:
    """Draw a panel per stage, a line in it per policy."""
    stages, policies = _of(results, "name"), _of(results, "policy")
    values = sorted({row[key] for row in results})
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    columns = min(len(stages), 3)
    lines = -(-len(stages) // columns)
    with drawing(path, height=0.7 + 2.2 * lines) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for panel in panels.flat[len(stages) :]:
            panel.set_axis_off()
        for axes, stage in zip(panels.flat, stages, strict=False):
            for place, policy in enumerate(policies):
                rows = [row for row in results if (row["policy"], row["name"]) == (policy, stage)]
                # A little apart, so that intervals at the same value can be told from each other.
                offset = (place - (len(policies) - 1) / 2) * 0.04 * step
                y, errors = _intervals(rows)
                axes.errorbar([row[key] + offset for row in rows], y, yerr=errors, **_bars(policy))
            axes.set_title(stage)
            success_axis(axes)
            axes.tick_params(labelbottom=True)
        for axes in panels.flat[max(0, len(stages) - columns) : len(stages)]:
            axes.set_xlabel(SWEPT[key].axis)
        for axes in panels[:, 0]:
            axes.set_ylabel("landed")
        if len(policies) > 1:
            handles, labels = panels[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(policies))
        _captions(figure, panels[0, 0], title, "")


def _plot_grid(path: Path, results: Sequence[Mapping[str, Any]], across: str, up: str, title: str) -> None:
    """Draw a map per policy, and stage with what else is swept: the darker, the fewer landings."""
    places = [place_label(row, without=(across, up)) for row in results]
    kinds, policies = list(dict.fromkeys(places)), _of(results, "policy")
    columns, lines = (sorted({row[key] for row in results}) for key in (across, up))
    numbered = max(len(columns), len(lines)) <= _MOST_ANNOTATED
    with drawing(path, height=0.9 + len(kinds) * max(1.5, 0.36 * len(lines) + 0.5)) as figure:
        panels = figure.subplots(len(kinds), len(policies), sharex=True, sharey=True, squeeze=False)
        for at, kind in enumerate(kinds):
            for axes, policy in zip(panels[at], policies, strict=True):
                rates = np.full((len(lines), len(columns)), np.nan)
                for row, place in zip(results, places, strict=True):
                    if (row["policy"], place) != (policy, kind):
                        continue
                    x, y = columns.index(row[across]), lines.index(row[up])
                    rates[y, x] = row["success_rate"]
                    if numbered:
                        _number_cell(axes, x, y, row)
                image = axes.imshow(rates, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
                axes.spines[:].set_visible(False)
                name = policy.replace("_", " ")
                axes.set_title(name if len(kinds) == 1 else f"{kind}\n{name}", fontsize=8)
        _value_ticks(panels, (across, columns), (up, lines))
        bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=30)
        bar.ax.yaxis.set_major_formatter("{x:.0%}")
        bar.set_label("landed")
        _captions(figure, panels[0, 0], title, "")


def _number_cell(axes: Axes, x: int, y: int, row: Mapping[str, Any]) -> None:
    rate = row["success_rate"]
    style: Any = {"ha": "center", "color": "white" if rate < 0.55 else "black"}
    axes.text(x, y + 0.02, f"{rate:.0%}", va="bottom", fontsize=6.5, **style)
    axes.text(x, y - 0.06, f"{100 * row['low']:.0f}–{100 * row['high']:.0f}", va="top", fontsize=4.8, **style)


def _value_ticks(panels: NDArray[Any], across: tuple[str, Sequence[float]], up: tuple[str, Sequence[float]]) -> None:
    """Name the swept keys' values along the outer axes, not more of them than there is room for."""
    for outer, axis, (key, values) in ((panels[-1], "x", across), (panels[:, 0], "y", up)):
        shown = range(0, len(values), -(-len(values) // _MOST_ANNOTATED))
        names = [f"{values[i]:g}" for i in shown]
        for axes in outer:
            axes.set(**{f"{axis}label": SWEPT[key].axis, f"{axis}ticks": shown, f"{axis}ticklabels": names})


def _of(results: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """Return the values of a key, each once, in the order in which they come."""
    return list(dict.fromkeys(row[key] for row in results))


def _intervals(rows: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
    """Return (R,) success rates and (2, R) how far their intervals reach below and above."""
    rate, low, high = (np.array([row[key] for row in rows]) for key in ("success_rate", "low", "high"))
    return rate, np.maximum([rate - low, high - rate], 0.0)


def _bars(policy: str) -> dict[str, Any]:
    """Return the style of a policy's points and intervals."""
    style = {"color": _GREY, "marker": "D", "markersize": 4.5, "linewidth": 1.2, **_POLICIES.get(policy, {})}
    return {**style, "label": policy.replace("_", " "), "elinewidth": 1.0, "capsize": 2, "zorder": 3}


def stage_entries(frame: Array, stage: Array, names: Sequence[str] = ()) -> list[tuple[float, str]]:
    """Return (frame, name) of the stages a run went through: the first frame at which each was logged."""
    known = np.isfinite(stage)
    frame, stage = frame[known], stage[known].astype(int)
    entered = np.flatnonzero(np.diff(stage, prepend=-1))
    return [(float(frame[at]), _stage_name(int(stage[at]), names)) for at in entered]


def _stage_name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"stage {index}"


def _column(table: Mapping[str, Array], name: str) -> Array:
    if name not in table:
        raise ValueError(f"no column {name!r}: there are {', '.join(table)}")
    return table[name]


def _broken_at_stages(frame: Array, success: Array, stage: Array) -> tuple[Array, Array]:
    """Return the curve with a gap at each change of stage, where the window starts anew."""
    changes = np.flatnonzero(np.diff(stage)) + 1
    return np.insert(frame, changes, frame[changes]), np.insert(success, changes, np.nan)


@contextmanager
def drawing(path: Path, *, height: float) -> Iterator[Figure]:
    """Yield a figure of the page's width, ``height`` inches high; save it as ``path`` at the end of the block."""
    # The figure's own classes instead of pyplot: no global state, no display, safe on any thread.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary)


def success_axis(axes: Axes, label: str = "") -> None:
    """Make the vertical axis one of success rates."""
    axes.set(ylabel=label, ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y", color="0.88", linewidth=0.6)


def rate_axis(axes: Axes, limits: tuple[float, float], scale: Scale) -> None:
    """Make the vertical axis one of learning rates between ``limits``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = limits
    # Before the scale: a logarithmic one would complain of curves that are zero everywhere.
    axes.set_ylim(low, high)
    axes.set_ylabel("learning rate")
    if scale == "log":
        axes.set_yscale("log", nonpositive="clip")
        # Few decades leave room for 2 and 5 as well.
        subs = (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif high < 0.1:
        exponent = max(math.floor(math.log10(high)), -300)  # a power of ten that is a normal number
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**exponent:.3g}"))
        axes.set_ylabel(f"learning rate ($10^{{{exponent}}}$)")


def _power_of_ten(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else f"${mantissa}\\times{power}$"


def count_axis(axes: Axes, x: Array, label: str) -> None:
    """Make the horizontal axis one of counts, in k and M, as wide as ``x``."""
    from matplotlib.ticker import EngFormatter

    finite = x[np.isfinite(x)]
    if finite.size and finite.max() > finite.min():
        axes.set_xlim(finite.min(), finite.max())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(label)


def _draw_bands(axes: Axes, stages: Stages) -> None:
    _, end = axes.get_xlim()
    for index, (start, stop) in enumerate(pairwise([*(at for at, _ in stages), end])):
        axes.axvspan(start, stop, color=_BANDS[index % 2], linewidth=0, zorder=0)
        if index:
            axes.axvline(start, color="0.6", linewidth=0.6, zorder=0.5)


def _name_bands(figure: Figure, axes: Axes, stages: Stages) -> None:
    """Name the bands above the axes, in full where that fits, else up to the first underscore."""
    figure.canvas.draw()
    left, right = axes.get_xlim()
    width = axes.get_window_extent().width / (right - left)
    entries = [min(max(at, left), right) for at, _ in stages]
    for (start, stop), (_, name) in zip(pairwise([*entries, right]), stages, strict=True):
        for text in (name, name.split("_")[0]):
            where: Any = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "textcoords": "offset points"}
            label = axes.annotate(text, ((start + stop) / 2, 1.0), ha="center", fontsize=7, color="0.3", **where)
            if label.get_window_extent().width <= (stop - start) * width - 4:
                break
            label.remove()


def _captions(figure: Figure, axes: Axes, title: str, note: str) -> None:
    if title:
        figure.suptitle(title, fontsize=9)
    if note:
        figure.supxlabel(fill(note, 125), fontsize=7, color="0.3")
