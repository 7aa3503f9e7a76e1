"""Finds what a run is resumed from: the newest snapshot of its folder that is whole, replay buffer included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glideslope.agent import DrQV2Agent
from glideslope.errors import UserError
from glideslope.lr_scheduler import LiveSchedules, ScheduleChangedError
from glideslope.replay.buffer import ReplayBuffer
from glideslope.replay.store import ReplayStore
from glideslope.runs.run_folder import RunFolder
from glideslope.runs.schedule_changes import rate_changes
from glideslope.runs.snapshots import ROLLING, load_resumable, resume_candidates

REPLAY = "replay"
"""The folder of the replay buffer's files in a run folder."""


@dataclass(frozen=True)
class Learner:
    """The parts that hold what is learnt; made first, as a snapshot is tried on them before anything is written."""

    agent: DrQV2Agent
    replay: ReplayBuffer
    store: ReplayStore
    schedules: LiveSchedules


@dataclass(frozen=True)
class Resumption:
    """A snapshot to resume from; the learner's replay buffer and schedules are in its state already."""

    path: Path
    content: Mapping[str, Any]
    accept_schedule: bool

    @property
    def is_rolling(self) -> bool:
        """Whether the rolling snapshot holds the very state that the run resumes with."""
        return self.path.name == ROLLING and not self.accept_schedule

    @property
    def frame(self) -> int:
        """Frames done."""
        return int(self.content["frame"])

    @property
    def step(self) -> int:
        """Global steps done."""
        return int(self.content["step"])

    @property
    def evaluation_due(self) -> bool:
        """Whether the evaluation of its frame is still to be made: a stop cut it off."""
        return self.content["run"]["trainer"].get("due") is not None

    @property
    def update_due(self) -> bool:
        """Whether the update of its own step, if it has one, is still to be made: parallel collection lags so."""
        saved = self.content["settings"]
        amid = self.step < saved["num_train_frames"] // saved["action_repeat"]
        return amid and bool(saved.get("parallel"))


def require_length(num_train_frames: int, done: int) -> None:
    """Refuse a run that is to be shorter than what it has done, both in frames.

    Raises:
        UserError: with both numbers.
    """
    if num_train_frames < done:
        raise UserError(f"num_train_frames={num_train_frames}: the run has done {done:,} frames already")


def find_resumption(
    folder: RunFolder,
    learner: Learner,
    *,
    num_train_frames: int,
    accept_schedule: bool,
    note: Callable[[str], None],
) -> Resumption | None:
    """Return the newest good snapshot of a run folder, which is only read; None where none was written yet.

    Args:
        learner: gets the snapshot's replay buffer and schedules.
        num_train_frames: the length that the run is to have.
        accept_schedule: resume with the learner's schedules where the snapshot's are different.
        note: is told of every snapshot that is passed over, and why.

    Raises:
        UserError: there are snapshots, but no good one; the run has done more frames than it is to have; or the
            schedules differ and `accept_schedule` is false.
    """
    faults = []
    for path in resume_candidates(folder.path):
        try:
            found = _load(path, learner, accept_schedule)
        except UserError as error:
            faults.append(str(error))
            note(f"Passed over: {error}")
            continue
        require_length(num_train_frames, found.frame)
        for line in _take_over_schedules(learner.schedules, found, num_train_frames):
            note(f"Changed: {line}")
        return found
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise UserError(f"{folder.path}: no snapshot can be resumed:{listed}")
    if folder.contents == "finished":
        raise UserError(f"{folder.path}: the run is finished and has kept no snapshot to resume")
    return None


def _load(path: Path, learner: Learner, accept_schedule: bool) -> Resumption:
    found = Resumption(path, load_resumable(path), accept_schedule)
    missing = {"settings", "step", "frame", "agent", "curriculum", "schedules"} - found.content.keys()
    missing |= {"trainer", "env", "replay"} - found.content["run"].keys()
    if missing:
        raise UserError(f"{path}: is not a snapshot of this program: it lacks {', '.join(sorted(missing))}")
    learner.store.load(found.content["run"]["replay"])
    return found


def _take_over_schedules(schedules: LiveSchedules, found: Resumption, num_train_frames: int) -> list[str]:
    """Bring the schedules into the snapshot's state; return how they differ from the snapshot's, by rates."""
    content, saved = found.content, found.content["settings"]
    try:
        try:
            schedules.load_state_dict(content["schedules"])
            return []
        except ScheduleChangedError as error:
            lines = rate_changes(content, schedules, num_train_frames // saved["action_repeat"])
            if found.accept_schedule:
                schedules.load_state_dict(content["schedules"], accept_changes=True)
                return lines
            listed = "".join(f"\n  {line}" for line in lines or error.faults)
    except ValueError as error:
        raise UserError(f"{found.path}: {error}") from error
    choice = "resume_lr_schedule=config takes the new ones"
    if num_train_frames != saved["num_train_frames"] and saved.get("schedule_frames") is None:
        choice += ", resume_lr_schedule=hold keeps the old ones and holds their last rates"
    raise UserError(f"the schedules differ from those the run has had; {choice}:{listed}")
