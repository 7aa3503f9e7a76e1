"""Keeps the files of an evaluation up to date with its results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from glideslope.display.figures import plot_evaluation
from glideslope.display.results import condition_label, results_markdown, results_table
from glideslope.errors import UserError, failure
from glideslope.evaluation.results_folder import COMPARED, EPISODES, INFO, MARKDOWN, PICTURE, RESULTS
from glideslope.evaluation.scoring import Episode, Score, summarise
from glideslope.settings import Point, StageSettings, SweepSettings
from glideslope.storage.atomic_files import write_text


@dataclass(frozen=True)
class Condition:
    """A stage at a point of a sweep."""

    stage: StageSettings  # as it is played
    index: int
    pad_speed: float | None  # m/s; None where it isn't swept
    wind: float | None  # m/s; None where it isn't swept

    @classmethod
    def at(cls, stage: StageSettings, index: int, point: Point) -> Condition:
        """Return the stage with the point's pad speed and wind in place of its own."""
        pad_speed, wind = point
        changes: dict[str, Any] = {} if wind is None else {"wind": wind}
        if pad_speed is not None:
            changes["pad_speed"] = (pad_speed, pad_speed)
        return cls(stage.model_copy(update=changes), index, pad_speed, wind)

    @property
    def label(self) -> str:
        """For people, such as `4 S4_full, pad 0.5 m/s, wind 1 m/s`."""
        place = {"stage": self.index, "name": self.stage.name}
        return condition_label(place | {"pad_speed": self.pad_speed, "wind": self.wind})

    @property
    def file_name(self) -> str:
        """For files, such as `S4_full_pad_speed_0.5_wind_1`."""
        values = (("pad_speed", self.pad_speed), ("wind", self.wind))
        swept = [f"{name}_{value:g}" for name, value in values if value is not None]
        return "_".join([self.stage.name, *swept])


def conditions(stages: Sequence[StageSettings], chosen: Sequence[int], sweep: SweepSettings) -> list[Condition]:
    """Return every point of the sweep in every chosen stage."""
    return [Condition.at(stages[index], index, point) for index in chosen for point in sweep.points]


@dataclass(frozen=True)
class Result:
    """How a policy did under a condition."""

    policy: str
    condition: Condition
    score: Score

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {
            "policy": self.policy,
            "pad_speed": self.condition.pad_speed,
            "wind": self.condition.wind,
            **self.score.to_plain(),
        }


class EvaluationReport:
    """Takes results as they come and keeps the files up to date with them; an interrupt loses no condition.

    The folder `out` exists and holds no other evaluation. The `policy` is evaluated, others are compared with it. The
    `info` is plain data on what is evaluated and how, kept in the folder; `notes` are sentences for the results.
    """

    def __init__(
        self, out: Path, policy: str, title: str, *, info: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
    ) -> None:
        self._out, self._policy, self._title, self._notes = out, policy, title, notes
        began = datetime.now(UTC).isoformat()
        self._info = {"title": title, "policy": policy, "began": began, **(info or {}), "notes": list(notes)}
        self._results: list[Result] = []

    def add(self, policy: str, condition: Condition, episodes: Sequence[Episode]) -> Score:
        """Take a policy's episodes under a condition; returns their score.

        Raises:
            UserError: the results can't be written.
        """
        score = summarise(episodes, condition.stage, condition.index)
        with self._telling():
            if not self._results:
                self._write_info(complete=False)
                self._append([*_PLACE, *(field.name for field in fields(Episode))])
            self._results.append(Result(policy, condition, score))
            place = (policy, condition.index, condition.stage.name, condition.pad_speed, condition.wind)
            self._append(*([*place, *episode.to_plain().values()] for episode in episodes))
            own = policy == self._policy
            rows = [row.to_plain() for row in self._results if (row.policy == self._policy) == own]
            write_text(self._out / (RESULTS if own else COMPARED), json.dumps(rows, indent=2) + "\n")
        return score

    def finish(self) -> list[Path]:
        """Write the table and the picture; returns the paths of all files.

        Raises:
            UserError: they can't be written.
        """
        rows = [row.to_plain() for row in self._results]
        with self._telling():
            write_text(self._out / MARKDOWN, results_markdown(rows, self._title, self._notes))
            plot_evaluation(self._out / PICTURE, rows, title=self._title)
            self._write_info(complete=True)
        paths = [self._out / name for name in (INFO, RESULTS, COMPARED, EPISODES, MARKDOWN, PICTURE)]
        return [path for path in paths if path.exists()]

    def table(self) -> Table:
        """Return the results for a terminal of 80 columns."""
        return results_table([row.to_plain() for row in self._results])

    def _write_info(self, *, complete: bool) -> None:
        write_text(self._out / INFO, json.dumps({**self._info, "complete": complete}, indent=2) + "\n")

    def _append(self, *rows: Sequence[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        path = self._out / EPISODES
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text.getvalue())
        except OSError as error:
            error.filename = str(path)  # a write doesn't say of which file
            raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"can't write {failure(error)}") from error


_PLACE = ("policy", "stage", "name", "pad_speed", "wind")
