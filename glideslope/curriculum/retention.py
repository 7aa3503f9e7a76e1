"""Forgetting: how far the success rate on each stage has fallen from its best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Retention:
    """The best success rate that evaluations have seen of each stage reached."""

    def __init__(self) -> None:
        self._best: dict[int, float] = {}

    def row(self, rates: Mapping[int, float], reached: int) -> dict[str, float]:
        """Take the success rates of an evaluation, in [0, 1] by stage index; return them under their log tags.

        Forgetting, the best success rate so far minus the current one, is that of stages reached; its mean over
        them is there where each of them was evaluated.

        Args:
            rates: success rates of the stages that were evaluated.
            reached: the highest stage that the curriculum has been in.
        """
        row, forgotten = {}, []
        for stage, rate in rates.items():
            row[f"eval/success_rate_stage{stage}"] = rate
            if stage <= reached:
                best = self._best[stage] = max(self._best.get(stage, 0.0), rate)
                row[f"eval/forgetting_stage{stage}"] = best - rate
                forgotten.append(best - rate)
        if len(forgotten) == reached + 1:
            row["eval/forgetting"] = float(np.mean(forgotten))
        return row

    def state_dict(self) -> list[list[Any]]:
        """Return pairs of stage and best success rate."""
        return [[stage, rate] for stage, rate in sorted(self._best.items())]

    def load_state_dict(self, state: Sequence[Sequence[Any]]) -> None:
        """Restore what `state_dict` returned."""
        self._best = {int(stage): float(rate) for stage, rate in state}
