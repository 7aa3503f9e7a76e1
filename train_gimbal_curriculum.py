"""Trains a quadrotor to land: ``python train_gimbal_curriculum.py key=value …``; every key is in cfgs/."""

import os
import sys

from glideslope.cli import TRAIN_CONFIG, Composed, run_cli
from glideslope.settings import Settings


def main(composed: Composed[Settings]) -> int:
    # Waiting threads that spin slow a busy machine down thirtyfold; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.launch import train

    return train(composed.settings, composed.run_dir, given=composed.given)


if __name__ == "__main__":
    sys.exit(run_cli(main, TRAIN_CONFIG, Settings))
