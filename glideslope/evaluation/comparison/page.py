"""`comparison.html`: the curves, the rates and the table on one page that needs no network.

Groups are shown and hidden from the legend, values appear under the pointer, the table is sorted by a click.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from bokeh.embed import components
from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    Model,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.models.annotations import Legend, LegendItem
from bokeh.models.renderers import GlyphRenderer
from bokeh.models.widgets.tables import DataTable, HTMLTemplateFormatter, NumberFormatter, TableColumn
from bokeh.plotting import figure
from bokeh.resources import INLINE

from glideslope.evaluation.comparison.picture import colour, dashes, length, rate_bounds, rate_panels
from glideslope.evaluation.comparison.statistics import Estimate
from glideslope.evaluation.comparison.summary import MILESTONES, THRESHOLDS, Comparison, Summary
from glideslope.evaluation.comparison.table import interval_text, left_out_lines, milestone_text, notes, rate_text
from glideslope.storage.atomic_files import write_text

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
{resources}
<style>
html, body {{ overflow-x: clip; }}
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 0 auto; padding: 12px; max-width: 1000px; }}
h1 {{ font-size: 1.25rem; margin: 0 0 .4rem; }}
h2 {{ font-size: 1rem; margin: 1.2rem 0 .3rem; }}
p, li {{ overflow-wrap: anywhere; margin: .2rem 0; }}
ul {{ padding-left: 1.2rem; margin: .2rem 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
{script}
</body>
</html>
"""
_SHORT_COUNT = "return tick >= 1e6 ? tick / 1e6 + 'M' : tick >= 1e3 ? tick / 1e3 + 'k' : String(tick)"
_RATE = "return tick.toExponential(0)"
_ROW_HEIGHT = 30

