"""What a snapshot of a training holds: written, and restored bit for bit.

A snapshot is taken between two vector steps and holds everything that the next one depends on: a run that is resumed
from it is, on the same processor, bit for bit the run that never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glideslope.envs.state import joined as joined_state
from glideslope.envs.state import rows_of
from glideslope.errors import UserError
from glideslope.replay.store import Unsaved
from glideslope.replay.store import joined as joined_replay
from glideslope.runs.resume_source import Learner
from glideslope.runs.snapshots import Snapshots, load
from glideslope.training.actions import Actions
from glideslope.training.evaluations import Due, Validation
from glideslope.training.run import TrainingError, TrainingRun, diverged
from glideslope.training.training_log import Records


class RunSnapshots:
    """Writes snapshots of the training to `files`, and restores it from one."""

    def __init__(
        self, run: TrainingRun, actions: Actions, records: Records, validation: Validation, files: Snapshots
    ) -> None:
        self._run, self._validation, self._files = run, validation, files
        # Each has keys of its own in the snapshot's `run.trainer`.
        self._parts = (actions, records, validation, run.clock)
        self._saved: tuple[int, Due] | None = None  # what the rolling snapshot holds
        self._manifest: list[Any] = []  # the replay files that it needs

    @property
    def is_saved(self) -> bool:
        """Whether the rolling snapshot holds this very state, as far as this process knows."""
        return self._saved == self._place()

    def are_saved(self) -> bool:
        """Return to all processes whether the rolling snapshot holds this very state: the one that writes it knows."""
        return self._run.ranks.from_first(self.is_saved)

    def save(self) -> None:
        """Write the rolling snapshot, from which a run is resumed.

        Raises:
            TrainingError: a network has diverged, of which no snapshot is written; or the write failed.
        """

        def save() -> None:
            state = gathered.write(self._run.learner)
            self._files.save_rolling(content | {"run": state})
            needed = [state["replay"], *self._manifest]
            self._saved, self._manifest = self._place(), [state["replay"]]
            self._run.write(lambda: self._run.learner.store.prune(needed), "the replay folder")

        with self._run.display.progress.activity("save", "saving a snapshot"):
            self._flush()
            content, gathered = self._content(), self._gather()
            self._run.write(save, "the snapshot")

    def save_stage(self, index: int) -> None:
        """Write the policy that mastered a stage. Raises as `save`."""
        content, name = {**self._content(), "stage": index}, self._run.curriculum.stages[index].name
        with self._run.display.progress.activity("save", "saving the stage's snapshot"):
            self._run.write(
                lambda: self._files.save_stage(content, index, name, self._run.clock.frame), "the stage's snapshot"
            )

    def keep_best(self, index: int, success_rate: float) -> None:
        """Write a snapshot if its evaluation is among a stage's best. Raises as `save`."""
        frame = self._run.clock.frame
        if not self._run.ranks.from_first(self._files.would_keep(index, frame, success_rate)):
            return

        def save() -> None:
            run = gathered.write(self._run.learner)
            self._files.save_best(content | {"success_rate": success_rate, "run": run}, index, frame, success_rate)

        with self._run.display.progress.activity("save", "saving the best policy's snapshot"):
            self._flush()
            content, gathered = self._content(), self._gather()
            self._run.write(save, "the best policy's snapshot")

    def load_best(self, index: int) -> str | None:
        """Give the agent a stage's best policy; return its file, None where there is no good one."""
        for path in self._run.ranks.from_first(self._files.best(index)):
            try:
                content = load(path)
            except UserError as error:
                self._run.display.progress.note(f"passed over: {error}")
                continue
            self._run.learner.agent.load_state_dict(content["agent"])
            return path.name
        return None

    def restore(self, content: Mapping[str, Any], *, rolling: bool) -> None:
        """Restore the training from a snapshot whose replay buffer and schedules the learner has already.

        Where it is the rolling snapshot, that need not be written first.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the snapshot doesn't fit the settings.
        """
        state = content["run"]
        self._run.learner.agent.load_state_dict(content["agent"])
        self._run.curriculum.load_state_dict(content["curriculum"])
        own = self._run.ranks.share.rows(self._run.settings.num_envs)
        env = state["env"] if self._run.ranks.share.count == 1 else rows_of(state["env"], own)
        self._run.env.load_state_dict(env, self._run.curriculum.stages)
        self._run.clock.step = int(content["step"])
        for part in self._parts:
            part.load_state_dict(state["trainer"])
        self._saved, self._manifest = self._place() if rolling else None, [state["replay"]]

    def _place(self) -> tuple[int, Due]:
        """Return what tells states of one run apart."""
        return self._run.clock.step, self._validation.due

    def _content(self) -> dict[str, Any]:
        """Return what a snapshot of the policy holds."""
        agent, curriculum = self._run.learner.agent, self._run.curriculum
        if agent.not_finite():
            raise diverged("no snapshot is written", agent, self._run.clock.frame)
        return {
            "settings": self._run.settings.to_plain(),
            "step": self._run.clock.step,
            "frame": self._run.clock.frame,
            "stage": curriculum.stage,
            "agent": agent.state_dict(),
            "curriculum": curriculum.state_dict(),
            "schedules": self._run.learner.schedules.state_dict(),
        }

    def _gather(self) -> Gathered:
        """Return what a resume needs besides, of all processes; taken between two vector steps.

        Raises:
            TrainingError: the processes' networks are not the same.
        """
        run, ranks = self._run, self._run.ranks
        trainer = {key: value for part in self._parts for key, value in part.state_dict().items()}
        if ranks.share.count == 1:
            return Gathered(trainer, run.env.state_dict(), None)
        weights: list[Tensor] = [p for network in run.learner.agent.networks.values() for p in network.parameters()]
        norms = torch.stack(torch._foreach_norm(weights)).tolist()
        if any(others != norms for others in ranks.gather(norms)):
            raise TrainingError(f"the processes' networks are not the same any more, at frame {run.clock.frame:,}")
        saved = ranks.from_first(run.learner.store.saved())
        parts = ranks.to_first((run.env.state_dict(), run.learner.store.unsaved(saved)))
        envs, replays = zip(*parts, strict=True)
        return Gathered(trainer, joined_state(envs), joined_replay(replays))

    def _flush(self) -> None:
        """Bring the logs to the disk: a resume continues them from its snapshot's frame."""
        self._run.write(self._run.logger.flush, "the logs")


@dataclass(frozen=True)
class Gathered:
    """What a resume needs besides networks, curriculum and schedules."""

    trainer: Mapping[str, Any]
    env: Mapping[str, Any]
    replay: Unsaved | None  # of all processes; None where there is one

    def write(self, learner: Learner) -> dict[str, Any]:
        """Write what is unsaved of the replay buffer; return the part `run` of a snapshot."""
        return {"trainer": self.trainer, "env": self.env, "replay": learner.store.save(self.replay)}
