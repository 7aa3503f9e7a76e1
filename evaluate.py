"""Scores a trained or scripted policy: ``python evaluate.py run=<folder or snapshot>`` or ``policy=expert``."""

import os
import sys

from glideslope.cli import EVALUATE_CONFIG, Composed, run_cli
from glideslope.settings import EvaluateSettings


def main(composed: Composed[EvaluateSettings]) -> int:
    # Waiting threads that spin slow a busy machine down thirtyfold; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.evaluation import evaluate

    return evaluate(composed.settings)


if __name__ == "__main__":
    sys.exit(run_cli(main, EVALUATE_CONFIG, EvaluateSettings))
