"""Steps that show every curve of schedules, and a plot of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.lr_scheduler.schedule import History, Schedule

_POINTS = 2000  # spread evenly
_MOST_STAIRS = 2000  # more of them can't be told from a smooth curve


def sample_steps(schedules: Mapping[str, Schedule], total_steps: int, stages: History = ()) -> NDArray[np.int64]:
    """Return steps from 0 to `total_steps` that show every curve: evenly spread, and both sides of each jump."""
    steps = {round(Fraction(total_steps * i, _POINTS)) for i in range(_POINTS + 1)}
    for schedule in schedules.values():
        for bound in _bounds(schedule, total_steps, stages):
            steps |= {bound - 1, bound}
    return np.array(sorted(step for step in steps if 0 <= step <= total_steps), dtype=np.int64)


def _bounds(schedule: Schedule, total: int, stages: History) -> Iterator[int]:
    """Return the first step of each interval, of what follows its warm-up and its end, and of its stairs and cycles."""
    for interval in schedule.describe()["intervals"]:
        starts = [Fraction(step) for step, _ in stages] if "stage" in interval else [interval["start"]]
        for start in map(Fraction, starts):
            yield math.ceil(start)
            for length in (interval["warmup"], interval["span"]):
                if length is not None:
                    yield math.ceil(start + Fraction(length))
            cycles = interval.get("repeat", 1)
            yield from (math.ceil(start + i * Fraction(interval["span"] or 0) / cycles) for i in range(1, cycles))
            unit = Fraction(interval["unit"] or 1)
            if interval["stairs"] and (total - start) / unit <= _MOST_STAIRS:
                yield from (math.ceil(start + i * unit) for i in range(int((total - start) / unit) + 1))


def plot_schedules(
    schedules: Mapping[str, Schedule], total_steps: int, *, stages: History = (), scale: str = "log", axes: Any = None
) -> Any:
    """Draw schedules over the steps of a training; return the Matplotlib axes (`pip install "glideslope[plot]"`).

    Args:
        schedules: by name, as `build_schedules` returns them.
        total_steps: length of the training.
        stages: the curriculum's history, [(step of entry, stage), ...], for schedules that follow stages.
        scale: of the vertical axis: `log` or `linear`.
        axes: Matplotlib axes to draw on; None for those of a new figure, `axes.figure.savefig(...)` saves it.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    if axes is None:
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ImportError('plot_schedules needs Matplotlib: pip install "glideslope[plot]"') from error
        axes = Figure(figsize=(7, 3.5), layout="constrained").subplots()
    steps = sample_steps(schedules, total_steps, stages)
    for name, schedule in schedules.items():
        axes.plot(steps, schedule(steps, stages), label=name, drawstyle="steps-post")
    axes.set(xlabel="step", ylabel="learning rate", yscale=scale)
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return axes
