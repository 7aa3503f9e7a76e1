"""Comparison of runs: statistics over seeds, learning curves and learning rates, as a table, a picture and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def show(folders: Sequence[Path], console: Console) -> None:
    """Print the table of these runs, such as those of a sweep.

    Runs that are missing, damaged or unfinished are named in it.
    """
    # Imported here: statistics take a second to load.
    from glideslope.evaluation.comparison.summary import compare_runs
    from glideslope.evaluation.comparison.table import print_table

    print_table(compare_runs(folders), console)
