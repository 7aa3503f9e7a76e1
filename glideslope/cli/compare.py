"""The command `compare`: hand checked settings to a comparison of runs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glideslope.cli.main import Composed
    from glideslope.settings import CompareSettings


def main(composed: Composed[CompareSettings]) -> int:
    """Compare as the composed settings say; return the exit status."""
    # Imported here, so that a mistyped command line is answered without waiting for the drawing.
    from glideslope.errors import UserError
    from glideslope.evaluation.comparison.command import compare

    if sum(word.startswith("runs=") for word in composed.overrides) > 1:
        raise UserError("runs: name the runs as bare paths or as runs=[...], not both")
    return compare(composed.settings)


def with_runs(argv: Sequence[str]) -> list[str]:
    """Return the command line with its bare paths as the setting `runs=[…]`, for the command line's grammar.

    A word is a path where it exists, or where it has no `=` and is no flag or a flag's value.

    >>> with_runs(["exp_local/a", "by=lr", "exp_local/b"])
    ['by=lr', 'runs=["exp_local/a","exp_local/b"]']
    """
    words: list[str] = []
    paths: list[str] = []
    for before, word in zip(["", *argv], argv, strict=False):
        is_path = os.path.lexists(word) or not ("=" in word or before.startswith("-"))
        (paths if is_path and not word.startswith("-") else words).append(word)
    return [*words, f"runs=[{','.join(map(_quoted, paths))}]"] if paths else words


def _quoted(path: str) -> str:
    # Backslashes are escaped only before a quote.
    text = re.sub(r'(\\+)(?="|$)', r"\1\1", path)
    return '"' + text.replace('"', '\\"').replace("${", "\\${") + '"'
