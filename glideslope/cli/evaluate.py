"""The command `evaluate`: hand checked settings to an evaluation, or to what lists the contents of a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
