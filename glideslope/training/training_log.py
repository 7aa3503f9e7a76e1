"""Logs a training's numbers: the rows of train.csv and TensorBoard, with a pair of rows where a rate jumps."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.lr_scheduler import read, read_lr
from glideslope.runs.logger import RATE_TAGS, SCHEDULED_GROUP, STAGE_TAG, SUCCESS_TAG
from glideslope.settings.schedules import NOISE, TAU, UPDATE_EVERY, base_quantities
from glideslope.training.run import TrainingRun

_LOSSES = ("critic_loss", "actor_loss")


class Records:
    """Collects what happens between two rows, and writes the rows."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._episodes: dict[str, list[float]] = defaultdict(list)
        self._last_log = (time.monotonic(), 0)
        self._logged = -1  # the log interval that was last written; none yet
        self._resumed = False  # until the first update after a resume
        self._jumps = False  # at the update under way

    def rates(self) -> dict[str, float]:
        """Return the rate of each network that its optimizer holds; nothing before the first update."""
        return self._held_rates() if self._logged >= 0 else {}

    def step_taken(self, outcomes: Mapping[str, NDArray[Any]]) -> None:
        """Take the parts of the reward of a vector step."""
        for key, value in outcomes.items():
            if key.startswith("reward/"):
                self._episodes[f"train/{key}"].append(float(value.mean()))

    def episode_ended(self, final: Mapping[str, NDArray[Any]], env: int) -> None:
        """Take the episode that ended in an environment."""
        self._episodes["train/episode_reward"].append(float(final["episode_return"][env]))
        self._episodes["train/episode_length"].append(float(final["episode_length"][env]))
        self._episodes["train/success_rate"].append(float(final["success"][env]))

    def is_due(self, step: int) -> bool:
        """Return whether a full row is due: at the first update of every network, and at the first in each interval."""
        return self._interval(step) > self._logged and self._run.updates_actor(step)

    def wants(self, step: int) -> bool:
        """Return whether the update of ``step``, the next one, leaves something in the log."""
        return self.is_due(step) or self._rate_jumps(step)

    def before_update(self, step: int) -> None:
        """Write the rates of the update before that of ``step``, where one jumps between the two."""
        self._jumps, self._resumed = self._rate_jumps(step), False
        if self._jumps:
            self._write_rates(self._run.update_before(step))

    def after_update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write the row that is due, if one is: a full one, or the rates behind a jump."""
        if self.is_due(step):
            self._logged = self._interval(step)
            self._write_row(step, metrics)
        elif self._jumps:
            self._write_rates(step)

    def _write_row(self, step: int, metrics: Mapping[str, Any]) -> None:
        run, history = self._run, self._run.curriculum.history
        frame = step * run.settings.action_repeat
        held = run.ranks.rows({"": np.array([len(run.learner.replay)])})[""]
        metrics = run.ranks.means(metrics)
        values = {key if "/" in key else f"train/{key}": float(value) for key, value in metrics.items()}
        now = time.monotonic()
        since, frame_then = self._last_log
        self._last_log = (now, frame)
        rates = self._held_rates()
        row: dict[str, float | None] = {f"lr_{network}": rate for network, rate in rates.items()}
        row[STAGE_TAG] = next(stage for entered, stage in reversed(history) if entered <= step)
        row[SUCCESS_TAG] = run.curriculum.window_rate
        row |= values
        for network, rate in rates.items():
            norm = values[f"diagnostics/{network}_param_norm"]
            row[f"diagnostics/{network}_effective_lr"] = rate / norm
        row |= self._other_values(step)
        row["train/buffer_size"] = int(held.sum())
        row["train/fps"] = (frame - frame_then) / max(now - since, 1e-9)
        row |= {key: float(np.mean(collected)) for key, collected in self._episodes.items()}
        self._episodes.clear()
        run.losses = {name: values[f"train/{name}"] for name in _LOSSES}
        run.write(lambda: run.logger.log_train(frame, row), "the training log")

    def _write_rates(self, step: int) -> None:
        """Write the rates of the update of ``step`` alone, unless its frame has a row."""
        run, frame = self._run, step * self._run.settings.action_repeat
        if run.ranks.is_first and frame > run.logger.last_train_frame:
            row = {f"lr_{network}": rate for network, rate in self._held_rates().items()}
            row |= self._other_values(step)
            run.write(lambda: run.logger.log_train(frame, row), "the training log")

    def _rate_jumps(self, step: int) -> bool:
        run, settings = self._run, self._run.settings
        schedules, history = run.learner.schedules, run.curriculum.history
        before = run.update_before(step)
        if before <= settings.seed_steps:
            return False
        if self._resumed:  # perhaps with another schedule than the update before had
            for network, held in self._held_rates().items():
                was, now = (schedules.rate(network, at, history) for at in (before, step))
                if abs(held - was) > 1e-6 * was and abs(held - now) > 0.01 * max(held, now):
                    return True
        around = max(settings.log_every_frames // settings.action_repeat, 1)
        return bool(schedules.jumped(before, step, history, around=around))

    def _held_rates(self) -> dict[str, float]:
        optimizers = self._run.learner.agent.optimizers
        return {tag.removeprefix("lr_"): read_lr(optimizers[tag.removeprefix("lr_")]) for tag in RATE_TAGS}

    def _other_values(self, step: int) -> dict[str, float]:
        """Return the exploration noise, and what else is scheduled: of optimizers and agent what they hold."""
        run, agent = self._run, self._run.learner.agent
        row = {"train/stddev": run.learner.schedules.rate(NOISE, step, run.curriculum.history)}
        for name in base_quantities(run.settings):
            if (value := run.value(name, step)) is None:
                continue
            network, _, key = name.partition(".")
            if key:
                value = read(agent.optimizers[network], key)
            elif name == TAU:
                value = agent.critic_target_tau
            elif name == UPDATE_EVERY:
                value = run.update_every(step)
            row[f"{SCHEDULED_GROUP}{name}"] = value
        return row

    def _interval(self, step: int) -> int:
        return step * self._run.settings.action_repeat // self._run.settings.log_every_frames

    def state_dict(self) -> dict[str, Any]:
        """Return what has been collected since the last row, and which one that was."""
        episodes = {tag: list(values) for tag, values in self._episodes.items()}
        return {"episodes": episodes, "logged": self._logged, "losses": self._run.losses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the clock comes before."""
        self._episodes.update({tag: list(values) for tag, values in state["episodes"].items()})
        self._logged = int(state["logged"])
        self._run.losses = dict(state.get("losses", {}))
        self._resumed = True
        self._last_log = (time.monotonic(), self._run.clock.frame)
