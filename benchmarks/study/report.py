"""The tables and pictures of docs/which_schedule.md, from ``results/`` alone: ``python -m benchmarks.study.report``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.study.parts import FRAMES, PARTS, PEER, blocks_of
from benchmarks.study.records import DIAGNOSTICS, Row, curves_of, recorded, runs_of
from glideslope.display.figures import count_axis, drawing
from glideslope.evaluation.comparison.picture import colour
from glideslope.evaluation.comparison.statistics import Estimate, estimate, improvement
from glideslope.settings import NETWORKS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "which_schedule.md"
BROKEN = 0.5  # a run whose last policy lands less often than this is broken

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """The recorded runs of a block with one schedule."""

    part: str
    block: str
    schedule: str
    rows: tuple[Row, ...]

    def values(self, name: str) -> Array:
        """Return a figure of every run; NaN where a run has none."""
        return np.array([float(row[name] or "nan") for row in self.rows])

    def frames(self, name: str) -> Array:
        """Return when every run came to something; infinite for one that never did."""
        return np.nan_to_num(self.values(name), nan=math.inf)

    def curve(self, frames: Array) -> Array:
        """Return (runs, T) how far the curriculum is, in [0, 1]: finished stages and the success rate on this one."""
        points = curves_of(self.part)
        stages = 1 + max(int(point["stage"]) for point in points)
        found = []
        for row in self.rows:
            own = [point for point in points if all(point[key] == row[key] for key in ("block", "schedule", "seed"))]
            at = [float(point["frame"]) for point in own]
            done = [(float(point["stage"]) + float(point["success_rate"])) / stages for point in own]
            found.append(np.interp(frames, [0.0, *at], [0.0, *done]))
        return np.array(found)


def arms_of(part: str) -> list[Arm]:
    """Return the arms of a part that have a run, in the order of its blocks."""
    rows = runs_of(part)
    arms = [
        Arm(part, block.name, schedule, tuple(r for r in rows if (r["block"], r["schedule"]) == (block.name, schedule)))
        for block in blocks_of(part)
        for schedule in block.schedules
    ]
    return [arm for arm in arms if arm.rows]


# --- Tables ---------------------------------------------------------------------------------------


def table(heading: str, against: str, named: Sequence[tuple[str, Arm, Arm | None]]) -> str:
    """Return the main table: a row for each label and arm, compared with the arm beside them."""
    if not named:
        return "No run yet."
    lines = [
        f"| {heading} | runs | whole task from | 90% at | area, 95% interval | better than {against} | landed | "
        "off centre | sink rate | broken | forgotten |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, arm, other in named:
        cells = (
            *(label, f"{len(arm.rows)}", _when(arm, "frames_to_last"), _when(arm, "frames_to_90")),
            *(_interval(estimate(arm.values("area"))), _better(arm, other)),
            _percent(arm.values("landed").mean()),
            *(_mean(arm.values("off_centre"), "{:.2f} m"), _mean(arm.values("touchdown_speed"), "{:.2f} m/s")),
            f"{(arm.values('final') < BROKEN).sum()} of {len(arm.rows)}",
            _percent(float(np.nanmean(arm.values("forgetting")))),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def diagnostics(named: Sequence[tuple[str, Arm]]) -> str:
    """Return what the networks are like at the end: mean over runs, each encoder / actor / critic."""
    lines = ["| schedule | update-to-weight | dormant units | effective rate |", "| --- | ---: | ---: | ---: |"]
    for label, arm in named:
        cells = []
        for name in DIAGNOSTICS:
            means = [float(np.nanmean(arm.values(f"{network}_{name}"))) for network in NETWORKS]
            cells.append(" / ".join(_percent(m) if name == "dormant_ratio" else f"{m:.1e}" for m in means))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def missing(part: str) -> str:
    """Return which runs of a part are not recorded; nothing where all are."""
    known = recorded(part)
    named = []
    for block in blocks_of(part):
        lacking: dict[str, list[str]] = {}
        for schedule in block.schedules:
            seeds = [seed for seed in block.seeds if (block.name, schedule, seed) not in known]
            if seeds:
                lacking.setdefault(_ranges(seeds), []).append(f"`{schedule}`")
        named += [f"{block.title}, {', '.join(names)}: seeds {seeds}" for seeds, names in lacking.items()]
    return f"Not run yet: {'; '.join(named)}." if named else "All planned runs are in."


def _ranges(seeds: Sequence[int]) -> str:
    """Return `1–3, 5` of 1, 2, 3 and 5."""
    rows = [list(row) for _, row in groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{row[0][1]}–{row[-1][1]}" if len(row) > 1 else f"{row[0][1]}" for row in rows)


def _better(arm: Arm, other: Arm | None) -> str:
    if other is None or other is arm or min(len(arm.rows), len(other.rows)) < 2:
        return ""
    found = improvement([arm.values("area")], [other.values("area")])
    return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})"


def _interval(found: Estimate) -> str:
    if math.isnan(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def _mean(values: Array, form: str) -> str:
    known = values[np.isfinite(values)]
    return form.format(known.mean()) if len(known) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _when(arm: Arm, name: str) -> str:
    """Return the median over all runs, where one that never came there counts as later than all others."""
    frames = arm.frames(name)
    reached = f"{np.isfinite(frames).sum()} of {len(frames)}"
    middle = median(frames)
    return f"{middle / 1000:.1f}k ({reached})" if math.isfinite(middle) else f"– ({reached})"


# --- Pictures -------------------------------------------------------------------------------------


def draw_intervals(path: Path, panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]]) -> None:
    """Draw estimates with their intervals, one row each, a panel for each group side by side."""
    rows = max(len(part) for _, part in panels)
    with drawing(path, height=1.0 + 0.27 * rows) as figure:
        axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True, sharex=True))
        for panel, (title, estimates) in zip(axes, panels, strict=True):
            for index, (_, found) in enumerate(estimates):
                panel.plot([found.low, found.high], [index, index], color=colour(0), linewidth=2.2, alpha=0.45)
                panel.plot([found.value], [index], "o", color=colour(0), markersize=5)
            panel.axvline(estimates[0][1].value, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
            panel.set_title(title, fontsize=9)
            panel.set_yticks(range(len(estimates)), [name for name, _ in estimates])
            panel.grid(axis="x", alpha=0.3)
        axes[0].invert_yaxis()
        figure.supxlabel("mean success rate on the whole task over the training, 95% interval over seeds", fontsize=9)


def draw_curves(path: Path, panels: Sequence[tuple[str, Sequence[tuple[str, Arm]]]], total: int) -> None:
    """Draw how far the curriculum is over the frames, the mean over runs, a line an arm and a panel a group."""
    frames = np.linspace(0.0, total, 200)
    with drawing(path, height=2.9) as figure:
        axes: Sequence[Axes] = np.atleast_1d(figure.subplots(1, len(panels), sharey=True)).tolist()
        for panel, (title, arms) in zip(axes, panels, strict=True):
            for index, (name, arm) in enumerate(arms):
                values = arm.curve(frames)
                panel.plot(frames, values.mean(axis=0), color=colour(index), linewidth=1.5, label=name)
            panel.set_title(title, fontsize=9)
            panel.set_ylim(0, 1.02)
            panel.grid(alpha=0.3)
            count_axis(panel, np.array([0.0, total]), "frames")
        axes[0].set_ylabel("stages mastered, as a share")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


# --- Sections of the page -------------------------------------------------------------------------


def presets() -> dict[str, str]:
    """Return the tables of the presets at each base rate, and draw their pictures."""
    arms = arms_of("presets")
    by_rate = {block: [arm for arm in arms if arm.block == block.name] for block in PARTS["presets"]}
    texts = {f"presets-{block.name}": against_constant(own) for block, own in by_rate.items()}
    constants = [arm for arm in arms if arm.schedule == "constant"]
    best = max(constants, key=lambda arm: arm.values("area").mean(), default=None)
    named = [(f"`{arm.schedule}` × {arm.block}", arm, best) for arm in arms if arm is not best]
    texts["presets-best"] = table("schedule × base rate", f"`constant` × {best.block}" if best else "", named)
    texts["presets-diagnostics"] = diagnostics([(f"`{arm.schedule}`", arm) for arm in arms if arm.block == "1"])
    by_size = sorted(by_rate.items(), key=lambda pair: float(pair[0].name))
    shown = [(block.title, [(arm.schedule, arm) for arm in own]) for block, own in by_size if own]
    if not shown:
        return texts
    areas = [(title, [(name, estimate(arm.values("area"))) for name, arm in own]) for title, own in shown]
    draw_intervals(DOCS / "images" / "study_presets.png", areas)
    draw_curves(DOCS / "images" / "study_presets_curves.png", shown, FRAMES)
    return texts


def pixels() -> dict[str, str]:
    """Return the table of trainings from pixels, one network at a time, and draw their picture."""
    arms = arms_of("pixels")
    titles = {block.name: block.title for block in PARTS["pixels"]}
    constant = next((arm for arm in arms if arm.schedule == "constant"), None)
    labels = [f"{titles[arm.block]}: `{arm.schedule}`" for arm in arms]
    if arms:
        areas = [(label, estimate(arm.values("area"))) for label, arm in zip(labels, arms, strict=True)]
        draw_intervals(DOCS / "images" / "study_pixels.png", [("", areas)])
    named = [(label, arm, constant) for label, arm in zip(labels, arms, strict=True)]
    return {"pixels": table("decays", "`constant`", named)}


def longer() -> dict[str, str]:
    """Return the table of trainings that are longer than needed, and draw their curves."""
    arms = arms_of("longer")
    if arms:
        draw_curves(DOCS / "images" / "study_longer.png", [("", [(arm.schedule, arm) for arm in arms])], 3 * FRAMES)
    return {"longer": against_constant(arms)}


def knobs() -> dict[str, str]:
    """Return the table of what else the rate competes with, each arm against the same schedule without it."""
    plain = {arm.schedule: arm for arm in arms_of("presets") if arm.block == "1"}
    titles = {block.name: block.title for block in PARTS["knobs"]}
    named = [(f"{titles[arm.block]}, `{arm.schedule}`", arm, plain[arm.schedule]) for arm in arms_of("knobs")]
    return {"knobs": table("changed", "without it", named)}


def peer() -> dict[str, str]:
    """Return the table of single stages, our agent and another library's, each figure of every run."""
    whole = [arm for arm in arms_of("pixels") if (arm.block, arm.schedule) == ("all", "constant")]
    arms = {
        f"{block.title}, {agent}": [arm for arm in arms_of(part) if arm.block == block.name]
        for block in PEER
        for part, agent in (("alone", "Glideslope"), ("peer", "SAC"))
    } | {"`S4_full` by the curriculum, Glideslope": whole}
    lines = ["| task, agent | 90% at | last policy landed | landed | off centre | minutes |", "| --- |" + " --- |" * 5]
    for label, found in arms.items():
        for arm in found:
            each = {
                "frames_to_90": lambda frame: f"{frame / 1000:.0f}k",
                "final": _percent,
                "landed": _percent,
                "off_centre": "{:.2f} m".format,
                "minutes": "{:.0f}".format,
            }
            cells = (
                ", ".join(form(value) if math.isfinite(value) else "–" for value in arm.values(name))
                for name, form in each.items()
            )
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return {"peer": "\n".join(lines) if len(lines) > 2 else "No run yet."}


