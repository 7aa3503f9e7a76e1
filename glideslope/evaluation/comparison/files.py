"""`comparison.csv` and `comparison.json`: the numbers behind the table, the picture and the page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from glideslope.evaluation.comparison.grouping import label_of
from glideslope.evaluation.comparison.runs import RecordedRun
from glideslope.evaluation.comparison.statistics import CONFIDENCE
from glideslope.evaluation.comparison.summary import MILESTONES, THRESHOLDS, Comparison, Milestone, Summary
from glideslope.settings import NETWORKS
from glideslope.storage.atomic_files import write_text

_PER_MILESTONE = [f"{what}_{rate * 100:.0f}" for rate in MILESTONES for what in ("frames_to", "reached")]
COLUMNS = (
    *("row", "group", "run", "seed", "runs", "state", "landed", "low", "high", "interval", "episodes"),
    *(*_PER_MILESTONE, "frames", "minutes"),
)


def write_csv(path: Path, comparison: Comparison) -> None:
    """Write a row for each group and for each of its runs; an empty cell says that there is no number."""
    text = io.StringIO()
    settings = list(comparison.grouping.differing)
    writer = csv.DictWriter(text, [*COLUMNS, *settings], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in _rows(comparison)
    )
    write_text(path, text.getvalue())


def write_json(path: Path, comparison: Comparison, asked: dict[str, Any]) -> None:
    """Write every number, curves included, and what was `asked`; null where there is no number."""
    content = {
        "asked": asked,
        "heading": comparison.grouping.heading,
        "differing": comparison.grouping.differing,
        "pooled": comparison.grouping.pooled,
        "confidence": CONFIDENCE,
        "groups": [_group(summary) for summary in comparison.summaries],
        "improvements": [
            {"group": one, "over": other, **asdict(found)} for one, other, found in comparison.improvements
        ],
        "left_out": [{"run": str(out.path), "reason": out.reason} for out in comparison.left_out],
    }
    write_text(path, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for summary in comparison.summaries:
        label = summary.group.label
        landed = summary.landed
        yield {
            "row": "group",
            "group": label,
            "runs": len(summary.finished),
            "landed": landed.value,
            "low": landed.low,
            "high": landed.high,
            "interval": landed.method,
            **_milestones(summary.milestones),
            "minutes": summary.minutes,
        }
        for run in summary.group.runs:
            score = run.scores.get(run.last_stage, {})
            own = {rate: run.frames_to(rate) for rate in MILESTONES}
            yield {
                "row": "run",
                "group": label,
                "run": str(run.path),
                "seed": run.settings.get("seed"),
                "state": run.unfinished or "finished",
                "landed": score.get("success_rate"),
                "low": score.get("low"),
                "high": score.get("high"),
                "interval": "of its episodes" if score else "",
                "episodes": score.get("episodes"),
                **_milestones({rate: Milestone(at, int(math.isfinite(at)), 1) for rate, at in own.items()}),
                "frames": run.frames,
                "minutes": run.minutes,
                **{key: label_of(run, key) for key in comparison.grouping.differing},
            }


def _milestones(milestones: dict[float, Milestone]) -> dict[str, Any]:
    numbers = [value for rate in MILESTONES for value in (milestones[rate].frames, milestones[rate].reached)]
    return dict(zip(_PER_MILESTONE, numbers, strict=True))


def _group(summary: Summary) -> dict[str, Any]:
    curve = summary.curve
    return {
        "label": summary.group.label,
        "values": dict(summary.group.values),
        "runs": [_run(run) for run in summary.group.runs],
        "finished": len(summary.finished),
        "landed": asdict(summary.landed),
        "landed_all_stages": asdict(summary.all_stages),
        "frames_to": {f"{rate:g}": asdict(milestone) for rate, milestone in summary.milestones.items()},
        "minutes": summary.minutes,
        "curve": {"frame": summary.frames, **asdict(curve)},
        "stages": [
            {"stage": stage, "name": name, "frame": frame, "runs": runs} for stage, name, frame, runs in summary.entries
        ],
        "learning_rates": {
            network: [{"frame": frame, "rate": rate} for frame, rate in summary.rates[network]] for network in NETWORKS
        },
        "profile": summary.profile and {"threshold": THRESHOLDS, **asdict(summary.profile)},
    }


def _run(run: RecordedRun) -> dict[str, Any]:
    frame, rate = run.curve
    return {
        "run": str(run.path),
        "seed": run.settings.get("seed"),
        "state": run.unfinished or "finished",
        "overrides": run.overrides,
        "frames": run.frames,
        "minutes": run.minutes,
        "stages": list(run.scores.values()),
        "frames_to": {f"{at:g}": run.frames_to(at) for at in MILESTONES},
        "curve": {"frame": frame, "value": rate},
        "entered": {str(stage): at for stage, at in run.entries.items()},
    }


def _plain(value: Any) -> Any:
    """Return plain data for JSON, which has no NaN and no infinity: None instead."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
