"""One training of a search, in a process of Ray Tune's: it trains from comparison to comparison."""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from glideslope.errors import UserError
from glideslope.runs.run_copies import copy_run
from glideslope.runs.run_folder import EVAL_CSV, OUTPUT, ROLLING, read_config
from glideslope.runs.snapshots import load
from glideslope.settings import NETWORKS, Settings
from glideslope.training.launch import train
from glideslope.training.search.lineage import Lineage, first_step_behind, rounded

SCORE = "score"
TRIALS, COPIES = "trials", "copies"
"""Folders of a search: run folders, and copies of them at comparisons."""
_CHECKPOINT = "checkpoint.json"
_KEPT_COPIES = 4  # of a trial: others may be about to take an earlier one, or Ray after a kill
_BROKEN = -1.0  # the score of a training that has diverged
_WIDTH = 120


class Trial(tune.Trainable):  # type: ignore[misc]
    """A training whose rates may be changed at comparisons, or which may be replaced by a copy of another's then.

    Ray's configuration of it holds the rates, `lr_<network>`. A checkpoint of Ray's names a copy of the run folder.
    """

    _origin: Path | None  # the copy that the run folder is to be made of
    _lineage: Lineage

    def setup(self, config: Mapping[str, Any], plain: Mapping[str, Any], folder: str, every: int, pbt: bool) -> None:
        """Take the training's settings, the search's folder, and the frames between comparisons."""
        self._settings, self._folder = Settings.from_config(plain), Path(folder)
        self._every, self._pbt = every, pbt
        self._forget()

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Become another trial, or the same one with other rates."""
        self._forget()
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next comparison."""
        total = self._settings.num_train_frames
        goal = min((self.iteration + 1) * self._every, total)
        settings = self._with_rates()
        run = self._folder / TRIALS / self._run_name
        if self._origin is not None and not _continues(run, settings, goal):
            copy_run(self._origin, run)
        run.mkdir(parents=True, exist_ok=True)
        with open(run / OUTPUT, "a", encoding="utf-8", buffering=1) as file:
            console = Console(file=file, width=_WIDTH)
            status = train(settings, run, accept_schedule=True, console=console, until=goal)
        if status > 1:
            raise RuntimeError(f"stopped by signal {status - 128}")
        score = _BROKEN if status else _score(run, settings.num_eval_episodes)
        return {SCORE: score, "frames": goal, "done": goal >= total}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the run folder, and name the copy."""
        copies = self._folder / COPIES / self._run_name
        copies.mkdir(parents=True, exist_ok=True)
        # Never the name of an earlier one: Ray may come back to that after a kill.
        copy = copies / f"{time.time_ns()}"
        copy_run(self._folder / TRIALS / self._run_name, copy)
        for old in sorted(copies.glob("[0-9]*"))[:-_KEPT_COPIES]:
            shutil.rmtree(old, ignore_errors=True)
        content = {"run": str(copy), "lineage": self._lineage.to_plain()}
        (Path(checkpoint_dir) / _CHECKPOINT).write_text(json.dumps(content), encoding="utf-8")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Resume from a copy of a run folder, this training's own or another's."""
        content = json.loads((Path(checkpoint_dir) / _CHECKPOINT).read_text(encoding="utf-8"))
        self._origin, self._lineage = Path(content["run"]), Lineage.from_plain(content["lineage"])

    @property
    def _run_name(self) -> str:
        return self.trial_id.rpartition("_")[2]

    def _forget(self) -> None:
        self._origin = None
        self._lineage = Lineage()

    def _with_rates(self) -> Settings:
        """Return the settings with the rates of the configuration, behind those that the training has had."""
        rates = {network: rounded(self.config[f"lr_{network}"]) for network in NETWORKS}
        if not self._pbt:
            return self._settings.model_copy(update={f"lr_{network}": rate for network, rate in rates.items()})
        begins = first_step_behind(self._settings, self.iteration * self._every)
        self._lineage = self._lineage.then(begins, rates)
        return self._settings.model_copy(update={"lr_schedule": self._lineage.schedule()})


def _continues(run: Path, settings: Settings, goal: int) -> bool:
    """Return whether a run folder holds this very training, at most at frame ``goal``: a kill lost none of it."""
    try:
        return read_config(run) == settings.to_plain() and load(run / ROLLING)["frame"] <= goal
    except UserError:
        return False


def _score(run: Path, episodes: int) -> float:
    """Return how far a training has come by its last evaluation: the stage, and the share of episodes that landed.

    Where these are equal the mean reward decides: it counts for less than half of an episode.
    """
    with open(run / EVAL_CSV, encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    stage, success, reward = (float(last[f"eval/{name}"]) for name in ("stage", "success_rate", "episode_reward"))
    return stage + success + math.atan(reward) / (math.pi * episodes)
