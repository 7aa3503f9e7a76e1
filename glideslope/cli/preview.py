"""The command `preview`: hand checked settings to what draws and tables learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import PreviewSettings


def main(composed: Composed[PreviewSettings]) -> int:
    """Draw and table the rates as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.display.preview import preview

    return preview(composed.settings, given=composed.given)
