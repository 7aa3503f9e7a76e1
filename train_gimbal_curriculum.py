"""Trains a quadrotor to land: ``python train_gimbal_curriculum.py key=value …``; every key is in cfgs/."""

import sys

from glideslope.cli import TRAIN_CONFIG, Composed, run_cli
from glideslope.settings import Settings


def main(composed: Composed[Settings]) -> int:
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.launch import train

    return train(
        composed.settings,
        composed.run_dir,
        new_folder=composed.new_folder,
        given=composed.given,
        overrides=composed.overrides,
        accept_schedule=composed.accept_schedule,
        changes=composed.changes,
    )


if __name__ == "__main__":
    sys.exit(run_cli(main, TRAIN_CONFIG, Settings))
