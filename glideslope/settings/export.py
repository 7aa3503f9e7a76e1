"""An export: which policy, and to which file."""

from __future__ import annotations

from collections.abc import Iterator

from glideslope.settings.checks import Broken, CheckedSettings, Text, Threads


class ExportSettings(CheckedSettings):
    """An export of a policy for other programs."""

    run: Text | None = None
    """Run folder, whose best policy is exported, or snapshot."""
    out: Text = "policy.onnx"
    """The ONNX file; a JSON file of the same name beside it says what goes in and comes out."""
    num_threads: Threads = 0
    """Threads for physics and networks of the check; 0 for all cores."""

    def broken_rules(self) -> Iterator[Broken]:
        if not self.run:
            yield Broken("run", "name a run folder or a snapshot: run=exp_local/...", self.run)
        if not self.out.endswith(".onnx"):
            yield Broken("out", "must end with .onnx", self.out)
