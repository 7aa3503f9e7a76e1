"""The training loop: act, store, learn, log, evaluate, keep. Receives finished parts and builds none.

Time is the global step: environment steps summed over all parallel environments. A vector step of N environments
passes N steps, and one update falls on every multiple of ``update_every_steps`` among them, written with the
learning rates of exactly that step. So neither N nor the update ratio changes the rate at a given step.

A snapshot is taken between two vector steps and holds everything that the next one depends on: a run that goes on
from it is, on the same processor, bit for bit the run that never stopped.
"""

from __future__ import annotations

import errno
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glideslope.agent import DivergedError, DrQV2Agent
from glideslope.build import newest
from glideslope.curriculum.retention import Retention
from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.display.time_left import Work
from glideslope.display.workload import (
    film_episodes,
    film_pictures,
    longest_episode,
    scoring_envs,
    scoring_steps,
    work_left,
)
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import ACTION_DIM, GIMBAL_AXES, gimbal_scale
from glideslope.errors import UserError, failure
from glideslope.evaluation.filming import record_episodes
from glideslope.evaluation.scoring import TEST_SEED, VALIDATION_SEED, Score, score
from glideslope.lr_scheduler import LiveSchedules, read_lr
from glideslope.replay.buffer import ReplayBuffer
from glideslope.replay.store import ReplayStore
from glideslope.runs import snapshots as checkpoint
from glideslope.runs.logger import RATE_TAGS, STAGE_TAG, SUCCESS_TAG, Logger
from glideslope.runs.snapshots import Snapshots
from glideslope.settings import Settings

FILM = "landing.mp4"
_RECENT_EPISODES = 8
# An evaluation that is due: of the current stage, of every stage, or none.
Evaluation: TypeAlias = Literal["stage", "all stages"] | None


class TrainingError(Exception):
    """Training can't go on: a network has diverged, or the disk takes nothing more. The last snapshot is good."""


