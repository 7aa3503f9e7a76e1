"""Curves as a picture of characters, for a terminal or a text file of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

Array = NDArray[np.float64]

_HEIGHT = 15  # rows
_COLOURS = {"encoder": "bright_blue", "actor": "bright_red", "critic": "green"}
_MARGIN = 8  # columns left of the axis
_SEVERAL = "*"
SEED_LABEL = "no updates yet"


@dataclass(frozen=True)
class _Glyphs:
    tick: str
    side: str
    corner: str
    floor: str
    mark: str
    stage: str
    seed: str


_LINES = _Glyphs("┤", "│", "└", "─", "┬", "┊", "░")
_ASCII = _Glyphs("+", "|", "+", "-", "+", ":", ".")


def text_plot(
    x: NDArray[np.int64],
    rates: Mapping[str, Array],
    *,
    limits: tuple[float, float],
    log: bool,
    stages: Sequence[tuple[int, str]] = (),
    x_label: str = "",
    width: int = 80,
    ascii_only: bool = False,
    seed_end: int = 0,
) -> Text:
    """Draw learning rates; networks whose rates are the same everywhere share one curve.

    Args:
        x: (T,) increasing steps, of which the first is 0.
        rates: (T,) learning rates by network name; between two steps the earlier one's holds.
        limits: lowest and highest rate of the axis; curves leave it where they exceed that.
        log: whether the axis is logarithmic.
        stages: (step at which it is entered, name) of each stage.
        width: columns of the picture, at least 40.
        ascii_only: for outputs that know no other characters.
        seed_end: step before which no update is made; shaded where that is a column or more.
    """
    glyphs = _ASCII if ascii_only else _LINES
    columns = max(width, 40) - _MARGIN - 2
    at = np.linspace(0, x[-1], columns)
    canvas = [[(" ", "")] * columns for _ in range(_HEIGHT)]
    shaded = int(seed_end / x[-1] * columns)
    for row in canvas:
        row[:shaded] = [(glyphs.seed, "dim")] * shaded
    entered = [round(step / x[-1] * (columns - 1)) for step, _ in stages]
    for row in canvas:
        for column in entered[1:]:
            row[column] = (glyphs.stage, "dim")
    groups = _groups(rates)
    for names, curve in groups.items():
        _draw(canvas, x, at, _rows(curve, limits, log), (_mark(names), _colour(names)))

    text = Text()
    legend = [(f"{_mark(names)} {', '.join(names)}", _colour(names)) for names in groups]
    if len(groups) > 1:
        legend.append((f"{_SEVERAL} where curves meet", ""))
    if shaded:
        legend.append((f"{glyphs.seed} {SEED_LABEL}", "dim"))
    text.append("learning rate".ljust(_MARGIN + 2 + 6))
    for label, colour in legend:
        text.append(label, colour).append("   ")
    text.rstrip()
    text.append("\n")
    if stages:
        above = _band_names([*entered, columns], [name for _, name in stages], columns)
        text.append(f"{' ' * (_MARGIN + 1)}{above}".rstrip() + "\n", "dim")
    ticks = _rate_ticks(limits, log)
    for i, cells in enumerate(canvas):
        tick = ticks.get(i, "")
        text.append(f"{tick:>{_MARGIN}}{glyphs.tick if tick else glyphs.side}")
        for character, colour in _trimmed(cells):
            text.append(character, colour)
        text.append("\n")
    text.append(_step_axis(int(x[-1]), columns, glyphs))
    text.append(f"\n{x_label.center(columns + 2 * (_MARGIN + 1)).rstrip()}" if x_label else "")
    return text


def short_count(steps: float) -> str:
    """Return a count in short: 1500000 as 1.5M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if steps >= unit:
            return f"{steps / unit:.15g}{name}"
    return f"{steps:g}"


def _groups(rates: Mapping[str, Array]) -> dict[tuple[str, ...], Array]:
    groups: dict[tuple[str, ...], Array] = {}
    for name, curve in rates.items():
        same = next((names for names, other in groups.items() if np.array_equal(curve, other)), ())
        groups.pop(same, None)
        groups[(*same, name)] = curve
    return groups


