"""`compare_runs.py`: from checked settings to the table in the terminal and the files of a comparison."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from glideslope.display.console import say, screen
from glideslope.errors import Fault, SettingsError, UserError, failure
from glideslope.evaluation.comparison.files import write_csv, write_json
from glideslope.evaluation.comparison.page import write_page
from glideslope.evaluation.comparison.picture import draw
from glideslope.evaluation.comparison.runs import find_runs
from glideslope.evaluation.comparison.summary import compare_runs
from glideslope.evaluation.comparison.table import print_table
from glideslope.runs.run_folder import has_run
from glideslope.settings import CompareSettings
from glideslope.storage.caches import use_writable_caches

PICTURE, PAGE, TABLE, NUMBERS = "comparison.png", "comparison.html", "comparison.csv", "comparison.json"
FOLDER = "comparison"


def compare(settings: CompareSettings, console: Console | None = None) -> int:
    """Compare runs, print the table and write the files; return the exit status.

    Raises:
        UserError: there is nothing to compare, a setting is unknown to the runs, or the files can't be written.
    """
    console = console or screen()  # a table whose reader has gone is written to its files all the same
    paths = find_runs(settings.runs)
    comparison = compare_runs(paths, settings.by)
    if not comparison.summaries:
        reasons = [Fault("runs", left_out.path, left_out.reason) for left_out in comparison.left_out]
        raise SettingsError(reasons)
    asked = {
        "runs": sorted({os.path.abspath(Path(place).expanduser()) for place in settings.runs}),
        "by": settings.by,
    }
    folder = _folder(settings, asked)
    use_writable_caches(lambda note: say(console, f"Note: {note}"))
    print_table(comparison, console)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / TABLE, comparison)
        draw(folder / PICTURE, comparison)
        write_page(folder / PAGE, comparison)
        write_json(folder / NUMBERS, comparison, asked)
    except OSError as error:
        where = settings.out if settings.out is not None else folder
        raise UserError(Fault("out", where, f"can't write {failure(error)}")) from error
    say(console, "Written: ", str(folder))
    for name in (PICTURE, PAGE, TABLE, NUMBERS):
        say(console, f"  {name}")
    return 0


def _folder(settings: CompareSettings, asked: dict[str, Any]) -> Path:
    """Return where the files go: never over another comparison, nor into a run.

    Raises:
        UserError: `out` is such a place.
    """
    if settings.out is not None:
        folder = Path(settings.out).expanduser()
        if has_run(folder) or folder.is_file():
            kind = "file" if folder.is_file() else "run folder"
            raise UserError(Fault("out", settings.out, f"is a {kind}; choose another folder"))
        if not _free_for(folder, asked):
            rule = "holds a comparison of other runs, or by other settings; choose another folder"
            raise UserError(Fault("out", settings.out, rule))
        return folder
    places = [Path(place) for place in asked["runs"]]
    parent = Path(os.path.commonpath([place.parent if has_run(place) else place for place in places]))
    if has_run(parent):
        parent = parent.parent
    folder, number = parent / FOLDER, 1
    while not _free_for(folder, asked):
        number += 1
        folder = parent / f"{FOLDER}_{number}"
    return folder


def _free_for(folder: Path, asked: dict[str, Any]) -> bool:
    """Return whether the folder holds no comparison, or an earlier one of the same runs."""
    if not folder.is_dir():
        return not folder.exists()
    try:
        earlier = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    except OSError:
        return not any((folder / name).exists() for name in (PICTURE, PAGE, TABLE, NUMBERS))
    except ValueError:
        return False
    wanted = json.loads(json.dumps(asked))
    return isinstance(earlier, dict) and earlier.get("asked") == wanted
