"""The command `train`: hand checked settings to a training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import Settings


def main(composed: Composed[Settings]) -> int:
    """Train as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.training.launch import train
    from glideslope.training.ranks import joined

    with joined(os.environ, composed.settings.device) as ranks:
        return train(
            composed.settings,
            composed.run_dir,
            new_folder=composed.new_folder,
            given=composed.given,
            overrides=composed.overrides,
            accept_schedule=composed.accept_schedule,
            changes=composed.changes,
            ranks=ranks,
        )
