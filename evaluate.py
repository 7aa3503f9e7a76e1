"""Score a trained or scripted policy: ``python evaluate.py run=<folder or snapshot>`` or ``policy=expert``.

``python evaluate.py inspect=<folder or snapshot>`` lists what is in it; ``--help`` shows the keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glideslope.cli.program import run

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import EvaluateSettings


def main(composed: Composed[EvaluateSettings]) -> int:
    """Evaluate or inspect as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    if composed.settings.inspect is not None:
        from glideslope.evaluation.inspection import inspect, locate

        return inspect(locate("inspect", composed.settings.inspect))
    from glideslope.evaluation.evaluate import evaluate

    return evaluate(composed.settings)


if __name__ == "__main__":
    run(main, "evaluate")