def _mark(names: tuple[str, ...]) -> str:
    return names[0][0] if len(names) == 1 else "o"


def _colour(names: tuple[str, ...]) -> str:
    return _COLOURS.get(names[0], "") if len(names) == 1 else "bright_magenta"


def _rows(curve: Array, limits: tuple[float, float], log: bool) -> NDArray[np.int64]:
    """Return the row of each rate, from the top; those beyond the axis just outside of it."""
    low, high = limits
    if log:
        curve = np.log(np.maximum(curve, low * 1e-6))
        low, high = math.log(low), math.log(high)
    share = (high - curve) / (high - low)
    return np.clip(np.rint(share * (_HEIGHT - 1)), -1, _HEIGHT).astype(np.int64)


def _draw(
    canvas: list[list[tuple[str, str]]], x: NDArray[np.int64], at: Array, rows: NDArray[np.int64], ink: tuple[str, str]
) -> None:
    columns = len(at)
    where = np.rint(x / x[-1] * (columns - 1)).astype(np.int64)
    # A column without a step of its own shows the rate in force there.
    held = rows[np.searchsorted(x, at, side="right") - 1]
    cells = {(int(row), column) for column, row in enumerate(held) if column not in set(where.tolist())}
    cells.add((int(rows[0]), 0))
    for before, row, column in zip(rows[:-1], rows[1:], where[1:], strict=True):
        # A jump is a line down or up to the new rate.
        cells |= {(level, int(column)) for level in range(min(before, row), max(before, row) + 1)}
    for row, column in cells:
        if 0 <= row < _HEIGHT:
            taken = canvas[row][column][1] not in ("", "dim")
            canvas[row][column] = (_SEVERAL, "bold") if taken else ink


def _trimmed(cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
    last = max((i for i, (character, _) in enumerate(cells) if character != " "), default=-1)
    return cells[: last + 1]


def _band_names(edges: Sequence[int], names: Sequence[str], columns: int) -> str:
    """Each stage's name above its band: in full where that fits, else up to the first underscore, else none."""
    line = [" "] * columns
    for (start, stop), name in zip(pairwise(edges), names, strict=True):
        fitting = [text for text in (name, name.split("_")[0]) if len(text) < stop - start]
        if fitting:
            line[start : start + len(fitting[0])] = fitting[0]
    return "".join(line)


def _rate_ticks(limits: tuple[float, float], log: bool) -> dict[int, str]:
    """Return the label of each row that has a tick."""
    low, high = limits
    if log:
        subs = (1, 2, 5) if high < 300 * low else (1,)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [float(f"{sub}e{power}") for power in powers for sub in subs]
        labels = {value: f"{value:.0e}" for value in values if low <= value <= high}
    else:
        step = _nice(high / 5)
        labels = {step * i: f"{step * i:.1e}" if i else "0" for i in range(math.floor(high / step) + 1)}
    rows = _rows(np.array(list(labels)), limits, log)
    short = [label.replace("e-0", "e-").replace("e+00", "") for label in labels.values()]
    return dict(zip(rows.tolist(), short, strict=True))


def _nice(least: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(sub * power for sub in (1, 2, 2.5, 5, 10) if sub * power >= least * (1 - 1e-9))


def _step_axis(total: int, columns: int, glyphs: _Glyphs) -> str:
    step = _nice(total / 6)
    line, labels = [glyphs.floor] * columns, [" "] * (columns + _MARGIN + 1)
    for i in range(math.floor(total / step * (1 + 1e-9)) + 1):
        column = round(i * step / total * (columns - 1))
        line[column] = glyphs.mark
        label = short_count(i * step)
        first = min(max(column - len(label) // 2, 0), columns + 1 - len(label))
        labels[first : first + len(label)] = label
    pad = " " * _MARGIN
    return f"{pad}{glyphs.corner}{''.join(line)}\n{pad} {''.join(labels).rstrip()}"
