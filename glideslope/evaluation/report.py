"""Keeps the files of an evaluation up to date with its results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from glideslope.display.figures import plot_evaluation
from glideslope.display.results import benchmark_markdown, condition_label, results_markdown, results_table
from glideslope.errors import UserError, failure
from glideslope.evaluation.results_folder import (
    BENCHMARK,
    COMPARED,
    EPISODES,
    FILES,
    INFO,
    MARKDOWN,
    PICTURE,
    RESULTS,
)
from glideslope.evaluation.scoring import Episode, Score, summarise
from glideslope.settings import SWEPT, Point, StageSettings, SweepSettings, TaskSettings, at_point
from glideslope.storage.atomic_files import write_text

_ALWAYS = ("pad_speed", "wind")  # in the files also where they aren't swept


@dataclass(frozen=True)
class Condition:
    """A stage at a point of a sweep."""

    stage: StageSettings  # as it is played
    index: int
    task: TaskSettings  # as it is played
    point: Point = ()

    @classmethod
    def at(cls, stage: StageSettings, index: int, task: TaskSettings, point: Point) -> Condition:
        """Return the stage and the task with the point's values in place of their own."""
        stage, task = at_point(point, stage, task)
        return cls(stage, index, task, point)

    @property
    def label(self) -> str:
        """For people, such as `4 S4_full, pad 0.5 m/s, wind 1 m/s`."""
        return condition_label({"stage": self.index, "name": self.stage.name, **dict(self.point)})

    @property
    def file_name(self) -> str:
        """For files, such as `S4_full_pad_speed_0.5_wind_1`."""
        return "_".join([self.stage.name, *(f"{key}_{value:g}" for key, value in self.point)])


def points_in_stages(
    stages: Sequence[StageSettings], chosen: Sequence[int], task: TaskSettings, sweep: SweepSettings
) -> list[Condition]:
    """Return every point of the sweep in every chosen stage."""
    return [Condition.at(stages[index], index, task, point) for index in chosen for point in sweep.points]


@dataclass(frozen=True)
class Result:
    """How a policy did under a condition."""

    policy: str
    condition: Condition
    score: Score

    def to_plain(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return plain data, for JSON, with the point's value for each of the `columns`."""
        point = dict(self.condition.point)
        return {"policy": self.policy, **{key: point.get(key) for key in columns}, **self.score.to_plain()}


class EvaluationReport:
    """Takes results as they come and keeps the files up to date with them; an interrupt loses no condition.

    The folder `out` exists and holds no other evaluation. The `policy` is evaluated, others are compared with it.

    Args:
        swept: keys of the conditions to come that are swept.
        info: plain data on what is evaluated and how, kept in the folder.
        notes: sentences for the results.
        benchmark: whether the benchmark's table is written as well.
    """

    def __init__(
        self,
        out: Path,
        policy: str,
        title: str,
        *,
        swept: Collection[str] = (),
        info: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        benchmark: bool = False,
    ) -> None:
        self._out, self._policy, self._title, self._notes = out, policy, title, notes
        self._benchmark = benchmark
        self._columns = [key for key in SWEPT if key in swept or key in _ALWAYS]
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
                place = ("policy", "stage", "name", *self._columns)
                self._append([*place, *(field.name for field in fields(Episode))])
            self._results.append(Result(policy, condition, score))
            point = dict(condition.point)
            values = (policy, condition.index, condition.stage.name, *(point.get(key) for key in self._columns))
            self._append(*([*values, *episode.to_plain().values()] for episode in episodes))
            own = policy == self._policy
            rows = [row for row in self._rows() if (row["policy"] == self._policy) == own]
            write_text(self._out / (RESULTS if own else COMPARED), json.dumps(rows, indent=2) + "\n")
        return score

    def finish(self) -> list[Path]:
        """Write the table and the picture; returns the paths of all files.

        Raises:
            UserError: they can't be written.
        """
        rows = self._rows()
        with self._telling():
            write_text(self._out / MARKDOWN, results_markdown(rows, self._title, self._notes))
            if self._benchmark:
                page = benchmark_markdown(rows, self._policy, self._title, self._notes)
                write_text(self._out / BENCHMARK, page)
            plot_evaluation(self._out / PICTURE, rows, title=self._title)
            self._write_info(complete=True)
        paths = [self._out / name for name in FILES]
        return [path for path in paths if path.exists()]

    def table(self) -> Table:
        """Return the results for a terminal of 80 columns."""
        return results_table(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        return [result.to_plain(self._columns) for result in self._results]

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
