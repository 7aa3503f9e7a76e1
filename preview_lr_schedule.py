"""Shows a training's learning rates: ``python preview_lr_schedule.py key=value …``, keys as for training."""

import sys

from glideslope.cli import PREVIEW_CONFIG, Composed, run_cli
from glideslope.settings import PreviewSettings


def main(composed: Composed[PreviewSettings]) -> int:
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.preview import preview

    return preview(composed.settings, given=composed.given)


if __name__ == "__main__":
    sys.exit(run_cli(main, PREVIEW_CONFIG, PreviewSettings))
