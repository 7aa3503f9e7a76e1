"""The numbers of a run: TensorBoard scalars, and the same numbers in train.csv and eval.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from glideslope.csv_table import CsvTable, Number

RATE_TAGS = ("lr_encoder", "lr_actor", "lr_critic")
STAGE_TAG = "curriculum/stage"
SUCCESS_TAG = "curriculum/success_rate_window"
EVAL_SUCCESS_TAG = "eval/success_rate"
TAGS = (*RATE_TAGS, STAGE_TAG, SUCCESS_TAG)
TAG_GROUPS = ("train/", "eval/", "diagnostics/")

TRAIN_CSV = "train.csv"
EVAL_CSV = "eval.csv"

_DIAGNOSTICS = {  # chart: how its tags end
    "gradient norm": "grad_norm",
    "update-to-weight ratio": "update_to_weight",
    "parameter norm": "param_norm",
    "effective learning rate": "effective_lr",
    "dormant units": "dormant_ratio",
}
_NETWORKS = [tag.removeprefix("lr_") for tag in RATE_TAGS]

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
        chart: ["Multiline", [f"diagnostics/{network}_{ending}$" for network in _NETWORKS]]
        for chart, ending in _DIAGNOSTICS.items()
    },
}


class Logger:
    """Writes a run's numbers into its folder; the x axis is frames.

    Args:
        run_dir: an existing folder. Event files, `train.csv` and `eval.csv` go directly into it, so that
            TensorBoard names the run like the folder.
        resume_frame: None for a new run. For a resumed one the frame of its snapshot: what was logged after
            that frame is removed (hidden, in TensorBoard). Log a frame's numbers before its snapshot.

    Raises:
        FileExistsError: a new run, but the folder holds a run's tables.
        ValueError: the tables to go on with are damaged.
    """

    def __init__(self, run_dir: Path, *, resume_frame: int | None = None) -> None:
        self._train = CsvTable(run_dir / TRAIN_CSV, resume_frame=resume_frame)
        self._eval = CsvTable(run_dir / EVAL_CSV, resume_frame=resume_frame)
        self._last: dict[str, int] = {}
        self._first_frame = 0 if resume_frame is None else resume_frame + 1
        purge_step = None if resume_frame is None else self._first_frame
        self._writer = SummaryWriter(str(run_dir), purge_step=purge_step, flush_secs=10)
        self._writer.add_custom_scalars(_LAYOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def scalars(self, frame: int, values: Mapping[str, Number]) -> None:
        """Writes numbers to TensorBoard; None is left out.

        Raises:
            ValueError: a tag that this project doesn't have (one of `TAGS`, or in one of `TAG_GROUPS`), or
                a frame that is not later than the tag's latest. Nothing is written then.
        """
        for tag in values:
            if tag not in TAGS and not tag.startswith(TAG_GROUPS):
                raise ValueError(f"unknown tag {tag!r}: expected one of {TAGS} or one in {TAG_GROUPS}")
            latest = self._last.get(tag, self._first_frame - 1)
            if frame <= latest:
                raise ValueError(f"{tag}: frame {frame} comes after frame {latest}")
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, float(value), int(frame))
                self._last[tag] = int(frame)

    def train_row(self, frame: int, values: Mapping[str, Number]) -> None:
        """Adds one row to train.csv; see `CsvTable.append`."""
        self._train.append(frame, values)

    def eval_row(self, frame: int, values: Mapping[str, Number]) -> None:
        """Adds one row to eval.csv; see `CsvTable.append`."""
        self._eval.append(frame, values)

    def log_train(self, frame: int, values: Mapping[str, Number]) -> None:
        """The same numbers to TensorBoard and to train.csv, under the same names."""
        self.scalars(frame, values)
        self.train_row(frame, values)

    def log_eval(self, frame: int, values: Mapping[str, Number]) -> None:
        """The same numbers to TensorBoard and to eval.csv, under the same names."""
        self.scalars(frame, values)
        self.eval_row(frame, values)

    def flush(self) -> None:
        """Brings everything logged so far to the disk: call it before a snapshot is written."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes all files. May be called twice."""
        self._writer.close()
        self._train.close()
        self._eval.close()
