"""The numbers of a run: TensorBoard scalars, and the same numbers in train.csv and eval.csv."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams, text

from glideslope.errors import typed
from glideslope.runs.event_file import EventFile, cut_events
from glideslope.runs.run_folder import EVAL_CSV, TRAIN_CSV
from glideslope.runs.tracking import Tracker
from glideslope.settings import NETWORKS
from glideslope.settings.checks import flat_settings
from glideslope.settings.yaml_files import dump_yaml
from glideslope.storage.csv_table import CsvTable, Number, check_csv_table

RATE_TAGS = tuple(f"lr_{network}" for network in NETWORKS)
STAGE_TAG = "curriculum/stage"
SUCCESS_TAG = "curriculum/success_rate_window"
EVAL_SUCCESS_TAG = "eval/success_rate"
TAGS = (*RATE_TAGS, STAGE_TAG, SUCCESS_TAG)
_EVAL_GROUP = "eval/"
HELD_OUT_GROUP = "held_out/"
SCHEDULED_GROUP = "schedules/"
TAG_GROUPS = ("train/", _EVAL_GROUP, "diagnostics/", HELD_OUT_GROUP, SCHEDULED_GROUP)
# The figures that TensorBoard's HParams page has a column for.
HELD_OUT_TAGS = tuple(
    f"{HELD_OUT_GROUP}{name}" for name in ("success_rate", "touchdown_error_m", "touchdown_speed", "episode_reward")
)
_SESSION_END = "_hparams_/session_end_info"

_DIAGNOSTICS = {  # chart: how its tags end
    "gradient norm": "grad_norm",
    "update-to-weight ratio": "update_to_weight",
    "parameter norm": "param_norm",
    "effective learning rate": "effective_lr",
    "dormant units": "dormant_ratio",
}

# TensorBoard matches these as regular expressions at a tag's beginning. It puts categories one below the other but
# a category's charts side by side: the stage has its own category, to stand below the rates on the same x axis.
_LAYOUT = {
    "Learning rates": {"learning rates": ["Multiline", [f"{tag}$" for tag in RATE_TAGS]]},
    "Curriculum": {"curriculum stage": ["Multiline", [f"{STAGE_TAG}$"]]},
    "Landings": {
        "success rate": ["Multiline", [f"{SUCCESS_TAG}$", f"{EVAL_SUCCESS_TAG}$"]],
        "crash rate": ["Multiline", ["eval/crash_rate$"]],
    },
    "Diagnostics": {
        chart: ["Multiline", [f"diagnostics/{network}_{ending}$" for network in NETWORKS]]
        for chart, ending in _DIAGNOSTICS.items()
    },
}


class Logger:
    """Writes a run's numbers into its folder; the x axis is frames.

    Numbers that can't be written (a full disk, say) are kept in memory and written by the next call that
    works, in order and once: a caller may report the OSError and continue.

    Args:
        run_dir: an existing folder. Event files, `train.csv` and `eval.csv` go directly into it, so that
            TensorBoard names the run like the folder.
        resume_frame: None for a new run. For a resumed one the frame of its snapshot, -1 where there is
            none: what was logged after that frame is removed. Log a frame's numbers, then `flush`, before
            its snapshot.
        evaluation_due: whether the snapshot was written before the evaluation of its frame: what was logged of
            that is removed too.
        update_due: whether it was written before the update of its frame, likewise.
        tracker: gets the same rows.

    Attributes:
        tracker: the tracker; whoever ends the run finishes it.

    Raises:
        FileExistsError: a new run, but the folder holds a run's tables.
        TableError: what is to be kept of a table is damaged. Nothing has been changed.
        OSError: the folder can't be written to.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        resume_frame: int | None = None,
        evaluation_due: bool = False,
        update_due: bool = False,
        tracker: Tracker | None = None,
    ) -> None:
        self.tracker = tracker or Tracker()
        train_frame = eval_frame = resume_frame
        if resume_frame is not None:
            train_frame, eval_frame = resume_frame - update_due, resume_frame - evaluation_due
            check_csv_table(run_dir / TRAIN_CSV, train_frame)
            check_csv_table(run_dir / EVAL_CSV, eval_frame)
        self._train = CsvTable(run_dir / TRAIN_CSV, resume_frame=train_frame)
        self._eval = CsvTable(run_dir / EVAL_CSV, resume_frame=eval_frame)
        self._last: dict[str, int] = {}
        self._first_frame = 0 if resume_frame is None else resume_frame + 1
        # Rates before a jump are logged once it is there, and may be of a frame before that of the resume.
        self._first_train_frame = self._train.last_frame + 1
        self._first_frames = {
            _EVAL_GROUP: 0 if eval_frame is None else eval_frame + 1,
            # The held-out result follows the last snapshot, whose frame it has.
            HELD_OUT_GROUP: max(self._first_frame - 1, 0),
        }
        if train_frame is not None:
            first = train_frame + 1
            cut_events(run_dir, lambda tag: self._first_of(tag, first))
        self._events = EventFile(run_dir, self._first_frame, _LAYOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(OSError):  # the error under way says more
                self.close()

    @property
    def last_train_frame(self) -> int:
        """Frame of the latest row of train.csv; -1 before the first."""
        return self._train.last_frame

    def log_train(self, frame: int, values: Mapping[str, Number]) -> None:
        """Write numbers to TensorBoard, which leaves None out, and to train.csv, under the same names.

        Raises:
            ValueError: a tag that this project doesn't have (one of `TAGS`, or in one of `TAG_GROUPS`), or a
                frame that is not later than the tag's or the table's latest. Nothing is kept then.
            OSError: these or earlier numbers could not be written; they are kept for the next call.
        """
        self._log(self._train, frame, values)

    def log_eval(self, frame: int, values: Mapping[str, Number]) -> None:
        """Write numbers to TensorBoard and to eval.csv, as `log_train` does to train.csv."""
        self._log(self._eval, frame, values)

    def flush(self) -> None:
        """Bring everything logged so far to the disk itself: call it before a snapshot is written.

        Raises:
            OSError: something is not there for certain; it is kept for the next call.
        """
        _every(self._events.flush, self._train.flush, self._eval.flush)

    def close(self) -> None:
        """Flush and close all files. May be called twice.

        Raises:
            OSError: as `flush`. All files are closed all the same.
        """
        _every(self._events.close, self._train.close, self._eval.close)

    def log_settings(self, settings: Mapping[str, Any], command: str) -> None:
        """Write the settings, plain data, to TensorBoard, as text and as the hyperparameters of its HParams page.

        Raises:
            OSError: as `log_train`.
        """
        flat = {key: _hyperparameter(value) for key, value in flat_settings(settings)}
        resolved = dump_yaml(dict(settings))
        experiment, start, _ = hparams(flat, dict.fromkeys(HELD_OUT_TAGS, 0.0))  # type: ignore[no-untyped-call]
        summaries = [experiment, start]
        for tag, content in (("run/command", command), ("run/settings", resolved)):
            lines = "".join(f"    {line}\n" for line in content.splitlines())
            summaries.append(text(tag, lines))  # type: ignore[no-untyped-call]
        now = time.time()
        self._events.add(*(Event(step=self._first_frame, wall_time=now, summary=summary) for summary in summaries))

    def log_held_out(self, frame: int, values: Mapping[str, Number]) -> None:
        """Write the held-out result to TensorBoard: the run's last numbers.

        Raises:
            ValueError, OSError: as `log_train`.
        """
        numbers = self._numbers(frame, values)
        self.tracker.log(frame, numbers)
        _, _, end = hparams({}, {})  # type: ignore[no-untyped-call]
        self._add(frame, numbers)
        self._events.add(Event(step=int(frame), wall_time=time.time(), summary=end))

    def _log(self, table: CsvTable, frame: int, values: Mapping[str, Number]) -> None:
        numbers = self._numbers(frame, values)
        table.check(frame, values)
        self.tracker.log(frame, numbers)
        _every(lambda: self._add(frame, numbers), lambda: table.append(frame, values))

    def _first_of(self, tag: str, other: int) -> int:
        """Return the first frame that a tag's numbers can have: of an evaluation's its own, of all others `other`."""
        group = HELD_OUT_GROUP if tag == _SESSION_END else tag[: tag.find("/") + 1]
        return self._first_frames.get(group, other)

    def _numbers(self, frame: int, values: Mapping[str, Number]) -> dict[str, float]:
        """Return the values that are not None, checked."""
        for tag in values:
            if tag not in TAGS and not tag.startswith(TAG_GROUPS):
                raise ValueError(f"unknown tag {tag!r}: expected one of {TAGS} or one in {TAG_GROUPS}")
            latest = self._last.get(tag, self._first_of(tag, self._first_train_frame) - 1)
            if frame <= latest:
                raise ValueError(f"{tag}: frame {frame} comes after frame {latest}")
        return {tag: float(value) for tag, value in values.items() if value is not None}

    def _add(self, frame: int, numbers: Mapping[str, float]) -> None:
        if not numbers:
            return
        values = [Summary.Value(tag=tag, simple_value=number) for tag, number in numbers.items()]
        event = Event(step=int(frame), wall_time=time.time(), summary=Summary(value=values))
        self._last.update(dict.fromkeys(numbers, int(frame)))
        self._events.add(event)


def _hyperparameter(value: object) -> float | str:
    """A setting as a value of TensorBoard's HParams page, which has numbers and text."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else typed(value)


def _every(*calls: Callable[[], None]) -> None:
    """Make all calls, whichever of them raise an OSError; raise the first of these at the end."""
    errors = []
    for call in calls:
        try:
            call()
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]
