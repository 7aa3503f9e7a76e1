"""A preview: the training run whose learning rates are shown, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from glideslope.errors import listed
from glideslope.lr_scheduler.values import Context, parse_time
from glideslope.settings.checks import Broken, Text
from glideslope.settings.training import Settings


class PreviewSettings(Settings):
    """A training run whose learning rates are to be shown, and how."""

    steps: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100_000)] | None = None
    """Steps to be tabled, such as [0,1M,40%]; null for the whole training."""
    stage_steps: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100_000)] | None = None
    """Steps at which the stages are entered, such as [0,400000]; null for evenly spread."""
    scale: Literal["log", "linear"] = "log"
    """Axis of the learning rates."""
    out: Text = "."
    """Folder for lr_schedule.png and lr_schedule.csv."""

    @property
    def asked_steps(self) -> list[int] | None:
        """`steps` as whole numbers; a share between two steps is the later one, where an interval begins."""
        return None if self.steps is None else [self._step(value) for value in self.steps]

    @property
    def stage_entries(self) -> list[tuple[int, int]]:
        """The history of the curriculum to be shown: (step of entry, stage)."""
        count = len(self.curriculum.stage_names)
        if self.stage_steps is None:
            return [(-(-stage * self.total_steps // count), stage) for stage in range(count)]
        return [(self._step(value), stage) for stage, value in enumerate(self.stage_steps)]

    def _step(self, value: object) -> int:
        return math.ceil(parse_time(value, Context(base=self.lr, total=self.schedule_steps)))

    def broken_rules(self) -> Iterator[Broken]:
        yield from super().broken_rules()
        sound = True
        for key, values in (("steps", self.steps), ("stage_steps", self.stage_steps)):
            for i, value in enumerate(values or ()):
                try:
                    self._step(value)
                except ValueError as error:
                    sound = False
                    yield Broken(f"{key}.{i}", str(error), value, ("num_train_frames", "action_repeat"))
        if sound and self.stage_steps is not None:
            yield from self._broken_entries(self.stage_steps)

    def _broken_entries(self, shown: tuple[object, ...]) -> Iterator[Broken]:
        names, entries = self.curriculum.stage_names, self.stage_entries
        if len(shown) > len(names):
            rule = f"must have at most {len(names)} of them, one for each stage: {listed(names, 'and')}"
            yield Broken("stage_steps", rule, shown, ("curriculum",))
        if entries[0][0] != 0:
            yield Broken("stage_steps.0", "must be 0: training begins in stage 0", shown[0])
        for (earlier, _), (later, stage) in pairwise(entries):
            if later < earlier:
                rule = f"must not be before stage {stage - 1} is entered, at step {earlier}"
                yield Broken(f"stage_steps.{stage}", rule, shown[stage])
