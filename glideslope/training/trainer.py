"""The training loop: act, store, learn, advance. It is handed finished parts and builds none.

Time is the global step: environment steps summed over all parallel environments. A vector step of N environments
passes N steps, and one update falls on every multiple of ``update_every_steps`` among them, written with the
learning rates of exactly that step. So neither N nor the update ratio changes the rate at a given step.

With ``parallel`` a second thread steps the environments, and then makes the updates of the actor where it can, while
the other updates are made, which sample what the steps before have brought. Between two iterations of the loop nothing
is under way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gym import Observation
from glideslope.runs.resume_source import Resumption
from glideslope.training.experience import VectorStep
from glideslope.training.run import StoppedError, TrainingRun, update_steps
from glideslope.training.wiring import Parts


class Trainer:
    """One training run."""

    def __init__(self, run: TrainingRun, parts: Parts) -> None:
        self._run = run
        self._parts = parts
        self._observation: Observation = {}  # what the next actions answer; empty before the first
        self._learnt = 0  # the last global step whose update, if it has one, is made

    @property
    def frame(self) -> int:
        """Frames done."""
        return self._run.clock.frame

    def stop(self) -> None:
        """End after the vector step under way."""
        self._run.stop.request()

    def resume(self, resumption: Resumption) -> None:
        """Resume from a snapshot; raise as :meth:`glideslope.training.snapshot_state.RunSnapshots.restore`."""
        self._parts.snapshots.restore(resumption.content, rolling=resumption.is_rolling)
        self._observation = self._run.env.observations()
        self._learnt = resumption.step - resumption.update_due

    def train(self, until: int | None = None) -> bool:
        """Train to ``num_train_frames``; return whether it got there (False after a stop).

        Args:
            until: pause behind the evaluation of this frame, with a snapshot.

        Raises:
            TrainingError: a network diverged, or a file can't be written and ``on_write_error`` is ``stop``.
        """
        clock, snapshots = self._run.clock, self._parts.snapshots
        if not self._observation:
            self._begin()
        elif not snapshots.are_saved():
            snapshots.save()  # it resumes from another snapshot, or has another schedule by now
        self._show()
        try:
            self._evaluate()  # what a stop cut off
            with ThreadPoolExecutor(1, thread_name_prefix="worker") as worker:
                while not clock.at_end and not self._run.is_stopping and (until is None or clock.frame < until):
                    self._iterate(worker)
                    self._show()
                    self._evaluate()
                    if clock.passed(self._run.settings.snapshot_every_frames):
                        snapshots.save()
        except StoppedError:
            pass
        if not snapshots.are_saved():
            snapshots.save()
        return clock.at_end and self._parts.validation.due is None

    def _begin(self) -> None:
        """Reset the environments."""
        settings = self._run.settings
        # Spread seeds: runs with neighbouring ones must not meet the same episodes.
        seeds = np.random.SeedSequence(settings.seed).generate_state(settings.num_envs)
        self._parts.stages.play()
        own = seeds[self._run.ranks.share.rows(len(seeds))]
        self._observation, _ = self._run.env.reset(seed=[int(seed) for seed in own])
        self._parts.experience.begin(self._observation)

    def _iterate(self, worker: ThreadPoolExecutor) -> None:
        """Act once in every environment, and make the updates that belong to this vector step."""
        settings = self._run.settings
        updates = update_steps(settings, self._run.clock.step, self._learnt, self._run.update_every)
        actions = self._parts.actions.explore(self._observation)
        if settings.parallel:
            under_way = worker.submit(self._run.env.step, actions)
            try:
                self._learn(updates.during, worker)
            finally:
                wait([under_way])
            collected = under_way.result()
        else:
            collected = self._run.env.step(actions)
        self._store(actions, collected)
        self._learn(updates.behind)
        self._learnt = updates.learnt

    def _store(self, actions: NDArray[Any], collected: VectorStep) -> None:
        """Store what the actions brought, and advance the curriculum by the episodes that ended."""
        run, parts = self._run, self._parts
        self._observation, _, terminated, truncated, infos = collected
        parts.experience.add(actions, *collected)
        run.clock.advance()
        everywhere = run.ranks.rows(_outcomes(terminated | truncated, infos))
        parts.records.step_taken(everywhere)
        changed = False
        for env in np.flatnonzero(everywhere["ended"]).tolist():
            changed |= self._episode_ended(everywhere, env)
        parts.validation.plan(stage_changed=changed)

    def _episode_ended(self, final: Mapping[str, Any], env: int) -> bool:
        """Take the episode that ended in an environment; return whether the curriculum advanced, or went back."""
        parts = self._parts
        parts.records.episode_ended(final, env)
        self._run.display.episode_ended(float(final["episode_length"][env]))
        return parts.stages.episode_ended(int(final["stage"][env]), bool(final["success"][env]))

    def _learn(self, steps: Sequence[int], worker: Executor | None = None) -> None:
        """Make the updates of these global steps, with a `worker` those of the actor by it."""
        if worker is None:
            self._parts.updates.make(steps)
        else:
            self._parts.updates.make_beside(steps, worker)

    def _evaluate(self) -> None:
        """Make the evaluation that is due, and keep the policy if it is among the best."""
        result = self._parts.validation.run()
        if result is not None:
            self._parts.snapshots.keep_best(result.stage, result.success_rate)

    def _show(self) -> None:
        parts = self._parts
        self._run.display.show(len(parts.validation.due_stages), parts.records.rates())


def _outcomes(ended: NDArray[np.bool_], infos: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return a row per environment: each part of the reward, and of the episodes that have ended how they did."""
    final = infos.get("final_info", {})
    none = np.zeros(len(ended))
    return {
        **{key: value for key, value in infos.items() if key.startswith("reward/")},
        "ended": ended,
        **{key: final.get(key, none) for key in ("stage", "success", "episode_return", "episode_length")},
    }
