"""The command `play`: hand checked settings to a flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import PlaySettings


def main(composed: Composed[PlaySettings]) -> int:
    """Play as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.evaluation.play import play

    return play(composed.settings)