def against_constant(arms: Sequence[Arm]) -> str:
    """Return the table of a block, each schedule against its constant rate."""
    constant = next((arm for arm in arms if arm.schedule == "constant"), None)
    return table("schedule", "`constant`", [(f"`{arm.schedule}`", arm, constant) for arm in arms])


SECTIONS = {"presets": presets, "pixels": pixels, "longer": longer, "knobs": knobs, "peer": peer}


def fill(page: str, texts: dict[str, str]) -> str:
    """Return the page with each text between its marks, ``<!-- name -->`` and ``<!-- end -->``.

    Raises:
        KeyError: the page lacks a mark, or has one without a text.
    """
    parts = re.split(r"(<!-- (?!end)[\w.-]+ -->\n).*?(?=<!-- end -->)", page, flags=re.DOTALL)
    marks = [part.split()[1] for part in parts[1::2]]
    if sorted(marks) != sorted(texts):
        raise KeyError(f"marks of the page: {sorted(marks)}; texts: {sorted(texts)}")
    between = [f"{mark}{texts[name]}\n" for mark, name in zip(parts[1::2], marks, strict=True)]
    return "".join(part for pair in zip_longest(parts[::2], between, fillvalue="") for part in pair)


def sections() -> Iterator[tuple[str, str]]:
    """Yield each mark and its text, and draw the pictures."""
    for part, section in SECTIONS.items():
        yield from section().items()
        yield f"{part}-missing", missing(part)
    yield "alone-missing", missing("alone")


def main(argv: Iterable[str]) -> int:
    """Write the page; with ``print``, print the texts instead."""
    texts = dict(sections())
    if "print" in argv:
        for name, text in texts.items():
            print(f"\n## {name}\n\n{text}")
        return 0
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), texts), encoding="utf-8")
    print(f"{PAGE}: {len(texts)} tables")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
