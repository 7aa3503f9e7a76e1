"""A short eventful run, and what may interrupt a training."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from glideslope.training.actions import Actions
from glideslope.training.trainer import Trainer

# Quick, yet with several snapshots, evaluations and stages.
RUN = (
    *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", "num_train_frames=800"),
    *("snapshot_every_frames=200", "eval_every_frames=300", "num_eval_episodes=2", "final_eval_episodes=1"),
    *("task.pad_size=14", "task.max_touchdown_speed=10", "task.start_height=[0.5,0.8]"),
    *("curriculum.window=5", "curriculum.min_episodes=3", "curriculum.success_rate=0.4"),
    *("curriculum.min_stage_episodes=20", "curriculum.cooldown_episodes=0"),
)


@contextmanager
def at_frame(frame: int, action: Callable[[Trainer], object]) -> Iterator[None]:
    """Do something to the trainer once, before the updates of the first vector step that reaches ``frame``."""
    original, pending = Trainer._learn, [True]

    def learn(self: Trainer, *arguments: Any) -> None:
        if pending and self.frame >= frame:
            pending.clear()
            action(self)
        original(self, *arguments)

    Trainer._learn = learn  # type: ignore[method-assign]
    try:
        yield
    finally:
        Trainer._learn = original  # type: ignore[method-assign]


def stop_at(monkeypatch: pytest.MonkeyPatch, frame: int, where: str) -> None:
    """Make the next training get a signal when it reaches ``frame``, in the method ``where``."""
    owner: Any = Actions if where == "greedy" else Trainer
    original = getattr(owner, where)
    pending = [True]

    def stopping(self: Any, *arguments: Any) -> Any:
        if pending and (self._run.clock if owner is Actions else self).frame >= frame:
            pending.clear()
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(owner, where, stopping)
