"""Compares runs: ``python compare_runs.py <run folder, or folder of runs> … by=lr_schedule``."""

import sys

from glideslope.cli import COMPARE_CONFIG, Composed, run_cli
from glideslope.comparison.arguments import with_runs
from glideslope.settings import CompareSettings


def main(composed: Composed[CompareSettings]) -> int:
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.comparison.command import compare

    return compare(composed.settings)


if __name__ == "__main__":
    sys.exit(run_cli(main, COMPARE_CONFIG, CompareSettings, with_runs(sys.argv[1:])))
