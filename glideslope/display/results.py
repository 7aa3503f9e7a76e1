"""How results are shown: tables for the terminal and as Markdown, and how far a curriculum came.

Results are plain data, as in evaluation.json: a mapping for each condition with the keys of
:class:`glideslope.evaluation.scoring.Score` and, where there are any, `policy` and the values that are swept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rich import box
from rich.table import Table

from glideslope.settings import SWEPT

Row: TypeAlias = Mapping[str, Any]

KEYS = {
    *("stage", "name", "episodes", "success_rate", "low", "high", "crash_rate", "timeout_rate"),
    *("touchdown_error_m", "touchdown_speed"),
}
"""What is shown of each result. One of an earlier version has no medians."""

_FIGURES = ("landed", "interval", "crashed", "timed out", "off centre", "sink rate")
_MORE_FIGURES = ("median off centre", "median sink rate")
"""What 80 columns have no room for."""


def condition_label(row: Row) -> str:
    """Return a stage at a point of a sweep, such as `4 S4_full, pad 0.5 m/s, wind 1 m/s`."""
    return f"{row['stage']} {place_label(row)}"


def place_label(row: Row, without: Collection[str] = ()) -> str:
    """Return the condition without its stage's index, and without the values of some swept keys."""
    values = {key: row.get(key) for key in SWEPT if key not in without}
    swept = [SWEPT[key].label.format(value) for key, value in values.items() if value is not None]
    return ", ".join([row["name"], *swept])


def results_table(rows: Sequence[Row]) -> Table:
    """Return a table of one result or more for a terminal of 80 columns: by condition, policies below each other."""
    alone = len({row.get("policy") for row in rows}) == 1
    table = Table(title=_caption(rows), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("stage" if alone else "policy", overflow="fold")
    for heading in _FIGURES:
        # In lines where it has several words: 80 columns are few.
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for label, group in _by_condition(rows):
        if not alone:
            table.add_section()
            table.add_row(label, style="bold")
        for row in group:
            table.add_row(label if alone else f"  {row['policy']}", *_cells(row, _FIGURES))
    return table


def results_markdown(rows: Sequence[Row], title: str, notes: Sequence[str] = ()) -> str:
    """Return the table as Markdown, below its title and the notes."""
    figures = (*_FIGURES, *_MORE_FIGURES)
    lines = [
        (label, str(row["policy"]), *_cells(row, figures)) for label, group in _by_condition(rows) for row in group
    ]
    return _page(f"{title}. {_caption(rows)}.", notes, ("stage", "policy", *figures), lines, left=2)


def benchmark_markdown(rows: Sequence[Row], policy: str, title: str, notes: Sequence[str] = ()) -> str:
    """Return the benchmark's table as Markdown: a row for each condition, those who fly beside `policy` at its end."""
    figures = ("landed", "interval", "median off centre", "median sink rate")
    beside = [other for other in ("expert", "fixed_camera") if other != policy and any(_of(rows, other))]
    lines = []
    for label, group in _by_condition(rows):
        (own,) = _of(group, policy)
        others = (f"{row['success_rate']:.1%}" for other in beside for row in _of(group, other))
        lines.append((label, *_cells(own, figures), *others))
    headings = ("condition", "landed", "95% interval", "median off centre", "median sink rate")
    named = [other.replace("_", " ") for other in beside]
    return _page(f"{title}. {_caption(rows)}.", notes, (*headings, *named), lines, left=1)


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


def _page(
    title: str, notes: Sequence[str], headings: Sequence[str], lines: Sequence[Sequence[str]], *, left: int
) -> str:
    """Return a Markdown table whose first columns are flush left."""
    ruler = "|" + "---|" * left + "--:|" * (len(headings) - left)
    table = [f"| {' | '.join(cells)} |" for cells in (headings, *lines)]
    told = [part for note in notes for part in (note, "")]
    return "\n".join([title, "", *told, table[0], ruler, *table[1:]]) + "\n"


def _of(rows: Sequence[Row], policy: str) -> list[Row]:
    return [row for row in rows if row["policy"] == policy]


def _by_condition(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for label in dict.fromkeys(map(condition_label, rows)):
        yield label, [row for row in rows if condition_label(row) == label]


def _cells(row: Row, figures: Sequence[str]) -> list[str]:
    def shown(key: str, unit: str) -> str:
        value = row.get(key)
        return "–" if value is None else f"{value:.2f} {unit}"

    cells = {
        "landed": f"{row['success_rate']:.1%}",
        "interval": f"{row['low']:.0%}–{row['high']:.0%}",
        "crashed": f"{row['crash_rate']:.1%}",
        "timed out": f"{row['timeout_rate']:.1%}",
        "off centre": shown("touchdown_error_m", "m"),
        "median off centre": shown("touchdown_error_median_m", "m"),
        "sink rate": shown("touchdown_speed", "m/s"),
        "median sink rate": shown("touchdown_speed_median", "m/s"),
    }
    return [cells[figure] for figure in figures]
