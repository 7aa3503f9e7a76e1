"""What an evaluation leaves: a table for the terminal, tables for programs and documents, a picture.

evaluation.json            the evaluated policy's results, one for each stage, or point of a sweep in it, in order
evaluation_compared.json   those of the policies that it is compared with
evaluation_episodes.csv    every episode of all of them
evaluation.md              the terminal's table as Markdown
evaluation.png             success rates with their intervals
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from glideslope.files import write_text
from glideslope.plots import plot_evaluation
from glideslope.scoring import Episode, Score, summarise
from glideslope.settings import Point, StageSettings, SweepSettings, UserError

RESULTS = "evaluation.json"
COMPARED = "evaluation_compared.json"
EPISODES = "evaluation_episodes.csv"
MARKDOWN = "evaluation.md"
PICTURE = "evaluation.png"

_FIGURES = ("landed", "interval", "crashed", "timed out", "off centre", "sink rate")


@dataclass(frozen=True)
class Condition:
    """A stage at a point of a sweep."""

    stage: StageSettings  # as it is played
    index: int
    pad_speed: float | None  # m/s; None where it isn't swept
    wind: float | None  # m/s; None where it isn't swept

    @classmethod
    def at(cls, stage: StageSettings, index: int, point: Point) -> Condition:
        """The stage with the point's pad speed and wind in place of its own."""
        pad_speed, wind = point
        changes: dict[str, Any] = {} if wind is None else {"wind": wind}
        if pad_speed is not None:
            changes["pad_speed"] = (pad_speed, pad_speed)
        return cls(stage.model_copy(update=changes), index, pad_speed, wind)

    @property
    def label(self) -> str:
        """For people, such as `4 S4_full, pad 0.5 m/s, wind 1 m/s`."""
        values = (("pad", self.pad_speed), ("wind", self.wind))
        swept = [f"{name} {value:g} m/s" for name, value in values if value is not None]
        return ", ".join([f"{self.index} {self.stage.name}", *swept])

    @property
    def file_name(self) -> str:
        """For files, such as `S4_full_pad_speed_0.5_wind_1`."""
        values = (("pad_speed", self.pad_speed), ("wind", self.wind))
        swept = [f"{name}_{value:g}" for name, value in values if value is not None]
        return "_".join([self.stage.name, *swept])


def conditions(
    stages: Sequence[StageSettings], chosen: Sequence[int], sweep: SweepSettings
) -> list[Condition]:
    """Every point of the sweep in every chosen stage."""
    return [Condition.at(stages[index], index, point) for index in chosen for point in sweep.points]


@dataclass(frozen=True)
class Result:
    """How a policy did under a condition."""

    policy: str
    condition: Condition
    score: Score

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "policy": self.policy,
            "pad_speed": self.condition.pad_speed,
            "wind": self.condition.wind,
            **self.score.to_plain(),
        }


class Report:
    """Takes results as they come and keeps the files up to date with them; an interrupt loses no condition.

    The first result replaces what an earlier evaluation left in the folder.

    Args:
        out: the folder, which exists.
        policy: the name of the policy that is evaluated; others are compared with it.
        title: says what is evaluated.
    """

    def __init__(self, out: Path, policy: str, title: str) -> None:
        self._out = out
        self._policy = policy
        self._title = title
        self._results: list[Result] = []

    def add(self, policy: str, condition: Condition, episodes: Sequence[Episode]) -> Score:
        """Take a policy's episodes under a condition; returns their score.

        Raises:
            UserError: the results can't be written.
        """
        score = summarise(episodes, condition.stage, condition.index)
        with self._telling():
            if not self._results:
                for name in (RESULTS, COMPARED, EPISODES, MARKDOWN, PICTURE):
                    (self._out / name).unlink(missing_ok=True)
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
        with self._telling():
            write_text(self._out / MARKDOWN, self._markdown())
            rows = [row.to_plain() for row in self._results]
            plot_evaluation(self._out / PICTURE, rows, title=self._title)
        paths = [self._out / name for name in (RESULTS, COMPARED, EPISODES, MARKDOWN, PICTURE)]
        return [path for path in paths if path.exists()]

    def table(self) -> Table:
        """The results for a terminal of 80 columns: by condition, the policies below each other."""
        alone = len({row.policy for row in self._results}) == 1
        table = Table(title=self._caption(), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("stage" if alone else "policy", overflow="fold")
        for heading in _FIGURES:
            # In two lines where it has two words: 80 columns are few.
            table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
        for condition, rows in self._by_condition():
            if not alone:
                table.add_section()
                table.add_row(condition.label, style="bold")
            for row in rows:
                table.add_row(condition.label if alone else f"  {row.policy}", *_cells(row.score))
        return table

    def _markdown(self) -> str:
        headings = ("stage", "policy", *_FIGURES)
        lines = [f"| {' | '.join(headings)} |", "|---|---|" + "--:|" * len(_FIGURES)]
        for condition, rows in self._by_condition():
            lines += [f"| {' | '.join((condition.label, row.policy, *_cells(row.score)))} |" for row in rows]
        return "\n".join([f"{self._title}. {self._caption()}.", "", *lines]) + "\n"

    def _caption(self) -> str:
        return f"{self._results[0].score.episodes} held-out episodes each; 95% Wilson intervals"

    def _by_condition(self) -> Iterator[tuple[Condition, list[Result]]]:
        for condition in dict.fromkeys(row.condition for row in self._results):
            yield condition, [row for row in self._results if row.condition == condition]

    def _append(self, *rows: Sequence[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with (self._out / EPISODES).open("a", encoding="utf-8") as file:
            file.write(text.getvalue())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"out={self._out}: can't write there: {error.strerror}") from error


_PLACE = ("policy", "stage", "name", "pad_speed", "wind")


def _cells(score: Score) -> tuple[str, ...]:
    error, speed = score.touchdown_error_m, score.touchdown_speed
    return (
        f"{score.success_rate:.1%}",
        f"{score.low:.0%}–{score.high:.0%}",
        f"{score.crash_rate:.1%}",
        f"{score.timeout_rate:.1%}",
        "–" if error is None else f"{error:.2f} m",
        "–" if speed is None else f"{speed:.2f} m/s",
    )
