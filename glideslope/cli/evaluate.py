"""The command `evaluate`: hand checked settings to an evaluation, or to what lists the contents of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from glideslope.errors import Fault, SettingsError

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import EvaluateSettings


def main(composed: Composed[EvaluateSettings]) -> int:
    """Evaluate or inspect as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    if composed.settings.inspect is not None:
        from glideslope.evaluation.inspection import inspect, locate

        return inspect(locate("inspect", composed.settings.inspect))
    if composed.settings.benchmark:
        _refuse_what_is_fixed(composed)
    from glideslope.evaluation.evaluate import evaluate

    return evaluate(composed.settings)


def _refuse_what_is_fixed(composed: Composed[EvaluateSettings]) -> None:
    """Refuse what the benchmark fixes, also where the value given is the same.

    Raises:
        SettingsError: there is such a key on the command line.
    """
    rule = "can't be combined with benchmark=true, which fixes it: see docs/benchmark.md"
    fixed = [key for key in sorted(composed.given) if key.partition(".")[0] in ("stage", "episodes", "sweep", "seed")]
    faults = []
    for key in fixed:
        value: object = composed.mapping
        for part in key.split("."):
            value = value[part] if isinstance(value, Mapping) else value
        faults.append(Fault(key, value, rule))
    if faults:
        raise SettingsError(faults)
