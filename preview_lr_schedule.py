"""Show a training's learning rates: ``python preview_lr_schedule.py key=value …``, keys as for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glideslope.cli.program import run

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import PreviewSettings


def main(composed: Composed[PreviewSettings]) -> int:
    """Draw and table the rates as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.display.preview import preview

    return preview(composed.settings, given=composed.given)


if __name__ == "__main__":
    run(main, "preview")