Drawn: TypeAlias = "list[list[GlyphRenderer[Any]]]"


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the page, whole or not at all."""
    groups = comparison.summaries
    frames = Range1d(start=0.0, end=length(groups))
    curves, drawn = _curves(groups, frames)
    parts: dict[str, Model] = {"Landed in evaluations": curves}
    for title, network in rate_panels(groups).items():
        parts[title.capitalize()] = _rates(network, groups, frames, drawn)
    if any(summary.profile is not None for summary in groups):
        parts["Performance profile: share of runs above a held-out success rate"] = _profiles(groups, drawn)
    # The legend hides a group's line, and this what else is drawn of the group.
    for line, *others in drawn:
        for other in others:
            line.js_link("visible", other, "visible")
    parts["Held-out results"] = _table(comparison)
    script, divisions = components(parts)
    body = [f"<h2>{escape(title)}</h2>\n{division}" for title, division in divisions.items()]
    body += [f"<p>{escape(note)}</p>" for note in notes(comparison)]
    if comparison.left_out:
        items = "".join(f"<li>{escape(line)}</li>" for line in left_out_lines(comparison))
        body.append(f"<h2>Runs without a result</h2><ul>{items}</ul>")
    title = f"Comparison by {comparison.grouping.heading}"
    page = _TEMPLATE.format(title=escape(title), resources=INLINE.render(), body="\n".join(body), script=script)
    write_text(path, page)


def _plot(height: int, **options: Any) -> figure:
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,reset",
        active_drag=None,  # a finger scrolls the page
        toolbar_location="below",
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.grid.grid_line_color = "#E3E3E3"
    plot.outline_line_color = None
    plot.min_border_left = 58  # so that the axes of all plots begin at one place
    plot.min_border_right = 12
    plot.xaxis.formatter = CustomJSTickFormatter(code=_SHORT_COUNT)
    return plot


def _curves(groups: Sequence[Summary], frames: Range1d) -> tuple[figure, Drawn]:
    plot = _plot(340, x_range=frames, y_range=Range1d(start=-0.03, end=1.03))
    drawn: Drawn = []
    for index, summary in enumerate(groups):
        curve = summary.curve
        style: dict[str, Any] = {"color": colour(index), "name": summary.group.label}
        runs = [run.curve for run in summary.group.runs]
        frame, rate = ([column.tolist() for column in columns] for columns in zip(*runs, strict=True))
        bounds = zip(curve.low, curve.high, strict=True)
        columns = {
            "frame": summary.frames,
            "value": curve.value,
            "label": [summary.group.label] * len(summary.frames),
            "interval": ["" if math.isnan(low) else f"({interval_text(low, high)})" for low, high in bounds],
        }
        source = ColumnDataSource(columns)
        line = plot.line("frame", "value", source=source, line_width=2.5, line_dash=_dashes(index), **style)
        marks = plot.scatter("frame", "value", source=source, size=7, **style)  # large enough for a finger
        drawn.append([line, marks, plot.multi_line(frame, rate, alpha=0.4, **style)])
        if curve.runs > 1:
            drawn[index].append(plot.varea(summary.frames, curve.low, curve.high, alpha=0.16, **style))
        plot.add_tools(_hover(marks, ("landed", "@value{0.0%} @interval")))
    items = []
    for summary, (shown, *_) in zip(groups, drawn, strict=True):
        # A line for each key: a phone is narrow.
        text = f"{summary.group.label} ({len(summary.group.runs)})".replace(", ", ",\n")
        items.append(LegendItem(label=text, renderers=[shown]))
    legend = Legend(items=items, click_policy="hide", location="left", border_line_color=None, glyph_width=36)
    plot.add_layout(legend, "above")
    plot.yaxis.formatter = NumeralTickFormatter(format="0%")
    return plot, drawn


def _dashes(index: int) -> list[int]:
    return [round(4 * part) for part in dashes(index)]


def _hover(renderer: GlyphRenderer[Any], value: tuple[str, str]) -> HoverTool:
    tooltips = [("group", "@label"), ("frame", "@frame{0,0}"), value]
    return HoverTool(renderers=[renderer], tooltips=tooltips, visible=False)


def _rates(network: str, groups: Sequence[Summary], frames: Range1d, drawn: Drawn) -> figure:
    low, high = rate_bounds(network, groups)
    plot = _plot(210, x_range=frames, y_axis_type="log", y_range=Range1d(start=low, end=high))
    for index, summary in enumerate(groups):
        for frame, rate in summary.rates[network]:
            # A logarithmic axis has no zero.
            values = {"frame": frame, "rate": np.where(rate > 0, rate, np.nan)}
            source = ColumnDataSource(values | {"label": [summary.group.label] * len(frame)})
            style: dict[str, Any] = {"color": colour(index), "line_dash": _dashes(index), "name": summary.group.label}
            step = plot.step("frame", "rate", source=source, mode="after", line_width=2, **style)
            drawn[index].append(step)
            plot.add_tools(_hover(step, ("rate", "@rate{0.00e+0}")))
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    plot.yaxis.ticker = FixedTicker(ticks=[float(f"{digit}e{ten}") for ten in tens for digit in (1, 2, 5)])
    plot.yaxis.formatter = CustomJSTickFormatter(code=_RATE)
    plot.xaxis.axis_label = "frames"
    return plot


def _profiles(groups: Sequence[Summary], drawn: Drawn) -> figure:
    plot = _plot(240, x_range=Range1d(start=0.0, end=1.0), y_range=Range1d(start=-0.03, end=1.03))
    for index, summary in enumerate(groups):
        profile = summary.profile
        style: dict[str, Any] = {"color": colour(index), "name": summary.group.label}
        if profile is not None:
            drawn[index] += [
                plot.varea(THRESHOLDS, profile.low, profile.high, alpha=0.16, **style),
                plot.line(THRESHOLDS, profile.value, line_width=2.5, line_dash=_dashes(index), **style),
            ]
    plot.xaxis.formatter = plot.yaxis.formatter = NumeralTickFormatter(format="0%")
    plot.xaxis.axis_label = "held-out success rate on the last stage"
    return plot


def _table(comparison: Comparison) -> DataTable:
    groups = comparison.summaries
    numbers: dict[str, list[Any]] = {
        "group": [summary.group.label for summary in groups],
        "runs": [len(summary.finished) for summary in groups],
        # Sorted by the number, shown as text; a number that is missing is sorted to the end.
        "landed": [_number(summary.landed.value) for summary in groups],
        "landed_text": [_estimate_text(summary.landed) for summary in groups],
        "stages": [_number(summary.all_stages.value) for summary in groups],
        "stages_text": [_estimate_text(summary.all_stages) for summary in groups],
        "minutes": [_number(summary.minutes) for summary in groups],
    }
    columns = [
        TableColumn(field="group", title=comparison.grouping.heading, width=150),
        TableColumn(field="runs", title="runs", width=50),
        TableColumn(field="landed", title="landed, last stage", width=150, formatter=_text("landed_text")),
        TableColumn(field="stages", title="landed, all stages", width=150, formatter=_text("stages_text")),
    ]
    for rate in MILESTONES:
        key = f"frames_{rate * 100:.0f}"
        numbers[key] = [_number(summary.milestones[rate].frames) for summary in groups]
        numbers[f"{key}_text"] = [milestone_text(summary.milestones[rate]) for summary in groups]
        columns.append(TableColumn(field=key, title=f"frames to {rate:.0%}", width=120, formatter=_text(f"{key}_text")))
    minutes = NumberFormatter(format="0.0", nan_format="–")
    columns.append(TableColumn(field="minutes", title="minutes", width=70, formatter=minutes))
    return DataTable(
        source=ColumnDataSource(numbers),
        columns=columns,
        sizing_mode="stretch_width",
        height=_ROW_HEIGHT * (len(groups) + 1) + 20,
        row_height=_ROW_HEIGHT,
        index_position=None,
        reorderable=False,
        # Wider than a phone, it is scrolled inside its own frame.
        autosize_mode="none",
    )


def _estimate_text(estimate: Estimate) -> str:
    return f"{rate_text(estimate.value)} ({interval_text(estimate.low, estimate.high)})"


def _number(value: float) -> float:
    return value if math.isfinite(value) else 1e300


def _text(field: str) -> HTMLTemplateFormatter:
    return HTMLTemplateFormatter(template=f"<%- {field} %>")
