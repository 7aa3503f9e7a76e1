"""Compare runs: ``python compare_runs.py <folders of runs> by=lr_schedule``; ``--help`` shows the keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from glideslope.cli.program import run
from glideslope.evaluation.comparison.arguments import with_runs

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import CompareSettings


def main(composed: Composed[CompareSettings]) -> int:
    """Compare as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.errors import UserError
    from glideslope.evaluation.comparison.command import compare

    if sum(word.startswith("runs=") for word in composed.overrides) > 1:
        raise UserError("runs: name the runs as bare paths or as runs=[...], not both")
    return compare(composed.settings)


if __name__ == "__main__":
    run(main, "compare", with_runs(sys.argv[1:]))
