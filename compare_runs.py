"""Compare runs: ``python compare_runs.py <folders of runs> by=lr_schedule``; ``--help`` shows the keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from glideslope.comparison.arguments import with_runs
from glideslope.program import run

if TYPE_CHECKING:
    from glideslope.cli import Composed
    from glideslope.settings import CompareSettings


def main(composed: Composed[CompareSettings]) -> int:
    """Compare as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.comparison.command import compare
    from glideslope.settings import UserError

    if sum(word.startswith("runs=") for word in composed.overrides) > 1:
        raise UserError("runs: name the runs as bare paths or as runs=[...], not both")
    return compare(composed.settings)


if __name__ == "__main__":
    run(main, "compare", with_runs(sys.argv[1:]))
