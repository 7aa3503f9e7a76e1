"""A comparison of runs: which, grouped by what, and where the results go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from glideslope.settings.checks import Broken, CheckedSettings, Text


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Keys: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(_one_or_several), Field(min_length=1)]


class CompareSettings(CheckedSettings):
    """A comparison of runs."""

    runs: Annotated[tuple[Text, ...], BeforeValidator(_one_or_several)] = ()
    """Run folders, or folders with runs below them."""
    by: Keys | None = None
    """Keys whose values make the groups; null for all settings that differ, seeds aside."""
    out: Text | None = None
    """Folder for the files; null for a folder `comparison` beside the runs."""

    def broken_rules(self) -> Iterator[Broken]:
        if not self.runs:
            rule = "name run folders, or folders with runs below them: exp_local/a exp_local/b"
            yield Broken("runs", rule, self.runs)
        if len(set(self.by or ())) < len(self.by or ()):
            yield Broken("by", "must name each key once", self.by)
        for key, text in (("out", self.out), *(("runs", run) for run in self.runs)):
            if text == "":
                yield Broken(key, "must not be empty", text)
