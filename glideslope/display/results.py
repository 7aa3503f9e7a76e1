"""How results are shown: the table of success rates, for the terminal and as Markdown, and how far a curriculum came.

Results are plain data, as in evaluation.json: a mapping for each stage, or point of a sweep in it, with the keys of
:class:`glideslope.evaluation.scoring.Score` and, where there are any, `policy`, `pad_speed` and `wind`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rich import box
from rich.table import Table

Row: TypeAlias = Mapping[str, Any]

KEYS = {
    *("stage", "name", "episodes", "success_rate", "low", "high", "crash_rate", "timeout_rate"),
    *("touchdown_error_m", "touchdown_speed"),
}
"""What is shown of each result."""

_FIGURES = ("landed", "interval", "crashed", "timed out", "off centre", "sink rate")


def condition_label(row: Row) -> str:
    """Return a stage at a point of a sweep, such as `4 S4_full, pad 0.5 m/s, wind 1 m/s`."""
    values = (("pad", row.get("pad_speed")), ("wind", row.get("wind")))
    swept = [f"{name} {value:g} m/s" for name, value in values if value is not None]
    return ", ".join([f"{row['stage']} {row['name']}", *swept])


def results_table(rows: Sequence[Row]) -> Table:
    """Return a table of one result or more for a terminal of 80 columns: by condition, policies below each other."""
    alone = len({row.get("policy") for row in rows}) == 1
    table = Table(title=_caption(rows), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("stage" if alone else "policy", overflow="fold")
    for heading in _FIGURES:
        # In two lines where it has two words: 80 columns are few.
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for label, group in _by_condition(rows):
        if not alone:
            table.add_section()
            table.add_row(label, style="bold")
        for row in group:
            table.add_row(label if alone else f"  {row['policy']}", *_cells(row))
    return table


def results_markdown(rows: Sequence[Row], title: str, notes: Sequence[str] = ()) -> str:
    """Return the table as Markdown, below its title and the notes."""
    headings = ("stage", "policy", *_FIGURES)
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "--:|" * len(_FIGURES)]
    for label, group in _by_condition(rows):
        lines += [f"| {' | '.join((label, row['policy'], *_cells(row)))} |" for row in group]
    told = [part for note in notes for part in (note, "")]
    return "\n".join([f"{title}. {_caption(rows)}.", "", *told, *lines]) + "\n"


def unfinished_curriculum(stage: int, names: Sequence[str], what: str) -> str | None:
    """Return a sentence where a curriculum has not come to its last stage, None where it has.

    `what` has reached the `stage`, an index into the `names` of all stages.

    >>> unfinished_curriculum(1, ["S0_lock", "S1_yaw_small", "S2_yaw_pitch_small"], "the run")
    'The curriculum is not finished: the run has reached stage 1 S1_yaw_small of 0-2.'
    """
    last = len(names) - 1
    if stage >= last:
        return None
    return f"The curriculum is not finished: {what} has reached stage {stage} {names[stage]} of 0-{last}."


def _caption(rows: Sequence[Row]) -> str:
    count = rows[0]["episodes"]
    return f"{count} held-out {'episode' if count == 1 else 'episodes'} each; 95% Wilson intervals"


def _by_condition(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for label in dict.fromkeys(map(condition_label, rows)):
        yield label, [row for row in rows if condition_label(row) == label]


def _cells(row: Row) -> tuple[str, ...]:
    error, speed = row["touchdown_error_m"], row["touchdown_speed"]
    return (
        f"{row['success_rate']:.1%}",
        f"{row['low']:.0%}–{row['high']:.0%}",
        f"{row['crash_rate']:.1%}",
        f"{row['timeout_rate']:.1%}",
        "–" if error is None else f"{error:.2f} m",
        "–" if speed is None else f"{speed:.2f} m/s",
    )
