"""Draws the pictures of learning_rate_schedules.md: ``python docs/draw_schedules.py [folder]``.

Each picture below a YAML block of the manual shows that block, as ``preview_lr_schedule.py`` would.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from glideslope.cli.main import PREVIEW_CONFIG, compose
from glideslope.display import figures as plots
from glideslope.lr_scheduler import LiveSchedules, Schedules, sample_steps
from glideslope.settings import PreviewSettings
from glideslope.settings.schedules import learning_rates

DOCS = Path(__file__).resolve().parent
MANUAL = DOCS / "learning_rate_schedules.md"
IMAGES = DOCS / "images"
PRESETS = (
    "constant",
    "gentle_decay",
    "aggressive_decay",
    "exponential_smooth",
    "stage_based",
    "differential",
    "warmup_cosine",
    "wsd",
    "one_cycle",
)
STAGE_STEPS = "stage_steps=[0,0.4M,1M,2M,3.5M]"  # when the pictures' curriculum enters its stages
OVERVIEW = "lr_presets.png"
COLOURS = 64  # of a picture's palette: enough for a few lines, and a third of the bytes

Curves = tuple[NDArray[np.int64], dict[str, NDArray[np.float64]], list[tuple[int, str]]]


def examples() -> dict[str, str]:
    """The name of each picture below a YAML block → the block."""
    block = r"^```yaml\n((?:(?!```).)*?)^```\n\n!\[[^]]*\]\(images/(lr_\w+\.png)\)"
    return {
        name: text for text, name in re.findall(block, MANUAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    }


def settings_of(text: str, *overrides: str) -> PreviewSettings:
    """The settings of a preview with this text as the preset file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "lr_schedule" / "example.yaml"
        file.parent.mkdir()
        file.write_text(text, encoding="utf-8")
        arguments = ["--config-dir", folder, "lr_schedule=example", *overrides]
        return compose(PREVIEW_CONFIG, arguments, PreviewSettings).settings


def curves_of(settings: PreviewSettings) -> Curves:
    """Steps, rates and the stages' bands of a picture."""
    schedules, entries = learning_rates(settings), settings.stage_entries
    reductions = made_up_reductions(schedules, settings)
    steps = sample_steps(schedules, settings.total_steps, entries)
    marks = [step + after for made in reductions.values() for step in made for after in (0, 1)]
    steps = np.unique(np.concatenate([steps, np.array(marks, dtype=np.int64)]))
    rates = {name: schedules[name](steps, entries, reductions.get(name, ())) for name in schedules}
    staged = any(schedule.follows_stages for schedule in schedules.values())
    names = settings.curriculum.stage_names
    return steps, rates, [(step, names[stage]) for step, stage in entries] if staged else []


def made_up_reductions(schedules: Schedules, settings: PreviewSettings) -> dict[str, list[int]]:
    """Reductions after evaluations whose success rate rises towards 90% and levels off after some 3M steps."""
    live, every = LiveSchedules(schedules), settings.eval_every_frames
    episodes = settings.num_eval_episodes
    for step in range(every, settings.total_steps + 1, every):
        landed = int(episodes * 0.9 * (1.0 - np.exp(-step / 8e5))) / episodes
        live.evaluated(step, {"success_rate": landed, "episode_reward": landed}, settings.stage_entries)
    return {name: [step for step, _ in made] for name, made in live.reductions.items()}


def draw(path: Path, curves: Curves, scale: plots.Scale) -> None:
    steps, rates, bands = curves
    x_label = "environment steps (global)"
    plots.plot_learning_rates(path, steps, rates, scale=scale, stages=bands, x_label=x_label)
    shrink(path)


def shrink(path: Path) -> None:
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def draw_overview(path: Path, presets: Mapping[str, Curves]) -> None:
    """All presets in one figure, on the same axes."""
    with rc_context(plots._STYLE):
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        grid = figure.subplots(2, 5, sharex=True, sharey=True)
        for axes, (name, (steps, rates, bands)) in zip(grid.flat, presets.items(), strict=False):
            for network, curve in rates.items():
                axes.plot(steps, curve, label=network, solid_capstyle="butt", **plots._CURVES[network])
            plots.rate_axis(axes, (4e-6, 2e-4), "log")
            plots.count_axis(axes, steps, "")
            plots._draw_bands(axes, bands)
            axes.grid(axis="y", which="major", color="0.88", linewidth=0.6)
            axes.set_title(name)
            axes.label_outer()
            axes.set_ylabel("")
        last = grid.flat[-1]
        last.axis("off")
        last.legend(*grid.flat[0].get_legend_handles_labels(), loc="center", handlelength=2.6)
        figure.supylabel("learning rate", fontsize=9)
        figure.supxlabel("environment steps (global)", fontsize=9)
        figure.savefig(path)
    shrink(path)


def main(folder: Path) -> None:
    for name, text in examples().items():
        stages = [STAGE_STEPS] if "stage:" in text else []
        draw(folder / name, curves_of(settings_of(text, *stages)), "linear")
    presets = {}
    for preset in PRESETS:
        arguments = [f"lr_schedule={preset}", STAGE_STEPS]
        presets[preset] = curves_of(compose(PREVIEW_CONFIG, arguments, PreviewSettings).settings)
        draw(folder / f"lr_{preset}.png", presets[preset], "log")
    draw_overview(folder / OVERVIEW, presets)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
