"""Run folders as a training leaves them, written in a moment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.curriculum.wilson import wilson_interval
from glideslope.settings import Settings
from glideslope.storage.csv_table import CsvTable

BASE = ("profile=state", "num_train_frames=12000", "curriculum.last_stage=1")


@cache
def _settings(overrides: tuple[str, ...]) -> str:
    plain = [
        word.partition("=") for word in overrides if re.match(r"(lr|device|\w+_frames|\w+_threads|save_video)=", word)
    ]
    words = [word for word in overrides if word.partition("=") not in plain]
    if plain:  # composing takes a while
        values = {key: yaml.safe_load(value) for key, _, value in plain}
        return json.dumps(Settings.from_config(json.loads(_settings(tuple(words))) | values).to_plain())
    return json.dumps(compose(TRAIN_CONFIG, [*BASE, *words], Settings).settings.to_plain())


def write_run(
    folder: Path,
    *overrides: str,
    seed: int = 1,
    landed: Sequence[int] | None = (99, 97),
    evaluations: Sequence[tuple[int, int, float]] = ((4000, 0, 0.5), (8000, 1, 0.85), (12000, 1, 0.95)),
    entered: int = 6000,
    rates: Mapping[int, float] | None = None,
    minutes: float = 2.0,
) -> Path:
    """Write a run folder; returns its path.

    Args:
        folder: where; made if need be.
        overrides: what was typed, beside `BASE` and the seed.
        seed: the run's seed.
        landed: held-out landings of 100 episodes by stage; None for an unfinished run.
        evaluations: (frame, stage, success rate) of each evaluation.
        entered: frame at which stage 1 is entered.
        rates: learning rate of all networks from each frame on.
        minutes: how long it took.
    """
    folder.mkdir(parents=True)
    config: dict[str, Any] = json.loads(_settings(overrides)) | {"seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "overrides.yaml").write_text(yaml.safe_dump([*BASE, *overrides, f"seed={seed}"]), encoding="utf-8")
    rates = rates or {2000: 3e-4}
    train = CsvTable(folder / "train.csv")
    for frame in range(2000, evaluations[-1][0] + 1, 500):
        rate = rates[max(at for at in rates if at <= frame)]
        row = {f"lr_{network}": rate for network in ("encoder", "actor", "critic")}
        train.append(frame, row | {"curriculum/stage": int(frame >= entered)})
    train.close()
    evaluated = CsvTable(folder / "eval.csv")
    for frame, stage, success in evaluations:
        evaluated.append(frame, {"eval/stage": stage, "eval/success_rate": success})
    evaluated.close()
    if landed is not None:
        scores = [_score(stage, count) for stage, count in enumerate(landed)]
        record = {"frames": 12000, "minutes": minutes, "evaluation": scores[-1], "stages": scores}
        (folder / "finished.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def _score(stage: int, count: int) -> dict[str, Any]:
    low, high = wilson_interval(count, 100)
    rate = {"success_rate": count / 100, "low": low, "high": high}
    return {"stage": stage, "name": f"stage {stage}", "episodes": 100, **rate}
