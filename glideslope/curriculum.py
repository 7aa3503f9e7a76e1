"""The curriculum: which stage the task is in, and when it moves on to the next.

A pure state machine over episode outcomes: no clock, no randomness, no knowledge of the task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glideslope.settings import CurriculumSettings, StageSettings


class Curriculum:
    """Advances through the stages of `settings` as episodes succeed.

    An episode *counts* when it began in the current stage. The first `cooldown_episodes` counted
    episodes after an advance stay out of the success window (the policy is still adapting); stage 0
    follows no advance and has no cooldown. The curriculum advances by one stage at the k-th counted
    episode in a row (k = `require_consecutive_windows`) after which all of these hold:

    - the window (the latest `window` outcomes) holds at least `min_episodes` outcomes,
    - at least `min_stage_episodes` episodes counted in this stage, those of the cooldown included,
    - the success rate over the window is `success_rate` or more.

    With `last_stage: 0`, or one stage only, it never advances: that is "no curriculum".
    """

    def __init__(self, settings: CurriculumSettings) -> None:
        self._settings = settings
        self._history: list[tuple[int, int]] = [(0, 0)]
        self._start_stage()

    def _start_stage(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=self._settings.window)
        self._episodes = 0
        self._streak = 0

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
    def history(self) -> list[tuple[int, int]]:
        """(global step of entry, stage index) of every stage entered, oldest first; begins with (0, 0)."""
        return list(self._history)

    @property
    def success_rate_window(self) -> float:
        """Success rate in [0, 1] over the current stage's window; 0.0 while it is empty."""
        # One division of two integers is correctly rounded, so 17 of 20 equals 0.85 exactly.
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else 0.0

    @property
    def window_episodes(self) -> int:
        """Episodes in the window; none yet at a stage's start and during its cooldown."""
        return len(self._outcomes)

    @property
    def episodes_in_stage(self) -> int:
        """Episodes counted since the current stage was entered, those of the cooldown included."""
        return self._episodes

    def record(self, stage: int, success: bool, step: int) -> bool:
        """Takes one finished episode; returns whether it advanced the curriculum.

        Args:
            stage: index of the stage the episode began in. An episode of another stage is ignored.
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
        if self.stage == 0 or self._episodes > self._settings.cooldown_episodes:
            self._outcomes.append(bool(success))
        self._streak = self._streak + 1 if self._window_is_good() else 0
        if self._streak < self._settings.require_consecutive_windows or self.stage + 1 >= len(self.stages):
            return False
        self._history.append((int(step), self.stage + 1))
        self._start_stage()
        return True

    def _window_is_good(self) -> bool:
        return (
            len(self._outcomes) >= self._settings.min_episodes
            and self._episodes >= self._settings.min_stage_episodes
            and self.success_rate_window >= self._settings.success_rate
        )

    def state_dict(self) -> dict[str, Any]:
        """The whole state as plain lists and numbers."""
        return {
            "history": [[step, stage] for step, stage in self._history],
            "outcomes": [int(outcome) for outcome in self._outcomes],
            "episodes_in_stage": self._episodes,
            "streak": self._streak,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; a window made shorter since then keeps its latest outcomes.

        Raises:
            ValueError: the state names a stage that these settings don't reach, or its history is not one
                that a curriculum can have. Nothing is changed then.
        """
        history = [(int(step), int(stage)) for step, stage in state["history"]]
        steps, stages = [step for step, _ in history], [stage for _, stage in history]
        if steps[:1] != [0] or sorted(steps) != steps or stages != list(range(len(stages))):
            raise ValueError(f"not a curriculum history: {history}")
        last = len(self.stages) - 1
        if stages[-1] > last:
            raise ValueError(
                f"the saved curriculum is in stage {stages[-1]}, but the last stage here is {last}"
            )
        outcomes = [bool(outcome) for outcome in state["outcomes"]]
        episodes, streak = int(state["episodes_in_stage"]), int(state["streak"])
        self._history = history
        self._start_stage()
        self._outcomes.extend(outcomes)
        self._episodes, self._streak = episodes, streak
