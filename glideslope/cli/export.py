"""The command `export`: hand checked settings to an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import ExportSettings


def main(composed: Composed[ExportSettings]) -> int:
    """Export as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for torch.
    from glideslope.evaluation.export import export

    return export(composed.settings)
