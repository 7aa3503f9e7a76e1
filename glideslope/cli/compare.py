"""The command `compare`: hand checked settings to a comparison of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
