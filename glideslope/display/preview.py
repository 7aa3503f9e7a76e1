"""Shows what a training's learning rates will be: a picture, a table and a drawing in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from glideslope.display.console import say
from glideslope.display.figures import plot_learning_rates, rate_limits
from glideslope.display.text_plot import short_count, text_plot
from glideslope.errors import UserError, failure
from glideslope.lr_scheduler import Schedule, sample_steps
from glideslope.settings import PreviewSettings
from glideslope.settings.schedules import learning_rates, quantities
from glideslope.storage.atomic_files import replacing
from glideslope.storage.caches import use_writable_caches

PICTURE = "lr_schedule.png"
TABLE = "lr_schedule.csv"

_TABLE = 72  # columns that the widest table takes
_WIDEST = 110  # columns of the drawing

Array = NDArray[np.float64]
Entries = Sequence[tuple[int, int]]


def preview(settings: PreviewSettings, *, given: Collection[str] = (), console: Console | None = None) -> int:
    """Write `lr_schedule.png` and `lr_schedule.csv` and show the learning rates; return the exit status.

    `given` are the keys that the user set, to tell of those without effect.

    Raises:
        ScheduleError: a schedule is malformed.
        UserError: the folder can't be written to; nothing has been written.
    """
    console = console or Console(highlight=False)
    use_writable_caches(lambda note: say(console, f"Note: {note}"))
    schedules, others = learning_rates(settings, given), quantities(settings)
    total, entries = settings.total_steps, settings.stage_entries
    everything = {**schedules, **others}
    steps = sample_steps(everything, total, entries)
    rates = {network: schedule(steps, entries) for network, schedule in schedules.items()}
    asked = steps if settings.asked_steps is None else np.array(settings.asked_steps, dtype=np.int64)
    tabled = {name: schedule(asked, entries) for name, schedule in everything.items()}

    staged = settings.stage_steps is not None or any(schedule.follows_stages for schedule in everything.values())
    names = settings.curriculum.stage_names
    bands = [(step, names[stage]) for step, stage in entries if staged and step < total]
    notes = list(_notes(settings, everything, rates))
    below = {name: schedule(steps, entries) for name, schedule in others.items()}
    files = _write(settings, steps, rates, below, bands, notes, _lines(asked, tabled))

    drawing = text_plot(
        steps,
        rates,
        limits=rate_limits(steps, rates, settings.scale),
        log=settings.scale == "log",
        stages=bands,
        x_label="environment steps (global)",
        width=min(console.width, _WIDEST),
        ascii_only=not console.encoding.lower().startswith("utf"),
        seed_end=settings.seed_steps,
    )
    console.print(drawing, no_wrap=True, overflow="ignore", crop=False)
    if settings.asked_steps is not None:
        widest = _TABLE + sum(len(name) + 3 for name in others)
        console.width = max(console.width, widest)  # digits are worth more than a table's shape
        console.print(_table(asked, tabled), crop=False)
    for note in [*notes, *schedules.notes, *others.notes]:
        say(console, f"Note: {note}")
    say(console, "Written: ", " and ".join(map(str, files)))
    return 0


def _notes(settings: PreviewSettings, schedules: Mapping[str, Schedule], rates: Mapping[str, Array]) -> Iterator[str]:
    """Return the sentences that go with the picture."""
    if settings.stage_steps is None and any(schedule.follows_stages for schedule in schedules.values()):
        times = ",".join(short_count(step) for step, _ in settings.stage_entries)
        yield (f"stages assumed evenly spread, stage_steps=[{times}]; in training each is entered when earned")
    waiting = [network for network, schedule in schedules.items() if schedule.follows_evaluations]
    if waiting:
        yield f"{', '.join(waiting)}: drawn without the reductions that evaluations will make"
    zero = [network for network, curve in rates.items() if (curve[1:] == 0).any()]
    if zero and settings.scale == "log":
        yield f"{', '.join(zero)}: rates of 0 lie below a logarithmic axis; scale=linear shows them"


def _write(
    settings: PreviewSettings,
    steps: NDArray[np.int64],
    rates: Mapping[str, Array],
    others: Mapping[str, Array],
    bands: Sequence[tuple[int, str]],
    notes: Sequence[str],
    lines: Sequence[str],
) -> list[Path]:
    folder = Path(settings.out)
    files = [folder / PICTURE, folder / TABLE]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            if file.is_dir():
                raise UserError(f"out={settings.out}: can't write {file}: is a folder")
        with replacing(files[1]) as table:  # the picture inside: both are new, or neither
            table.write_text("".join(lines), encoding="utf-8")
            plot_learning_rates(
                files[0],
                steps,
                rates,
                scale=settings.scale,
                stages=bands,
                x_label="environment steps (global)",
                note="; ".join(notes),
                seed_end=settings.seed_steps,
                held=True,
                others=others,
            )
    except OSError as error:
        raise UserError(f"out={settings.out}: can't write {failure(error)}") from error
    return files


def _lines(steps: NDArray[np.int64], rates: Mapping[str, Array]) -> list[str]:
    """Return the table's lines; its rates are written so that reading gives the same double back."""
    rows = zip(steps.tolist(), *(curve.tolist() for curve in rates.values()), strict=True)
    return [f"step,{','.join(rates)}\n", *(f"{','.join(map(repr, row))}\n" for row in rows)]


def _table(steps: NDArray[np.int64], rates: Mapping[str, Array]) -> Table:
    table = Table()
    for heading in ("step", *rates):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, step in enumerate(steps.tolist()):
        table.add_row(f"{step:,}", *(f"{curve[i]:.6g}" for curve in rates.values()))
    return table
