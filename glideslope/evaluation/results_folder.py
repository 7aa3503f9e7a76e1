"""Where an evaluation is kept: a folder of its own, never that of another evaluation.

evaluations/<time>_<what>/      in the run's folder, or in the current one for a scripted policy; or the folder of out=

evaluation_info.json            what is evaluated and how; whether it is complete
evaluation.json                 the evaluated policy's results, one for each stage, or point of a sweep in it, in order
evaluation_compared.json        those of the policies that it is compared with
evaluation_episodes.csv         every episode of all of them
evaluation.md                   the terminal's table as Markdown
benchmark.md                    the benchmark's table
evaluation.png                  success rates with their intervals
evaluation_<stage>.mp4, ..._grid.mp4    films, if asked for
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from glideslope.display.results import KEYS
from glideslope.errors import UserError, failure, reason

EVALUATIONS = "evaluations"
INFO = "evaluation_info.json"
RESULTS = "evaluation.json"
COMPARED = "evaluation_compared.json"
EPISODES = "evaluation_episodes.csv"
MARKDOWN = "evaluation.md"
BENCHMARK = "benchmark.md"
PICTURE = "evaluation.png"
FILES = (INFO, RESULTS, COMPARED, EPISODES, MARKDOWN, BENCHMARK, PICTURE)

_LONGEST_NAME = 120


def film_name(condition: str) -> str:
    """Return the name of the film of a condition, which is named as in a file's name."""
    return f"evaluation_{condition}.mp4"


def make_folder(parent: Path, what: Sequence[str]) -> Path:
    """Make a new folder for an evaluation, among those that are kept in `parent`, such as the run's folder.

    `what` are words for its name that tell this evaluation from others, such as its stage.

    Raises:
        UserError: it can't be made.
    """
    words = [time.strftime("%Y%m%d-%H%M%S"), *(re.sub(r"[^A-Za-z0-9._-]+", "-", word) for word in what)]
    name = "_".join(words)[:_LONGEST_NAME]
    try:
        for number in count(1):
            folder = parent / EVALUATIONS / (name if number == 1 else f"{name}_{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            break
    except OSError as error:
        raise UserError(f"can't write {failure(error)}; choose another folder with out=") from error
    return folder


def take_folder(out: Path) -> Path:
    """Take the folder that the user has chosen, making it if need be.

    Raises:
        UserError: it can't be written to, or holds an evaluation already.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if holds_evaluation(out):
            free = next(name for name in _numbered(out) if not name.exists())
            raise UserError(f"out={out}: holds an evaluation; choose another folder, such as out={free}")
        probe = out / f".{INFO}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"out={out}: can't write {failure(error)}") from error
    return out


def holds_evaluation(folder: Path) -> bool:
    """Return whether there is a file of an evaluation, also of an earlier version's, in a folder."""
    return any((folder / name).exists() for name in FILES) or any(folder.glob(film_name("*")))


def _numbered(out: Path) -> Iterator[Path]:
    whole = out if out.name not in ("", "..") else out.resolve()
    yield from (whole.with_name(f"{whole.name}_{number}") for number in count(2))


# --- what is there ---


@dataclass(frozen=True)
class Evaluation:
    """An evaluation in its folder."""

    folder: Path  # where it is
    info: Mapping[str, Any]  # what is evaluated, of :data:`INFO`
    rows: Sequence[Mapping[str, Any]]  # the evaluated policy's results so far
    compared: Sequence[Mapping[str, Any]]  # those of the policies that it is compared with

    @property
    def complete(self) -> bool:
        """Whether all of it has been played."""
        return self.info.get("complete") is True


def evaluations(parent: Path) -> tuple[list[Evaluation], list[str]]:
    """Return the evaluations that are kept in a run's folder, the newest last, and what can't be read of others."""
    found, faults = [], []
    for folder in (parent / EVALUATIONS).glob("*"):
        if folder.is_dir() and holds_evaluation(folder):
            try:
                found.append(_read(folder))
            except UserError as error:
                faults.append(str(error))
    found.sort(key=lambda evaluation: (str(evaluation.info.get("began")), evaluation.folder.name))
    return found, sorted(faults)


def _read(folder: Path) -> Evaluation:
    return Evaluation(folder, _json(folder / INFO, dict), _rows(folder / RESULTS), _rows(folder / COMPARED))


def _rows(path: Path) -> list[Mapping[str, Any]]:
    """Return the results in a file; none where there is no such file, as nothing has been played for it."""
    rows = _json(path, list) if path.exists() else []
    if not all(isinstance(row, dict) and row.keys() >= KEYS for row in rows):
        raise UserError(f"{path}: is damaged: a result lacks some of {', '.join(sorted(KEYS))}")
    return rows


def _json(path: Path, kind: type[Any]) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: is damaged: {error}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path}: is damaged: it should be a {kind.__name__}")
    return content
