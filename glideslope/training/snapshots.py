"""What a snapshot of a training holds: written, and restored bit for bit.

A snapshot is taken between two vector steps and holds everything that the next one depends on: a run that is resumed
from it is, on the same processor, bit for bit the run that never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glideslope.curriculum.stages import Curriculum
from glideslope.envs.gym import LandingVectorEnv
from glideslope.errors import UserError
from glideslope.runs.logger import Logger
from glideslope.runs.resume import Learner
from glideslope.runs.snapshots import Snapshots, load
from glideslope.settings import Settings
from glideslope.training.actions import Actions
from glideslope.training.clock import Clock
from glideslope.training.display import TrainingDisplay
from glideslope.training.evaluations import Due, Validation
from glideslope.training.records import Records
from glideslope.training.stopping import diverged
from glideslope.training.write_errors import OnWriteError


class RunSnapshots:
    """Writes snapshots of the training, and restores it from one.

    Args:
        settings: the run's settings, which a snapshot holds.
        clock: the run's.
        learner: the parts that hold what was learnt.
        curriculum: the run's.
        env: training's environments.
        actions, records, validation: the other parts with a state.
        files: the folder's snapshots.
        logger: its logs; they reach the disk before a snapshot does, as a resume cuts them to its frame.
        write: deals with a file that can't be written.
        display: shows it.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        learner: Learner,
        curriculum: Curriculum,
        env: LandingVectorEnv,
        actions: Actions,
        records: Records,
        validation: Validation,
        files: Snapshots,
        logger: Logger,
        write: OnWriteError,
        display: TrainingDisplay,
    ) -> None:
        self._settings, self._clock, self._learner, self._curriculum = settings, clock, learner, curriculum
        self._env, self._validation, self._files = env, validation, files
        # Each has keys of its own in the snapshot's `run.trainer`.
        self._parts = (actions, records, validation, clock)
        self._logger, self._write, self._display = logger, write, display
        self._saved: tuple[int, Due] | None = None  # what the rolling snapshot holds
        self._manifest: list[Any] = []  # the replay files that it needs

    @property
    def is_saved(self) -> bool:
        """Whether the rolling snapshot holds this very state."""
        return self._saved == self._place()

    def save(self) -> None:
        """Write the rolling snapshot, from which a run is resumed.

        Raises:
            TrainingError: a network has diverged, of which no snapshot is written; or the write failed.
        """

        def save() -> None:
            run = self._run_state()
            self._files.save_rolling(self._content() | {"run": run})
            needed = [run["replay"], *self._manifest]
            self._saved, self._manifest = self._place(), [run["replay"]]
            self._write(lambda: self._learner.store.prune(needed), "the replay folder")

        with self._display.progress.activity("save", "saving a snapshot"):
            self._flush()
            self._write(save, "the snapshot")

    def save_stage(self, index: int) -> None:
        """Write the policy that mastered a stage. Raises as `save`."""
        content, name = {**self._content(), "stage": index}, self._curriculum.stages[index].name
        with self._display.progress.activity("save", "saving the stage's snapshot"):
            self._write(
                lambda: self._files.save_stage(content, index, name, self._clock.frame),
                "the stage's snapshot",
            )

    def keep_best(self, index: int, success_rate: float) -> None:
        """Write a snapshot if its evaluation is among a stage's best. Raises as `save`."""
        frame = self._clock.frame
        if not self._files.would_keep(index, frame, success_rate):
            return

        def save() -> None:
            self._flush()
            content = self._content() | {"success_rate": success_rate, "run": self._run_state()}
            self._files.save_best(content, index, frame, success_rate)

        with self._display.progress.activity("save", "saving the best policy's snapshot"):
            self._write(save, "the best policy's snapshot")

    def load_best(self, index: int) -> str | None:
        """Give the agent a stage's best policy; return its file, None where there is no good one."""
        for path in self._files.best(index):
            try:
                content = load(path)
            except UserError as error:
                self._display.progress.note(f"passed over: {error}")
                continue
            self._learner.agent.load_state_dict(content["agent"])
            return path.name
        return None

    def restore(self, content: Mapping[str, Any], *, rolling: bool) -> None:
        """Restore the training from a snapshot whose replay buffer and schedules the learner has already.

        Args:
            content: the snapshot.
            rolling: whether the rolling snapshot holds this state, and need not be written first.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the snapshot doesn't fit the settings.
        """
        run = content["run"]
        self._learner.agent.load_state_dict(content["agent"])
        self._curriculum.load_state_dict(content["curriculum"])
        self._env.load_state_dict(run["env"], self._curriculum.stages)
        self._clock.step = int(content["step"])
        for part in self._parts:
            part.load_state_dict(run["trainer"])
        self._saved, self._manifest = self._place() if rolling else None, [run["replay"]]

    def _place(self) -> tuple[int, Due]:
        """Return what tells states of one run apart."""
        return self._clock.step, self._validation.due

    def _content(self) -> dict[str, Any]:
        """Return what a snapshot of the policy holds."""
        agent, curriculum = self._learner.agent, self._curriculum
        if agent.not_finite():
            raise diverged("no snapshot is written", agent, self._clock.frame)
        return {
            "settings": self._settings.to_plain(),
            "step": self._clock.step,
            "frame": self._clock.frame,
            "stage": curriculum.stage,
            "agent": agent.state_dict(),
            "curriculum": curriculum.state_dict(),
            "schedules": self._learner.schedules.state_dict(),
        }

    def _run_state(self) -> dict[str, Any]:
        """Return what a resume needs besides; taken between two vector steps."""
        return {
            "trainer": {key: value for part in self._parts for key, value in part.state_dict().items()},
            "env": self._env.state_dict(),
            "replay": self._learner.store.save(),
        }

    def _flush(self) -> None:
        """Bring the logs to the disk: a resume continues them from its snapshot's frame."""
        self._write(self._logger.flush, "the logs")
