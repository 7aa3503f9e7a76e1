"""Bare paths on the command line of a comparison."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence


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