class StoppedError(Exception):
    """A stop was asked for in the middle of an evaluation, which will be made anew."""


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    env: LandingVectorEnv
    eval_env: LandingVectorEnv
    make_film_env: Callable[
        [], LandingVectorEnv
    ]  # one environment with views; made when there is a film to make
    agent: DrQV2Agent
    replay: ReplayBuffer
    store: ReplayStore  # the replay buffer's files
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
        self._observation: Observation | None = (
            None  # what the next action answers; None before the first step
        )
        self._episodes: dict[str, list[float]] = defaultdict(list)
        self._rng = np.random.default_rng([settings.seed, 1])
        self._last_log = (time.monotonic(), 0)
        self._stop = False
        self.played: str | None = None
        """The snapshot that the final evaluation plays; None for the last networks."""
        self._logged = -1  # the log interval that was last written; none yet
        self._resumed = False  # until the first update after a resume
        self._due: Evaluation = None
        self._retention = Retention()
        self._lengths: deque[float] = deque(maxlen=_RECENT_EPISODES)  # of recent episodes, in steps
        self._began, self._seconds_before = time.monotonic(), 0.0
        self._saved: tuple[int, Evaluation] | None = None  # what the rolling snapshot holds
        self._manifest: list[Any] = []  # the replay files that it needs

    @property
    def frame(self) -> int:
        """Frames done: global steps times ``action_repeat``, at most ``num_train_frames``."""
        settings = self._settings
        return min(self._step * settings.action_repeat, settings.num_train_frames)

    @property
    def reached(self) -> int:
        """The highest stage that the curriculum has come to."""
        return max(stage for _, stage in self._parts.curriculum.history)

    @property
    def seconds(self) -> float:
        """Time spent training, that before a resume included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def was_resumed(self) -> bool:
        """Whether this training goes on with what another process began."""
        return self._seconds_before > 0

    @property
    def saved(self) -> bool:
        """Whether the rolling snapshot holds this very state."""
        return self._saved == (self._step, self._due)

    def stop(self) -> None:
        """End after the vector step under way; safe to call from a signal handler."""
        self._stop = True

    def train(self) -> bool:
        """Run to ``num_train_frames``; returns whether it got there (False after :meth:`stop`).

        Raises:
            TrainingError: a network diverged, or a file can't be written and ``on_write_error`` is ``stop``.
        """
        settings = self._settings
        if self._observation is None:
            self._begin()
        elif not self.saved:
            self._snapshot()  # what it goes on from is another snapshot, or has another schedule by now
        self._show()
        try:
            self._evaluate()  # one that a stop cut off
            while self._step < settings.total_steps and not self._stop:
                self._due = self._vector_step()
                self._learn()
                self._show()
                self._evaluate()
                if self._passed(settings.snapshot_every_frames):
                    self._snapshot()
        except StoppedError:
            pass
        if not self.saved:
            self._snapshot()
        return self._step >= settings.total_steps and self._due is None

    def _begin(self) -> None:
        settings, parts = self._settings, self._parts
        # Spread seeds: runs with neighbouring ones must not meet the same episodes.
        seeds = np.random.SeedSequence(settings.seed).generate_state(settings.num_envs)
        self._play_stage()
        self._observation, _ = parts.env.reset(seed=[int(seed) for seed in seeds])
        parts.replay.add_first(np.arange(settings.num_envs), **newest(self._observation))

    # --- one step ---

    def _vector_step(self) -> Evaluation:
        """Act once in every environment; returns the evaluation that is due behind it."""
        settings, parts = self._settings, self._parts
        if self._step < settings.seed_steps:
            actions = self._rng.uniform(-1.0, 1.0, (settings.num_envs, ACTION_DIM)).astype(np.float32)
        else:
            stddev = parts.schedules.rate("stddev", self._step, parts.curriculum.history)
            assert self._observation is not None
            actions = self._finite(parts.agent.act(self._observation, stddev).cpu().numpy())
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
        entered = ended.any() and self._record(infos["final_info"], np.flatnonzero(ended))
        self._observation = following
        if entered or self._step >= settings.total_steps:
            return "all stages"
        return "stage" if self._passed(settings.eval_every_frames) else None

    def _finite(self, actions: NDArray[Any]) -> NDArray[Any]:
        """``actions``, unless a network has diverged since its losses were last looked at."""
        if not np.isfinite(actions).all():
            raise self._diverged("the policy's actions are not numbers")
        return actions

    def _diverged(self, what: str) -> TrainingError:
        networks = self._parts.agent.not_finite()
        named = f"; diverged: {' and '.join(networks)}" if networks else ""
        return TrainingError(f"{what} at frame {self.frame:,}{named}")

    def _record(self, final: Mapping[str, NDArray[Any]], ids: NDArray[np.intp]) -> bool:
        """Take finished episodes into the curriculum and the log; returns whether the stage changed."""
        parts, entered = self._parts, False
        for env in ids:
            self._episodes["train/episode_reward"].append(float(final["episode_return"][env]))
            self._episodes["train/episode_length"].append(float(final["episode_length"][env]))
            self._lengths.append(float(final["episode_length"][env]))
            self._episodes["train/success_rate"].append(float(final["success"][env]))
            stage = int(final["stage"][env])
            left = parts.curriculum.stage
            if parts.curriculum.record(stage, bool(final["success"][env]), self._step):
                self._enter_stage(left)
                entered = True
        return entered

    def _play_stage(self) -> None:
        """Draw new episodes from the curriculum's stage, and a share of them from those before it."""
        curriculum, env = self._parts.curriculum, self._parts.env
        share = self._settings.curriculum.replay_earlier_stages
        env.set_stage(
            curriculum.stage_settings, curriculum.stage, earlier=curriculum.earlier_stages, share=share
        )

    def _enter_stage(self, left: int) -> None:
        """Go on from stage ``left`` to the next one, whose policy is kept then, or fall back to the one before."""
        parts = self._parts
        stages, index = parts.curriculum.stages, parts.curriculum.stage
        names = f"{left} {stages[left].name} mastered, on to {index} {stages[index].name}"
        if index < left:
            names = f"{left} {stages[left].name} is too hard yet, back to {index} {stages[index].name}"
        else:
            content = {**self._content(), "stage": left}
            with parts.progress.activity("save", "saving the stage's snapshot"):
                self._write(
                    lambda: parts.snapshots.save_stage(content, left, stages[left].name, self.frame),
                    "the stage's snapshot",
                )
        parts.progress.note(f"frame {self.frame:,}: stage {names}")
        self._play_stage()
        before = np.max([gimbal_scale(stages[stage]) for _, stage in parts.curriculum.history[:-1]], axis=0)
        freed = (before == 0.0) & (gimbal_scale(stages[index]) > 0.0)
        axes = [axis for axis, free in zip(GIMBAL_AXES, freed, strict=True) if free]
        if axes:
            # While an axis was locked its output meant nothing: start it where it was held.
            parts.agent.zero_action_outputs(axes)

    def _learn(self) -> None:
        """The updates that fall into the last vector step."""
        losses = []
        try:
            for step in update_steps(self._settings, self._step):
                losses += self._update(step)
        except DivergedError as error:
            raise TrainingError(f"{error} at frame {self.frame:,}") from error
        # One look for all of them: a GPU is waited for once.
        if losses and not bool(torch.stack(losses).isfinite().all()):
            raise self._diverged("a loss is not a number")

    def _update(self, step: int) -> list[Tensor]:
        """One gradient update with the rates of ``step``; logs when a log interval is complete; returns losses."""
        settings, parts = self._settings, self._parts
        history = parts.curriculum.history
        jumps = self._jumps(step)
        if jumps:
            self._log_rates(step - settings.update_every_steps)  # before they are written over
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
        elif jumps:
            self._log_rates(step)
        return [loss for name, loss in metrics.items() if name.endswith("_loss")]

    # --- records ---

    def _log(self, frame: int, step: int, metrics: Mapping[str, Any]) -> None:
        parts = self._parts
        values = {key if "/" in key else f"train/{key}": float(value) for key, value in metrics.items()}
        now = time.monotonic()
        since, frame_then = self._last_log
        self._last_log = (now, frame)
        rates = self.rates()
        row: dict[str, float | None] = dict(rates)
        row[STAGE_TAG] = next(
            stage for entered, stage in reversed(parts.curriculum.history) if entered <= step
        )
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
        self._write(lambda: parts.logger.log_train(frame, row), "the training log")

    def _jumps(self, step: int) -> bool:
        """Whether a rate jumps between the update before that of ``step`` and this one."""
        settings, schedules, history = self._settings, self._parts.schedules, self._parts.curriculum.history
        before = step - settings.update_every_steps
        resumed, self._resumed = self._resumed, False
        if before <= settings.seed_steps:
            return False
        if resumed:  # perhaps with another schedule than the update before had
            for tag, held in self.rates().items():
                was, now = (schedules.rate(tag.removeprefix("lr_"), at, history) for at in (before, step))
                if abs(held - was) > 1e-6 * was and abs(held - now) > 0.01 * max(held, now):
                    return True
        around = max(settings.log_every_frames // settings.action_repeat, 1)
        return bool(schedules.jumped(before, step, history, around=around))

    def _log_rates(self, step: int) -> None:
        """Log the rates that the optimizers hold since the update of ``step``, if they aren't logged yet."""
        parts, frame = self._parts, step * self._settings.action_repeat
        if frame > parts.logger.last_train_frame:
            stddev = parts.schedules.rate("stddev", step, parts.curriculum.history)
            row = {**self.rates(), "train/stddev": stddev}
            self._write(lambda: parts.logger.log_train(frame, row), "the training log")

    def rates(self) -> dict[str, float]:
        """The rates that the optimizers hold, by tag."""
        optimizers = self._parts.agent.optimizers
        return {tag: read_lr(optimizers[tag.removeprefix("lr_")]) for tag in RATE_TAGS}

    def _window_rate(self) -> float | None:
        curriculum = self._parts.curriculum
        return curriculum.success_rate_window if curriculum.window_episodes else None

    def work_left(self, due: int = 0, final: int | None = None) -> Work:
        """Return the work from here to the end of the run.

        Args:
            due: how many stages are to be scored before the next frame.
            final: how many stages the final evaluation still has to score; all of them by default.
        """
        curriculum = self._parts.curriculum
        return work_left(
            self._settings,
            self.frame,
            stage=curriculum.stage,
            changes=len(curriculum.history) - 1,
            due=due,
            final=final,
            episode_length=float(np.mean(self._lengths)) if self._lengths else None,
        )

    def _show(self) -> None:
        settings, curriculum = self._settings, self._parts.curriculum
        rates = {tag.removeprefix("lr_"): rate for tag, rate in self.rates().items()}
        self._parts.progress.update(
            self.frame,
            kind="collect" if self._step <= settings.seed_steps else "learn",
            work=self.work_left(due={"stage": 1, "all stages": len(curriculum.stages), None: 0}[self._due]),
            stage=curriculum.stage_settings.name,
            window_rate=self._window_rate(),
            rates=rates if self._logged >= 0 else {},
        )

    def _passed(self, every: int) -> bool:
        """Whether the last vector step passed a multiple of ``every`` frames."""
        settings = self._settings
        before = (self._step - settings.num_envs) * settings.action_repeat
        return self.frame // every > before // every

    # --- evaluation and snapshots ---

    def act_greedily(self, env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        """The policy without exploration noise.

        Raises:
            StoppedError: a stop was asked for; evaluations don't hold it up.
        """
        if self._stop:
            raise StoppedError
        self._parts.progress.tick()
        return self._finite(self._parts.agent.act(observation, None).cpu().numpy())

    def _evaluate(self) -> None:
        """Make the evaluation that is due: on validation scenarios of the current stage, or of every stage.

        The policy is kept if it is among the current stage's best.
        """
        if self._due is None:
            return
        parts, settings = self._parts, self._settings
        index = parts.curriculum.stage
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + settings.num_eval_episodes)
        chosen = [index] if self._due == "stage" else range(len(parts.curriculum.stages))
        results = {}
        for due, stage in zip(reversed(range(len(chosen))), chosen, strict=True):
            results[stage] = self._score(stage, seeds, "evaluating")
            parts.progress.plan(self.work_left(due))
        self._due = None
        result = results[index]
        rates = {stage: scored.success_rate for stage, scored in results.items()}
        row = eval_row(result) | self._retention.row(rates, self.reached, len(parts.curriculum.stages))
        self._write(lambda: parts.logger.log_eval(self.frame, row), "the evaluation log")
        parts.progress.note(f"frame {self.frame:,}: {describe(result)}")
        if len(results) > 1:
            each = ", ".join(f"{scored.name} {scored.success_rate:.0%}" for scored in results.values())
            parts.progress.note(f"frame {self.frame:,}: every stage: {each}")
        metrics = {"success_rate": result.success_rate, "episode_reward": result.episode_reward}
        for name in parts.schedules.evaluated(self._step, metrics, parts.curriculum.history):
            rate = parts.schedules.rate(name, self._step + 1, parts.curriculum.history)
            kind = "exploration noise" if name == "stddev" else f"learning rate of the {name}"
            parts.progress.note(f"frame {self.frame:,}: no progress, so the {kind} is reduced to {rate:g}")
        if parts.snapshots.would_keep(index, self.frame, result.success_rate):
            with parts.progress.activity("save", "saving the best policy's snapshot"):
                self._write(lambda: self._keep_best(index, result.success_rate), "the best policy's snapshot")

    def _keep_best(self, index: int, success_rate: float) -> None:
        self._flush()
        content = self._content() | {"success_rate": success_rate, "run": self._run_state()}
        self._parts.snapshots.save_best(content, index, self.frame, success_rate)

    def _score(self, index: int, seeds: Sequence[int], what: str) -> Score:
        parts, settings = self._parts, self._settings
        stages = parts.curriculum.stages
        length = float(np.mean(self._lengths)) if self._lengths else longest_episode(settings)
        steps = scoring_steps(len(seeds), scoring_envs(settings), length, longest_episode(settings))
        name = f"{what} stage {index + 1} of {len(stages)}"
        with parts.progress.activity("evaluate", name, units=steps, total=len(seeds), unit="episodes"):
            result = score(
                parts.eval_env, self.act_greedily, stages[index], index, seeds, parts.progress.advance
            )
        self._lengths.clear()
        self._lengths.append(result.episode_length)
        return result

    def finish(self) -> list[Score]:
        """Score the highest stage's best snapshot on test scenarios of every stage, which chose nothing; film it.

        Returns the scores by stage.

        Raises:
            StoppedError: a stop was asked for; a resumed run does it anew.
        """
        parts, settings = self._parts, self._settings
        index = parts.curriculum.stage
        parts.progress.plan(self.work_left())
        # An earlier end of this run has left a film of another policy.
        self._write(lambda: (self._run_dir / FILM).unlink(missing_ok=True), "the film")
        self._load_best(index)
        seeds = range(TEST_SEED, TEST_SEED + settings.final_eval_episodes)
        results = []
        for stage in range(len(parts.curriculum.stages)):
            results.append(self._score(stage, seeds, "final evaluation,"))
            parts.progress.plan(self.work_left(final=len(parts.curriculum.stages) - len(results)))
        row = held_out_row(results, index)
        self._write(lambda: parts.logger.log_held_out(self.frame, row), "the held-out result")
        if settings.save_video:
            pictures = film_pictures(settings, results[index].episode_length)
            parts.progress.plan({"film": pictures, "draw": 1.0})
            with parts.progress.activity("film", "filming", units=pictures):
                self._write(lambda: self._film(index, seeds[: film_episodes(settings)]), "the film")
        return results

    def _film(self, index: int, seeds: Sequence[int]) -> None:
        env, stage = self._parts.make_film_env(), self._parts.curriculum.stages[index]
        film = self._run_dir / FILM
        try:
            record_episodes(env, self.act_greedily, stage, index, seeds, film)
        except (RuntimeError, ValueError) as error:  # of the encoder: no film, but the run is done
            raise OSError(errno.EIO, str(error), str(film)) from error
        finally:
            env.close()

    def _load_best(self, index: int) -> None:
        for path in self._parts.snapshots.best(index):
            try:
                content = checkpoint.load(path)
            except UserError as error:
                self._parts.progress.note(f"passed over: {error}")
                continue
            self._parts.agent.load_state_dict(content["agent"])
            self.played = path.name
            return

    def _snapshot(self) -> None:
        parts = self._parts

        def save() -> None:
            run = self._run_state()
            parts.snapshots.save_rolling(self._content() | {"run": run})
            needed = [run["replay"], *self._manifest]
            self._saved, self._manifest = (self._step, self._due), [run["replay"]]
            self._write(lambda: parts.store.prune(needed), "the replay folder")

        with parts.progress.activity("save", "saving a snapshot"):
            self._flush()
            self._write(save, "the snapshot")

    def _flush(self) -> None:
        """Bring the logs to the disk: a resume goes on with them from its snapshot's frame."""
        self._write(self._parts.logger.flush, "the logs")

    def _write(self, action: Callable[[], object], what: str) -> None:
        """Write a file; where that fails, say so and go on, or stop, as ``on_write_error`` has it."""
        try:
            action()
        except OSError as error:
            text = f"{what} can't be written: {failure(error)}"
            if self._settings.on_write_error == "stop":
                raise TrainingError(f"{text}, at frame {self.frame:,}") from error
            self._parts.progress.note(f"frame {self.frame:,}: {text}; training goes on (on_write_error)")

    # --- state ---

    def _content(self) -> dict[str, Any]:
        """What a snapshot of the policy holds.

        Raises:
            TrainingError: a network has diverged: no snapshot is made of it.
        """
        parts = self._parts
        if parts.agent.not_finite():
            raise self._diverged("no snapshot is written")
        return {
            "settings": self._settings.to_plain(),
            "step": self._step,
            "frame": self.frame,
            "stage": parts.curriculum.stage,
            "agent": parts.agent.state_dict(),
            "curriculum": parts.curriculum.state_dict(),
            "schedules": parts.schedules.state_dict(),
        }

    def _run_state(self) -> dict[str, Any]:
        """What a resume needs besides; taken between two vector steps."""
        trainer = {
            "rng": self._rng.bit_generator.state,
            "episodes": {tag: list(values) for tag, values in self._episodes.items()},
            "logged": self._logged,
            "due": self._due,
            "retention": self._retention.state_dict(),
            "seconds": self.seconds,
        }
        return {"trainer": trainer, "env": self._parts.env.state_dict(), "replay": self._parts.store.save()}

    def resume(self, content: Mapping[str, Any], *, rolling: bool = True) -> None:
        """Go on from a snapshot whose replay buffer and schedules are in the parts already.

        Args:
            content: the snapshot.
            rolling: whether the rolling snapshot holds this state, and need not be written first.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the snapshot doesn't fit the settings.
        """
        parts, run = self._parts, content["run"]
        state = run["trainer"]
        parts.agent.load_state_dict(content["agent"])
        parts.curriculum.load_state_dict(content["curriculum"])
        parts.env.load_state_dict(run["env"], parts.curriculum.stages)
        self._observation = parts.env.observations()
        self._rng.bit_generator.state = state["rng"]
        self._episodes.update({tag: list(values) for tag, values in state["episodes"].items()})
        self._step, self._logged, self._due = int(content["step"]), int(state["logged"]), state["due"]
        self._resumed = True
        self._retention.load_state_dict(state["retention"])
        self._seconds_before = float(state["seconds"])
        self._last_log = (time.monotonic(), self.frame)
        self._saved, self._manifest = (self._step, self._due) if rolling else None, [run["replay"]]


def update_steps(settings: Settings, step: int) -> list[int]:
    """The global steps with an update among those of the vector step that ended at ``step``.

    They are the multiples of ``update_every_steps`` after the seed frames, whatever the number of environments.
    """
    first = max(step - settings.num_envs, settings.seed_steps) + 1
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


def held_out_row(results: Sequence[Score], stage: int) -> dict[str, float | None]:
    """Return the held-out scores of every stage under their log tags; the figures of `stage` without its number."""
    own = results[stage]
    return {
        "held_out/success_rate": own.success_rate,
        "held_out/success_rate_low": own.low,
        "held_out/success_rate_high": own.high,
        "held_out/crash_rate": own.crash_rate,
        "held_out/timeout_rate": own.timeout_rate,
        "held_out/touchdown_error_m": own.touchdown_error_m,
        "held_out/touchdown_speed": own.touchdown_speed,
        "held_out/episode_reward": own.episode_reward,
        **{f"held_out/success_rate_stage{result.stage}": result.success_rate for result in results},
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
