"""The training loop: act, store, learn, log, evaluate, keep. Receives finished parts and builds none.

Time is the global step: environment steps summed over all parallel environments. A vector step of N environments
passes N steps, and one update falls on every multiple of ``update_every_steps`` among them, written with the
learning rates of exactly that step. So neither N nor the update ratio changes the rate at a given step.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope import checkpoint
from glideslope.agent import DrQV2Agent
from glideslope.assembly import newest
from glideslope.checkpoint import Snapshots
from glideslope.curriculum import Curriculum
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import ACTION_DIM, GIMBAL_AXES, gimbal_scale
from glideslope.logger import RATE_TAGS, STAGE_TAG, SUCCESS_TAG, Logger
from glideslope.lr_scheduler import LiveSchedules, read_lr
from glideslope.progress import Progress
from glideslope.replay import ReplayBuffer
from glideslope.scoring import TEST_SEED, VALIDATION_SEED, Score, record_episodes, score
from glideslope.settings import Settings

FILM_EPISODES = 3


class TrainingError(Exception):
    """Training can't go on: a loss isn't a number any more. The last snapshot is good."""


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    env: LandingVectorEnv
    eval_env: LandingVectorEnv
    film_env: LandingVectorEnv
    agent: DrQV2Agent
    replay: ReplayBuffer
    curriculum: Curriculum
    schedules: LiveSchedules  # of the networks' rates, and of the exploration noise under "stddev"
    logger: Logger
    progress: Progress
    snapshots: Snapshots


class Trainer:
    """One training run."""

    def __init__(self, settings: Settings, run_dir: Path, parts: Parts) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._parts = parts
        self._step = 0
        self._episodes: dict[str, list[float]] = defaultdict(list)
        self._rng = np.random.default_rng([settings.seed, 1])
        self._last_log = (time.monotonic(), 0)
        self._stop = False
        self._logged = -1  # the log interval that was last written; none yet

    @property
    def frame(self) -> int:
        """Frames done: global steps times ``action_repeat``, at most ``num_train_frames``."""
        settings = self._settings
        return min(self._step * settings.action_repeat, settings.num_train_frames)

    def stop(self) -> None:
        """End after the vector step under way; safe to call from a signal handler."""
        self._stop = True

    def train(self) -> bool:
        """Run to ``num_train_frames``; returns whether it got there (False after :meth:`stop`).

        Raises:
            TrainingError: a loss became NaN or infinite.
        """
        settings, parts = self._settings, self._parts
        seed_steps = settings.num_seed_frames // settings.action_repeat
        # Spread seeds: runs with neighbouring ones must not meet the same episodes.
        seeds = np.random.SeedSequence(settings.seed).generate_state(settings.num_envs)
        observation, _ = parts.env.reset(seed=[int(seed) for seed in seeds])
        parts.replay.add_first(np.arange(settings.num_envs), **newest(observation))
        parts.progress.update(0, stage=parts.curriculum.stage_settings.name)
        while self._step < settings.total_steps and not self._stop:
            observation = self._vector_step(observation, explore=self._step < seed_steps)
            for step in update_steps(settings, self._step):
                self._update(step)
            self._show()
            if self._passed(settings.eval_every_frames):
                self._evaluate()
            if self._passed(settings.snapshot_every_frames):
                self._snapshot()
        self._snapshot()
        return self._step >= settings.total_steps

    # --- one step ---

    def _vector_step(self, observation: Observation, *, explore: bool) -> Observation:
        settings, parts = self._settings, self._parts
        if explore:
            actions = self._rng.uniform(-1.0, 1.0, (settings.num_envs, ACTION_DIM)).astype(np.float32)
        else:
            stddev = parts.schedules.rate("stddev", self._step, parts.curriculum.history)
            actions = self._finite(parts.agent.act(observation, stddev).cpu().numpy())
        following, reward, terminated, truncated, infos = parts.env.step(actions)
        ended = terminated | truncated
        last = newest(following)
        if ended.any():
            last = _with_final(last, infos["final_obs"], ended)
        parts.replay.add(
            actions,
            settings.reward_scale * reward,
            terminated,
            truncated,
            last["frame"],
            last["state"],
            last["privileged"],
        )
        if ended.any():
            ids = np.flatnonzero(ended)
            first: dict[str, Any] = {k: None if v is None else v[ids] for k, v in newest(following).items()}
            parts.replay.add_first(ids, **first)
        self._step += settings.num_envs
        for key, value in infos.items():
            if key.startswith("reward/"):
                self._episodes[f"train/{key}"].append(float(value.mean()))
        if ended.any():
            self._record(infos["final_info"], np.flatnonzero(ended))
        return following

    def _finite(self, actions: NDArray[Any]) -> NDArray[Any]:
        """``actions``, unless a network has diverged since its losses were last looked at."""
        if not np.isfinite(actions).all():
            raise TrainingError(f"the policy's actions are not numbers at frame {self.frame:,}")
        return actions

    def _record(self, final: Mapping[str, NDArray[Any]], ids: NDArray[np.intp]) -> None:
        """Take finished episodes into the curriculum and the log."""
        parts = self._parts
        for env in ids:
            self._episodes["train/episode_reward"].append(float(final["episode_return"][env]))
            self._episodes["train/episode_length"].append(float(final["episode_length"][env]))
            self._episodes["train/success_rate"].append(float(final["success"][env]))
            stage = int(final["stage"][env])
            if parts.curriculum.record(stage, bool(final["success"][env]), self._step):
                self._enter_stage(stage)

    def _enter_stage(self, left: int) -> None:
        """Keep the policy that mastered stage ``left`` and open the next one."""
        parts = self._parts
        stages, index = parts.curriculum.stages, parts.curriculum.stage
        content = {**self._content(), "stage": left}
        parts.snapshots.save_stage(content, left, stages[left].name, self.frame)
        parts.env.set_stage(stages[index], index)
        freed = (gimbal_scale(stages[left]) == 0.0) & (gimbal_scale(stages[index]) > 0.0)
        axes = [axis for axis, free in zip(GIMBAL_AXES, freed, strict=True) if free]
        if axes:
            # While an axis was locked its output meant nothing: start it where it was held.
            parts.agent.zero_action_outputs(axes)
        names = f"{left} {stages[left].name} mastered, on to {index} {stages[index].name}"
        parts.progress.note(f"frame {self.frame:,}: stage {names}")

    def _update(self, step: int) -> None:
        """One gradient update with the rates of ``step``; logs when a log interval is complete."""
        settings, parts = self._settings, self._parts
        history = parts.curriculum.history
        parts.schedules.write(parts.agent.optimizers, step, history)
        stddev = parts.schedules.rate("stddev", step, history)
        frame = step * settings.action_repeat
        # At the first update and then at the first one in each interval.
        due = frame // settings.log_every_frames > self._logged
        batch = parts.replay.sample(settings.batch_size).to(parts.agent.device)
        metrics = parts.agent.update(batch, stddev, diagnostics=due)
        if due:
            self._logged = frame // settings.log_every_frames
            self._log(frame, step, metrics)

    # --- records ---

    def _log(self, frame: int, step: int, metrics: Mapping[str, Any]) -> None:
        parts = self._parts
        values = {key if "/" in key else f"train/{key}": float(value) for key, value in metrics.items()}
        for name in ("critic_loss", "actor_loss"):
            if not np.isfinite(values[f"train/{name}"]):
                raise TrainingError(f"{name} is {values[f'train/{name}']} at frame {frame}")
        now = time.monotonic()
        since, frame_then = self._last_log
        self._last_log = (now, frame)
        rates = self.rates()
        row: dict[str, float | None] = dict(rates)
        row[STAGE_TAG] = max(stage for entered, stage in parts.curriculum.history if entered <= step)
        row[SUCCESS_TAG] = self._window_rate()
        row |= values
        for tag in RATE_TAGS:
            network = tag.removeprefix("lr_")
            row[f"diagnostics/{network}_effective_lr"] = (
                rates[tag] / values[f"diagnostics/{network}_param_norm"]
            )
        row["train/stddev"] = parts.schedules.rate("stddev", step, parts.curriculum.history)
        row["train/buffer_size"] = len(parts.replay)
        row["train/fps"] = (frame - frame_then) / max(now - since, 1e-9)
        row |= {key: float(np.mean(collected)) for key, collected in self._episodes.items()}
        self._episodes.clear()
        parts.logger.log_train(frame, row)

    def rates(self) -> dict[str, float]:
        """The rates that the optimizers hold, by tag."""
        optimizers = self._parts.agent.optimizers
        return {tag: read_lr(optimizers[tag.removeprefix("lr_")]) for tag in RATE_TAGS}

    def _window_rate(self) -> float | None:
        curriculum = self._parts.curriculum
        return curriculum.success_rate_window if curriculum.window_episodes else None

    def _show(self) -> None:
        rates = {tag.removeprefix("lr_"): rate for tag, rate in self.rates().items()}
        self._parts.progress.update(
            self.frame,
            stage=self._parts.curriculum.stage_settings.name,
            success_rate=self._window_rate(),
            rates=rates if self._logged >= 0 else {},
        )

    def _passed(self, every: int) -> bool:
        """Whether the last vector step passed a multiple of ``every`` frames."""
        settings = self._settings
        before = (self._step - settings.num_envs) * settings.action_repeat
        return self.frame // every > before // every

    # --- evaluation and snapshots ---

    def act_greedily(self, env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        """The policy without exploration noise."""
        return self._finite(self._parts.agent.act(observation, None).cpu().numpy())

    def _evaluate(self) -> None:
        """Score the policy on the current stage's validation scenarios; keep it if it is among the best."""
        parts, settings = self._parts, self._settings
        index = parts.curriculum.stage
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + settings.num_eval_episodes)
        result = self._score(index, seeds)
        parts.logger.log_eval(self.frame, eval_row(result))
        parts.progress.note(f"frame {self.frame:,}: {describe(result)}")
        metrics = {"success_rate": result.success_rate, "episode_reward": result.episode_reward}
        for name in parts.schedules.evaluated(self._step, metrics, parts.curriculum.history):
            rate = parts.schedules.rate(name, self._step + 1, parts.curriculum.history)
            kind = "exploration noise" if name == "stddev" else f"learning rate of the {name}"
            parts.progress.note(f"frame {self.frame:,}: no progress, so the {kind} is reduced to {rate:g}")
        parts.snapshots.save_best(self._content(), index, self.frame, result.success_rate)

    def _score(self, index: int, seeds: Sequence[int]) -> Score:
        stage = self._parts.curriculum.stages[index]
        return score(self._parts.eval_env, self.act_greedily, stage, index, seeds)

    def finish(self) -> Score:
        """Score the highest stage's best snapshot on test scenarios, which chose nothing, and film it."""
        parts, settings = self._parts, self._settings
        index = parts.curriculum.stage
        best = parts.snapshots.best(index)
        if best is not None:
            parts.agent.load_state_dict(checkpoint.load(best, str(parts.agent.device))["agent"])
        result = self._score(index, range(TEST_SEED, TEST_SEED + settings.final_eval_episodes))
        if settings.save_video:
            stage = parts.curriculum.stages[index]
            # A short evaluation gets a short film.
            episodes = min(FILM_EPISODES, max(1, settings.final_eval_episodes // 4))
            seeds = range(TEST_SEED, TEST_SEED + episodes)
            record_episodes(
                parts.film_env, self.act_greedily, stage, index, seeds, self._run_dir / "landing.mp4"
            )
        return result

    def _snapshot(self) -> None:
        self._parts.logger.flush()
        self._parts.snapshots.save_rolling(self._content())

    def _content(self) -> dict[str, Any]:
        parts = self._parts
        return {
            "settings": self._settings.to_plain(),
            "step": self._step,
            "frame": self.frame,
            "stage": parts.curriculum.stage,
            "agent": parts.agent.state_dict(),
            "curriculum": parts.curriculum.state_dict(),
            "schedules": parts.schedules.state_dict(),
        }


def update_steps(settings: Settings, step: int) -> list[int]:
    """The global steps with an update among those of the vector step that ended at ``step``.

    They are the multiples of ``update_every_steps`` after the seed frames, whatever the number of environments.
    """
    first = max(step - settings.num_envs, settings.num_seed_frames // settings.action_repeat) + 1
    last = min(step, settings.total_steps)
    return [at for at in range(first, last + 1) if at % settings.update_every_steps == 0]


def eval_row(result: Score) -> dict[str, float | None]:
    """A score under its log tags."""
    return {
        "eval/stage": result.stage,
        "eval/success_rate": result.success_rate,
        "eval/crash_rate": result.crash_rate,
        "eval/timeout_rate": result.timeout_rate,
        "eval/touchdown_error_m": result.touchdown_error_m,
        "eval/touchdown_speed": result.touchdown_speed,
        "eval/episode_reward": result.episode_reward,
        "eval/episode_length": result.episode_length,
    }


def describe(result: Score) -> str:
    """A score in one line."""
    error = "" if result.touchdown_error_m is None else f", {result.touchdown_error_m:.2f} m off centre"
    return (
        f"stage {result.stage} {result.name}: {result.success_rate:.0%} landed of {result.episodes} "
        f"(95% interval {result.low:.0%} to {result.high:.0%}), {result.crash_rate:.0%} crashed, "
        f"{result.timeout_rate:.0%} timed out{error}"
    )


def _with_final(last: dict[str, Any], final_obs: NDArray[Any], ended: NDArray[np.bool_]) -> dict[str, Any]:
    """The true next observations: where an episode ended, its own last one, not the next one's first."""
    replaced = {key: None if value is None else value.copy() for key, value in last.items()}
    for env in np.flatnonzero(ended):
        row = newest({key: value[None] for key, value in final_obs[env].items()})
        for key, value in replaced.items():
            if value is not None:
                value[env] = row[key][0]
    return replaced
