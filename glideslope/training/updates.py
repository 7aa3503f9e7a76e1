"""Makes the gradient updates of a training, one after the other or those of the critic beside those of the actor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glideslope.agent import DivergedError
from glideslope.replay.buffer import Batch
from glideslope.settings import NETWORKS
from glideslope.settings.schedules import DISCOUNT, NOISE, TAU
from glideslope.training.run import TrainingError, TrainingRun, diverged
from glideslope.training.training_log import Records

Metrics = dict[str, Tensor]


class Updates:
    """Updates at given global steps, each with the rates of exactly that step."""

    def __init__(self, run: TrainingRun, records: Records) -> None:
        self._run, self._records = run, records

    def make(self, steps: Sequence[int]) -> None:
        """Make the updates of these global steps, one after the other.

        Raises:
            TrainingError: a network has diverged.
        """
        losses: list[Tensor] = []
        with _diverging(self._run):
            for step in steps:
                self._records.before_update(step)  # before the rates are written over
                metrics = self._update(step)
                self._records.after_update(step, metrics)
                losses += _losses(metrics)
        self._require_finite(losses)

    def make_beside(self, steps: Sequence[int], worker: Executor) -> None:
        """Make the updates of these global steps, those of the actor by the `worker`, which has one thread.

        Critic and actor see each other as they were before the first of the updates, so neither waits for the other
        and the results don't depend on which is faster. Without a privileged critic they can't be told apart: all
        updates are made here.

        Raises:
            TrainingError: a network has diverged.
        """
        agent, records = self._run.learner.agent, self._records
        if not agent.privileged_critic or not steps:
            self.make(steps)
            return
        size = self._run.own_settings.batch_size
        drawn = self._run.learner.replay.sample(size * len(steps), self._discounts(steps))
        batches = drawn.to(agent.device).split(size)
        agent.freeze()
        losses: list[Tensor] = []
        block: list[tuple[int, Batch]] = []

        def flush() -> Metrics:
            metrics: Metrics = {}
            if block:
                later = worker.submit(self._update_part, "actor", block)
                try:
                    metrics = self._update_part("critic", block)
                finally:
                    wait([later])
                metrics |= later.result()
                losses.extend(_losses(metrics))
                block.clear()
            return metrics

        with _diverging(self._run):
            for step, batch in zip(steps, batches, strict=True):
                # What is logged of an update is what the optimizers hold then: it is made by itself.
                logged = records.wants(step)
                if logged:
                    flush()
                records.before_update(step)
                block.append((step, batch))
                if logged:
                    records.after_update(step, flush())
            flush()
        self._require_finite(losses)

    def _update(self, step: int) -> Metrics:
        learner = self._run.learner
        agent, schedules, history = learner.agent, learner.schedules, self._run.curriculum.history
        self._write(NETWORKS, step)
        stddev = schedules.rate(NOISE, step, history)
        drawn = learner.replay.sample(self._run.own_settings.batch_size, self._discounts([step]))
        batch = drawn.to(agent.device)
        actor, diagnostics = self._run.updates_actor(step), self._records.is_due(step)
        return agent.update(batch, stddev, actor=actor, diagnostics=diagnostics)

    def _update_part(self, part: Literal["critic", "actor"], block: Sequence[tuple[int, Batch]]) -> Metrics:
        """Make the part of each update; return the measures of the last one."""
        agent, schedules = self._run.learner.agent, self._run.learner.schedules
        history = self._run.curriculum.history
        own = [name for name in NETWORKS if (name == "critic") == (part == "critic")]
        metrics: Metrics = {}
        for step, batch in block:
            self._write(own, step)
            if part == "critic" or self._run.updates_actor(step):
                stddev = schedules.rate(NOISE, step, history)
                metrics = agent.update_frozen(part, batch, stddev, diagnostics=self._records.is_due(step))
        return metrics

    def _write(self, networks: Sequence[str], step: int) -> None:
        """Write what schedules say of a global step into the optimizers of these networks, and of the target critic."""
        agent, schedules = self._run.learner.agent, self._run.learner.schedules
        schedules.write({name: agent.optimizers[name] for name in networks}, step, self._run.curriculum.history)
        if "critic" in networks and (tau := self._run.value(TAU, step)) is not None:
            agent.critic_target_tau = tau

    def _discounts(self, steps: Sequence[int]) -> NDArray[np.float64] | None:
        """Return the discount of each transition of the batches of these global steps; None where it is constant."""
        values = [self._run.value(DISCOUNT, step) for step in steps]
        if None in values:
            return None
        return np.repeat(np.array(values, dtype=np.float64), self._run.own_settings.batch_size)

    def _require_finite(self, losses: list[Tensor]) -> None:
        # One look for all of them: a GPU is waited for once.
        if losses and self._run.ranks.any(not bool(torch.stack(losses).isfinite().all())):
            raise diverged("a loss is not a number", self._run.learner.agent, self._run.clock.frame)


@contextmanager
def _diverging(run: TrainingRun) -> Iterator[None]:
    """Tell a diverged network as an error of the training."""
    try:
        yield
    except DivergedError as error:
        raise TrainingError(f"{error} at frame {run.clock.frame:,}") from error


def _losses(metrics: Mapping[str, Tensor]) -> list[Tensor]:
    return [loss for name, loss in metrics.items() if name.endswith("_loss")]
