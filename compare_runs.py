"""Compares runs: ``python compare_runs.py <run folder, or folder of runs> … by=lr_schedule``."""

import sys

from glideslope.cli import COMPARE_CONFIG, Composed, run_cli
from glideslope.comparison.arguments import with_runs
from glideslope.settings import CompareSettings, UserError


def main(composed: Composed[CompareSettings]) -> int:
    if sum(word.startswith("runs=") for word in composed.overrides) > 1:
        raise UserError("runs: name the runs as bare paths or as runs=[...], not both")
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.comparison.command import compare

    return compare(composed.settings)


if __name__ == "__main__":
    sys.exit(run_cli(main, COMPARE_CONFIG, CompareSettings, with_runs(sys.argv[1:])))
