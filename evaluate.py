"""Scores a trained or scripted policy: ``python evaluate.py run=<folder or snapshot>`` or ``policy=expert``.

``python evaluate.py inspect=<folder or snapshot>`` lists what is in it.
"""

import sys

from glideslope.cli import EVALUATE_CONFIG, Composed, run_cli
from glideslope.settings import EvaluateSettings


def main(composed: Composed[EvaluateSettings]) -> int:
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    if composed.settings.inspect is not None:
        from glideslope.inspection import inspect, locate

        return inspect(locate("inspect", composed.settings.inspect))
    from glideslope.evaluation import evaluate

    return evaluate(composed.settings)


if __name__ == "__main__":
    sys.exit(run_cli(main, EVALUATE_CONFIG, EvaluateSettings))
