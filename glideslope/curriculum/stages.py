"""The curriculum: which stage the task is in, and when it moves on to the next, or back.

A pure state machine over episode outcomes: no clock, no randomness, no knowledge of the task.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from glideslope.curriculum.wilson import wilson_interval

if TYPE_CHECKING:
    from glideslope.settings import CurriculumSettings, StageSettings


class Curriculum:
    """Moves through the stages of `settings`, a stage at a time, as episodes succeed.

    An episode *counts* when it is of the current stage. The first `cooldown_episodes` counted episodes
    after a change of stage stay out of the success window (the policy is still adapting); the beginning in
    stage 0 follows no change and has no cooldown. A window is *fit to judge* when

    - it (the latest `window` outcomes) holds at least `min_episodes` outcomes, and
    - at least `min_stage_episodes` episodes counted since the stage was entered, those of the cooldown included.

    With k = `require_consecutive_windows`, the curriculum advances at the k-th counted episode in a row after
    which the window is fit and good: its success rate is `success_rate` or more, or with the criterion
    `wilson_lower_bound` the lower bound of that rate's 95% Wilson score interval is. It goes back at the k-th
    in a row after which the window is fit and its success rate is `demotion_rate` or less; with null it never
    does. `demotion_rate` is below `success_rate`, so no episode calls for both.

    With `last_stage: 0`, or one stage only, neither happens: that is "no curriculum".
    """

    def __init__(self, settings: CurriculumSettings) -> None:
        self._settings = settings
        self._history: list[tuple[int, int]] = [(0, 0)]
        self._start_stage()

    def _start_stage(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=self._settings.window)
        self._episodes = 0
        self._good = 0  # episodes in a row after which the window was fit and good
        self._bad = 0  # or fit and bad enough to go back

    @property
    def stages(self) -> tuple[StageSettings, ...]:
        """The stages that can be reached, in order: those up to and including `last_stage`."""
        return tuple(self._settings.stages[: self._settings.last_stage + 1])

    @property
    def stage(self) -> int:
        """Index of the current stage."""
        return self._history[-1][1]

    @property
    def stage_settings(self) -> StageSettings:
        """Settings of the current stage."""
        return self._settings.stages[self.stage]

    @property
    def reached(self) -> int:
        """Index of the highest stage so far."""
        return max(stage for _, stage in self._history)

    @property
    def earlier_stages(self) -> tuple[StageSettings, ...]:
        """The stages before the current one, in order: what `replay_earlier_stages` is a share of."""
        return self._settings.stages[: self.stage]

    @property
    def history(self) -> list[tuple[int, int]]:
        """(global step of entry, stage index) of every change of stage, oldest first; begins with (0, 0).

        Each stage is one more than that before it or, after going back, one less.
        """
        return list(self._history)

    @property
    def success_rate_window(self) -> float:
        """Success rate in [0, 1] over the current stage's window; 0.0 while it is empty."""
        # One division of two integers is correctly rounded, so 17 of 20 equals 0.85 exactly.
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else 0.0

    @property
    def window_rate(self) -> float | None:
        """`success_rate_window`, but None while the window is empty."""
        return self.success_rate_window if self._outcomes else None

    def record(self, stage: int, success: bool, step: int) -> bool:
        """Take one finished episode; return whether it changed the stage, up or down.

        Args:
            stage: index of the stage that the episode is of. One of another stage than the current is ignored.
            success: whether the episode ended in a landing.
            step: global step (environment steps over all environments) at which it ended.

        Raises:
            ValueError: `step` lies before the current stage was entered.
        """
        entered = self._history[-1][0]
        if step < entered:
            raise ValueError(f"step {step} lies before the current stage was entered, at step {entered}")
        if stage != self.stage:
            return False
        self._episodes += 1
        settings, floor = self._settings, self._settings.demotion_rate
        if len(self._history) == 1 or self._episodes > settings.cooldown_episodes:
            self._outcomes.append(bool(success))
        fit = len(self._outcomes) >= settings.min_episodes and self._episodes >= settings.min_stage_episodes
        self._good = self._good + 1 if fit and self._window_is_good() else 0
        self._bad = self._bad + 1 if fit and floor is not None and self.success_rate_window <= floor else 0
        needed = settings.require_consecutive_windows
        if self._good >= needed and self.stage + 1 < len(self.stages):
            self._enter(self.stage + 1, step)
        elif self._bad >= needed and self.stage > 0:
            self._enter(self.stage - 1, step)
        else:
            return False
        return True

    def _enter(self, stage: int, step: int) -> None:
        self._history.append((int(step), stage))
        self._start_stage()

    def _window_is_good(self) -> bool:
        rate = self.success_rate_window
        if self._settings.criterion == "wilson_lower_bound":
            rate, _ = wilson_interval(sum(self._outcomes), len(self._outcomes))
        return rate >= self._settings.success_rate

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain lists and numbers."""
        return {
            "history": [[step, stage] for step, stage in self._history],
            "outcomes": [int(outcome) for outcome in self._outcomes],
            "episodes_in_stage": self._episodes,
            "streak": self._good,
            "demotion_streak": self._bad,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; a window made shorter since then keeps its latest outcomes.

        Raises:
            ValueError: the state is damaged, or one that no curriculum with these settings can have: its
                history went on to a stage after the last one, or back without a `demotion_rate`. Nothing is
                changed then.
        """
        try:
            history = [(operator.index(step), operator.index(stage)) for step, stage in state["history"]]
            outcomes = [operator.index(outcome) for outcome in state["outcomes"]]
            counts = ("episodes_in_stage", "streak", "demotion_streak")
            episodes, good, bad = (operator.index(state[name]) for name in counts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a state of a curriculum: {error!r}") from error
        self._check_history(history)
        sound = set(outcomes) <= {0, 1} and len(outcomes) <= episodes and not (good and bad)
        if not sound or not 0 <= min(good, bad) <= max(good, bad) <= episodes:
            counted = {name: state[name] for name in counts}
            raise ValueError(f"not a state of a curriculum: {len(outcomes)} outcomes and {counted}")
        self._history = history
        self._start_stage()
        self._outcomes.extend(map(bool, outcomes))
        self._episodes, self._good, self._bad = episodes, good, bad

    def _check_history(self, history: Sequence[tuple[int, int]]) -> None:
        moves = [(then, now) for (_, then), (_, now) in pairwise(history)]
        in_order = all(earlier <= later for (earlier, _), (later, _) in pairwise(history))
        by_one = all(now >= 0 and abs(now - then) == 1 for then, now in moves)
        if list(history[:1]) != [(0, 0)] or not in_order or not by_one:
            raise ValueError(f"not a curriculum history: {history}")
        reached, last = max(stage for _, stage in history), len(self.stages) - 1
        if reached > last:
            where = "is" if history[-1][1] == reached else "was"
            raise ValueError(f"the saved curriculum {where} in stage {reached}, but the last stage here is {last}")
        back = [move for move in moves if move[1] < move[0]]
        if back and self._settings.demotion_rate is None:
            raise ValueError(
                f"the saved curriculum went back from stage {back[0][0]} to {back[0][1]}, "
                "but there is no demotion_rate here"
            )
