"""`TrainingRun`, which all parts of one training share: settings, clock, stop request, display, file writing."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from glideslope.agent import DrQV2Agent
from glideslope.curriculum.stages import Curriculum
from glideslope.display.progress import Progress
from glideslope.display.time_left import Work
from glideslope.display.workload import longest_episode, scoring_envs, scoring_steps, work_left
from glideslope.envs.gym import LandingVectorEnv
from glideslope.errors import failure
from glideslope.runs.logger import Logger
from glideslope.runs.resume_source import Learner
from glideslope.settings import Settings
from glideslope.settings.schedules import UPDATE_EVERY, update_every
from glideslope.training.ranks import ALONE, Ranks

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_RECENT_EPISODES = 8


class Clock:
    """How far a run is, in global steps, frames and seconds.

    A global step is an environment step, counted over all parallel environments; a frame is a simulated decision, of
    which a step has ``action_repeat``.

    Attributes:
        step: global steps done.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.step = 0
        self._began, self._seconds_before = time.monotonic(), 0.0

    @property
    def frame(self) -> int:
        """Frames done, at most ``num_train_frames``."""
        return min(self.step * self._settings.action_repeat, self._settings.num_train_frames)

    @property
    def at_end(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self._settings.total_steps

    @property
    def seconds(self) -> float:
        """Time spent training, that before a resume included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def was_resumed(self) -> bool:
        """Whether another process began this run."""
        return self._seconds_before > 0

    def advance(self) -> None:
        """Count a vector step: one step of every environment."""
        self.step += self._settings.num_envs

    def passed(self, every: int) -> bool:
        """Return whether the last vector step passed a multiple of ``every`` frames."""
        before = (self.step - self._settings.num_envs) * self._settings.action_repeat
        return self.frame // every > before // every

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds; a snapshot holds the step itself."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._seconds_before = float(state["seconds"])


@dataclass(frozen=True)
class UpdateSteps:
    """The global steps with an update that belong to one vector step, and what is learnt once they are made.

    Attributes:
        during: made while the vector step is under way.
        behind: made behind it.
        learnt: the last global step whose update, if it has one, is made then.
    """

    during: Sequence[int]
    behind: Sequence[int]
    learnt: int


def update_steps(settings: Settings, begin: int, learnt: int, every: Callable[[int], int] | None = None) -> UpdateSteps:
    """Return the updates of the vector step that begins at ``begin``, where those up to ``learnt`` are made.

    Over a whole training they are the multiples of ``update_every_steps``, or of what it is at a step by ``every``,
    after the seed frames, whatever the number of environments. With ``parallel`` that of the vector step's own end
    waits for the next one: the end may enter a stage, on which rates may depend. Behind the last vector step nothing is
    left to wait for.
    """
    end = begin + settings.num_envs
    during = end - 1 if settings.parallel else learnt
    last = end if not settings.parallel or end >= settings.total_steps else during

    def due(after: int, until: int) -> list[int]:
        steps = range(max(after, settings.seed_steps) + 1, min(until, settings.total_steps) + 1)
        return [step for step in steps if step % (every(step) if every else settings.update_every_steps) == 0]

    return UpdateSteps(due(learnt, during), due(during, last), last)


class TrainingError(Exception):
    """Training can't continue: a network has diverged, or a file can't be written. The last snapshot is good."""


class StoppedError(Exception):
    """A stop was requested in the middle of an evaluation, which a resumed run repeats."""


def diverged(what: str, agent: DrQV2Agent, frame: int) -> TrainingError:
    """Return the error for networks that have diverged, which it names."""
    networks = agent.not_finite()
    named = f"; diverged: {' and '.join(networks)}" if networks else ""
    return TrainingError(f"{what} at frame {frame:,}{named}")


class Stop:
    """A request to end the training after the vector step under way.

    Attributes:
        requested: whether there is one.
        signal: the signal that made it; SIGINT where none did.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal: int = signal.SIGINT

    def request(self) -> None:
        """Request the end; safe to call from a signal handler."""
        self.requested = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take `STOP_SIGNALS` as requests, within a ``with`` block."""

        def handle(number: int, frame: FrameType | None) -> None:
            if not self.requested:
                self.signal = number
            self.request()

        previous = {
            number: signal.signal(number, handle)
            for number in STOP_SIGNALS
            # What nohup has a program ignore is to be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class TrainingDisplay:
    """Tells the progress display what a training is doing and how much work it still has to do."""

    def __init__(self, settings: Settings, clock: Clock, curriculum: Curriculum, progress: Progress) -> None:
        self._settings, self._clock, self._curriculum = settings, clock, curriculum
        self.progress = progress
        self._lengths: deque[float] = deque(maxlen=_RECENT_EPISODES)  # of recent episodes, in steps

    def note(self, text: str) -> None:
        """Print a line that begins with the frame."""
        self.progress.note(f"frame {self._clock.frame:,}: {text}")

    def show(self, due: int, rates: Mapping[str, float]) -> None:
        """Show where the training is. Cheap: called at every vector step.

        `due` stages are to be scored before the next frame; `rates` of the networks are empty before the first update.
        """
        self.progress.update(
            self._clock.frame,
            kind="collect" if self._clock.step <= self._settings.seed_steps else "learn",
            work=self._work_left(due),
            stage=self._curriculum.stage_settings.name,
            window_rate=self._curriculum.window_rate,
            rates=rates,
        )

    def plan(self, due: int = 0, final: int | None = None) -> None:
        """Plan the work from here to the end of the run.

        `due` stages are to be scored before the next frame, `final` ones in the final evaluation; by default all.
        """
        self.progress.plan(self._work_left(due, final))

    def episode_ended(self, length: float) -> None:
        """Take the length of an episode in steps, from which that of later ones is estimated."""
        self._lengths.append(length)

    @contextmanager
    def scoring(self, index: int, episodes: int, what: str) -> Iterator[None]:
        """Show the evaluation of a stage while it lasts."""
        settings = self._settings
        longest = longest_episode(settings)
        length = float(np.mean(self._lengths)) if self._lengths else longest
        steps = scoring_steps(episodes, sum(scoring_envs(settings)), length, longest)
        name = f"{what} stage {index + 1} of {len(self._curriculum.stages)}"
        with self.progress.activity("evaluate", name, units=steps, total=episodes, unit="episodes"):
            yield

    def scored(self, length: float) -> None:
        """Take the mean length of an evaluation's episodes in place of those of training."""
        self._lengths.clear()
        self._lengths.append(length)

    def _work_left(self, due: int = 0, final: int | None = None) -> Work:
        curriculum = self._curriculum
        return work_left(
            self._settings,
            self._clock.frame,
            stage=curriculum.stage,
            changes=len(curriculum.history) - 1,
            due=due,
            final=final,
            episode_length=float(np.mean(self._lengths)) if self._lengths else None,
        )


class TrainingRun:
    """One training, at step 0, from built parts.

    `settings` and all that counts are those of the whole. `env`, and the learner's replay buffer, are the share that
    this process of `ranks` has of it.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        env: LandingVectorEnv,
        learner: Learner,
        curriculum: Curriculum,
        logger: Logger,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings, self.folder, self.env, self.learner = settings, folder, env, learner
        self.curriculum, self.logger, self.ranks = curriculum, logger, ranks
        self.own_settings = ranks.own(settings)
        self.clock, self.stop = Clock(settings), Stop()
        self.losses: dict[str, float] = {}  # as last logged
        self.display = TrainingDisplay(self.own_settings, self.clock, curriculum, progress)

    def value(self, name: str, step: int) -> float | None:
        """Return a scheduled number at a global step; None where it has no schedule."""
        schedules = self.learner.schedules
        return schedules.rate(name, step, self.curriculum.history) if name in schedules else None

    def update_every(self, step: int) -> int:
        """Return `update_every_steps` at a global step: as scheduled, to the nearest whole number, at least 1."""
        scheduled = self.value(UPDATE_EVERY, step)
        return self.settings.update_every_steps if scheduled is None else update_every(scheduled)

    def updates_actor(self, step: int) -> bool:
        """Return whether the update of a global step is one of the actor too: every `actor_every_updates`-th is."""
        return step // self.update_every(step) % self.settings.actor_every_updates == 0

    def update_before(self, step: int) -> int:
        """Return the global step of the update before that of `step`; that of the seed frames' end for the first."""
        if UPDATE_EVERY not in self.learner.schedules:
            return step - self.settings.update_every_steps
        earlier = range(step - 1, self.settings.seed_steps, -1)
        return next((at for at in earlier if at % self.update_every(at) == 0), self.settings.seed_steps)

    @property
    def is_stopping(self) -> bool:
        """Whether any of the processes was asked to stop."""
        return self.ranks.any(self.stop.requested)

    def write(self, action: Callable[[], object], what: str) -> None:
        """Write a file, for people `what`; where that fails, continue with a note, or stop: `on_write_error`.

        Of several processes the first one writes.

        Raises:
            TrainingError: it can't be written, and that stops the training.
        """
        if not self.ranks.is_first:
            return
        try:
            action()
        except OSError as error:
            text = f"{what} can't be written: {failure(error)}"
            if self.settings.on_write_error == "stop":
                raise TrainingError(f"{text}, at frame {self.clock.frame:,}") from error
            self.display.note(f"{text}; training continues (on_write_error)")
